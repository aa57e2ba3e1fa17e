"""The tree of one row: up to the raw events that it was made from, down to all that was derived from it.

Nothing here asks a database: the walk is a generator that gives `Ask`s and is sent their rows, so that the ingest
service drives it over its own connections (`reading`) and `loom explain` over its.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from loom_contracts.lineage import LINKS, OF_A_BODY, explained
from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_ingest.errors import IngestError

MOST_CHILDREN: Final = 20
"""Rows that are shown of each kind; the others are counted."""
DEEPEST: Final = 8

_NEWEST: Final = "SELECT max(timestamp) AS newest FROM {} WHERE timestamp >= %(since)s AND timestamp < %(before)s"
_KEPT: Final = "SELECT first, last FROM loom_kept(%(table)s::text::regclass)"
_MONTH: Final = timedelta(days=30)
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)


class NoSuchRowError(IngestError):
    """There is no such row; it says where it was looked for and why it may not be there."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the database; its answer are rows as dicts."""

    query: sql.Composed
    values: dict[str, Any]


T = TypeVar("T")
Rows = list[dict[str, Any]]
Steps = Generator[Ask, Rows, T]


@dataclass
class Node:
    """One row: its topic, the columns that explain it, and the rows of one direction.

    `more` counts those that were left out, by topic.
    """

    topic: Topic
    row: dict[str, Any]
    children: list["Node"] = field(default_factory=list)
    more: dict[Topic, int] = field(default_factory=dict)

    @property
    def message_id(self) -> UUID:
        """Identity of the row."""
        found: UUID = self.row["message_id"]
        return found

    @property
    def raw(self) -> bool:
        """Whether a device sent it."""
        return not self.topic.table.derived

    def facts(self) -> dict[str, Any]:
        """What explains the row: when and whose it is, and where it lies or what made it. JSON can hold it."""
        names = ["device_id", "timestamp", "trace_id"]
        names += ["received_at", "kafka_partition", "kafka_offset"] if self.raw else [
            "stage", "stage_version", "run_id", "computed_at", "superseded_at", "shown"
        ]  # fmt: skip
        names += [name for name in self.row if name.endswith(OF_A_BODY)]
        return {name: _json(self.row[name]) for name in names if self.row.get(name) is not None}

    def as_json(self, direction: str) -> dict[str, Any]:
        """The tree; `direction` names the list of the rows beneath."""
        return {
            "topic": self.topic.name,
            "message_id": str(self.message_id),
            **self.facts(),
            direction: [child.as_json(direction) for child in self.children],
            **({"more": {topic.name: count for topic, count in self.more.items()}} if self.more else {}),
        }


@dataclass(frozen=True)
class Explained:
    """`up` is the row with what it was made from, `down` the same row with what was derived from it."""

    up: Node
    down: Node

    def as_json(self) -> dict[str, Any]:
        """Both trees."""
        return {"from": self.up.as_json("from"), "to": self.down.as_json("to")}


def explain(message_id: UUID, *, topic: Topic | None = None, day: date | None = None) -> Steps[Explained]:
    """The trees of the row `message_id`; raises NoSuchRowError.

    Tables are searched from the smallest (derived) to the largest and from the newest day back, because no index
    begins with the identity; `topic` and `day` (UTC) make it quick.
    """
    start = yield from find(message_id, topic=topic, day=day)
    return (yield from explain_row(*start))


def explain_row(topic: Topic, row: dict[str, Any]) -> Steps[Explained]:
    """The trees of a row that was found."""
    up, down = Node(topic, row), Node(topic, row)
    yield from _climb(up, 0)
    yield from _descend(down, 0)
    return Explained(up, down)


def find(
    message_id: UUID, *, topic: Topic | None = None, day: date | None = None
) -> Steps[tuple[Topic, dict[str, Any]]]:
    """Topic and row of `message_id`; raises NoSuchRowError."""
    topics: Sequence[Topic] = (topic,) if topic is not None else (*DERIVED, *LANDED)
    condition = "r.message_id = %(message_id)s AND r.timestamp >= %(first)s AND r.timestamp < %(after)s"
    for each in topics:
        before = _END_OF_TIME
        while (newest := (yield from _day_before(each, before, day))) is not None:
            first, after = _bounds(newest)
            values = {"message_id": message_id, "first": first, "after": after}
            rows, _ = yield from _rows(each, condition, values, 1)
            if rows:
                return each, rows[0]
            before = first
    where = f" in {topic.table.name}" if topic is not None else ""
    when = f" on {day}" if day is not None else ""
    raise NoSuchRowError(
        f"there is no row {message_id}{where}{when}: it may not be landed yet (`loom lag`), be a dead letter (`loom "
        "deadletters list --each`), or have passed its retention"
    )


