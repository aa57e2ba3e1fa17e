"""The tree of one row: up to the raw events that it was made from, down to all that was derived from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.errors import PlatformError
from loom_platform.lineage.links import LINKS

Connection = psycopg.Connection[Any]

MOST_CHILDREN: Final = 20
"""Rows that are shown of each kind; the others are counted."""
DEEPEST: Final = 8

_DAYS: Final = """
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = %s::regclass AND c.relname ~ '_p[0-9]{8}$' ORDER BY 1 DESC
"""


class ExplainError(PlatformError):
    """There is no such row."""


@dataclass
class Node:
    """One row: its topic, all its columns, and the rows of one direction; `more` counts those left out, by topic."""

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
        body = self.topic.table.body
        if body is not None:
            names += [f"{body.name}_ref", f"{body.name}_sha256", f"{body.name}_size_bytes"]
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


def explain(
    connection: Connection, message_id: UUID, *, topic: Topic | None = None, day: date | None = None
) -> Explained:
    """The trees of the row `message_id`; raises ExplainError when there is none.

    Tables are searched from the smallest (derived) to the largest and from the newest day back, because no index
    begins with the identity; `topic` and `day` (UTC) make it quick.
    """
    start = find(connection, message_id, topic=topic, day=day)
    up, down = Node(*start), Node(*start)
    _climb(connection, up, 0)
    _descend(connection, down, 0)
    return Explained(up, down)


def find(
    connection: Connection, message_id: UUID, *, topic: Topic | None = None, day: date | None = None
) -> tuple[Topic, dict[str, Any]]:
    """Topic and row of `message_id`; raises ExplainError when there is none."""
    topics: Sequence[Topic] = (topic,) if topic is not None else (*DERIVED, *LANDED)
    for each in topics:
        for first, after in _stretches(connection, each, day):
            condition = "r.message_id = %(message_id)s AND r.timestamp >= %(first)s AND r.timestamp < %(after)s"
            values = {"message_id": message_id, "first": first, "after": after}
            rows, _ = _rows(connection, each, condition, values, 1)
            if rows:
                return each, rows[0]
    where = f" in {topic.table.name}" if topic is not None else ""
    when = f" on {day}" if day is not None else ""
    raise ExplainError(
        f"there is no row {message_id}{where}{when}: it may not be landed yet (`loom lag`), be a dead letter (`loom "
        "deadletters list --each`), or have passed its retention"
    )


def _stretches(connection: Connection, topic: Topic, day: date | None) -> Iterator[tuple[datetime, datetime]]:
    """Days of the table, the newest first; the whole time where it is not kept in day partitions."""
    if day is not None:
        yield _bounds(day)
        return
    days = [row[0] for row in connection.execute(_DAYS, (topic.table.name,)).fetchall()]
    if not days:
        yield datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return
    for each in days:
        yield _bounds(each)


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def _climb(connection: Connection, node: Node, depth: int) -> None:
    for link in LINKS:
        if link.sink is node.topic and depth < DEEPEST:
            _add(connection, node, link.source, link.up)
    for child in node.children:
        _climb(connection, child, depth + 1)


def _descend(connection: Connection, node: Node, depth: int) -> None:
    for link in LINKS:
        if link.source is node.topic and depth < DEEPEST:
            _add(connection, node, link.sink, link.down)
    for child in node.children:
        _descend(connection, child, depth + 1)


def _add(connection: Connection, node: Node, topic: Topic, condition: str) -> None:
    rows, total = _rows(connection, topic, condition, node.row, MOST_CHILDREN)
    node.children += [Node(topic, row) for row in rows]
    if total > len(rows):
        node.more[topic] = total - len(rows)


def _rows(
    connection: Connection, topic: Topic, condition: str, values: dict[str, Any], limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Rows `r` of `topic` that meet `condition`, in order of time, and how many there are in all."""
    shown = sql.SQL("")
    if topic.table.derived:
        shown = sql.SQL(
            ", r.superseded_at IS NULL AND r.stage_version IS NOT DISTINCT FROM coalesce("
            "(SELECT version FROM stage_promotions p WHERE p.stage = r.stage), r.stage_version) AS shown"
        )
    query = sql.SQL(
        "SELECT r.*, count(*) OVER () AS found_in_all{} FROM {} r WHERE {} ORDER BY timestamp, message_id LIMIT {}"
    )
    composed = query.format(shown, sql.Identifier(topic.table.name), sql.SQL(condition), limit)
    given = {name: Jsonb(v) if isinstance(v, list | dict) else v for name, v in values.items()}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(composed, given).fetchall()
    total = rows[0]["found_in_all"] if rows else 0
    return rows, total


def _json(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