def latest(topic: Topic, day: date | None, devices: Sequence[str] | None = None) -> Steps[dict[str, Any]]:
    """The newest row of `topic`, of that UTC day if one is given; raises NoSuchRowError."""
    newest = yield from _day_before(topic, _END_OF_TIME, day)
    if newest is not None:
        first, after = _bounds(newest)
        condition = "r.timestamp >= %(first)s AND r.timestamp < %(after)s"
        values: dict[str, Any] = {"first": first, "after": after}
        if devices is not None:
            condition += " AND r.device_id = ANY(%(devices)s)"
            values["devices"] = list(devices)
        query = _select(topic, condition, "r.timestamp DESC, r.message_id", 1, counted=False)
        rows = yield Ask(query, values)
        if rows:
            return rows[0]
    raise NoSuchRowError(f"{topic.table.name} has no row{f' of {day}' if day is not None else ''}")


def _day_before(topic: Topic, before: datetime, day: date | None) -> Steps[date | None]:
    """The newest UTC day before that moment that the table has rows of; with `day` only that one.

    A month is looked at at once: a question about all days would lock each of them.
    """
    if day is not None:
        return day if before == _END_OF_TIME else None
    kept = yield Ask(sql.SQL(_KEPT).format(), {"table": topic.table.name})
    oldest, end = kept[0]["first"], kept[0]["last"]
    if oldest is None:
        return None
    query = sql.SQL(_NEWEST).format(sql.Identifier(topic.table.name))
    before = min(before, end)
    while before > oldest:
        since = max(oldest, before - _MONTH)
        rows = yield Ask(query, {"since": since, "before": before})
        newest: datetime | None = rows[0]["newest"]
        if newest is not None:
            return newest.astimezone(UTC).date()
        before = since
    return None


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, min(start, _END_OF_TIME) + timedelta(days=1)


def _climb(node: Node, depth: int) -> Steps[None]:
    for link in LINKS:
        if link.sink is node.topic and depth < DEEPEST:
            yield from _add(node, link.source, link.up)
    for child in node.children:
        yield from _climb(child, depth + 1)


def _descend(node: Node, depth: int) -> Steps[None]:
    for link in LINKS:
        if link.source is node.topic and depth < DEEPEST:
            yield from _add(node, link.sink, link.down)
    for child in node.children:
        yield from _descend(child, depth + 1)


def _add(node: Node, topic: Topic, condition: str) -> Steps[None]:
    rows, total = yield from _rows(topic, condition, node.row, MOST_CHILDREN)
    node.children += [Node(topic, row) for row in rows]
    if total > len(rows):
        node.more[topic] = total - len(rows)


def _rows(topic: Topic, condition: str, values: dict[str, Any], limit: int) -> Steps[tuple[Rows, int]]:
    """Rows `r` of `topic` that meet `condition`, in order of time, and how many there are in all."""
    given = {name: Jsonb(v) if isinstance(v, list | dict) else v for name, v in values.items()}
    rows = yield Ask(_select(topic, condition, "r.timestamp, r.message_id", limit, counted=True), given)
    return rows, rows[0]["found_in_all"] if rows else 0


def _select(topic: Topic, condition: str, order: str, limit: int, *, counted: bool) -> sql.Composed:
    columns: list[sql.Composable] = [sql.SQL("r.{}").format(sql.Identifier(name)) for name in explained(topic)]
    if counted:
        columns.append(sql.SQL("count(*) OVER () AS found_in_all"))
    if topic.table.derived:
        columns.append(
            sql.SQL(
                "r.superseded_at IS NULL AND r.stage_version IS NOT DISTINCT FROM "
                "coalesce(loom_shown_version(r.stage), r.stage_version) AS shown"
            )
        )
    return sql.SQL("SELECT {} FROM {} r WHERE {} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(columns),
        sql.Identifier(topic.table.name),
        sql.SQL(condition),
        sql.SQL(order),
        limit,
    )


def _json(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
