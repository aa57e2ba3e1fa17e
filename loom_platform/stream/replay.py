"""A stage back to an earlier moment or offset: from Kafka as far as its topic reaches, from the tables before that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_models.stage import Stage
from loom_models.wakes import WAKE
from loom_platform.stream import offsets
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect, register
from loom_platform.stream.errors import StreamError
from loom_platform.stream.slices import bounds
from loom_platform.stream.source import Source, offset_at
from loom_platform.stream.topics import TopicState

Connection = psycopg.Connection[Any]

_FIRST_RECORD_SECONDS: Final = 10.0
_SPAN: Final = "SELECT min(timestamp), max(timestamp) FROM {table}"
_OF_DAY: Final = """
SELECT t.device_id, count(*) FROM {table} t WHERE t.timestamp >= %s AND t.timestamp < %s AND ({wanted}) GROUP BY 1
"""


_FORGET: Final = (
    "DELETE FROM stream_state WHERE stage = %s AND stage_version = %s",
    # A wake is no part of the state: it tells of records of other topics, which are not read again.
    f"DELETE FROM stream_timers WHERE stage = %s AND stage_version = %s AND NOT starts_with(key, '{WAKE}')",
)


class ReplayError(StreamError):
    """The stage can't be taken back to there."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """One partition: from which offset it is read again, where it stands, and the first that Kafka still has."""

    to: int
    stands_at: int
    first_kept: int

    @property
    def records(self) -> int:
        """How many are read again, holes included."""
        return self.stands_at - self.to


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay would do.

    `kafka` are the partitions that are rewound. `days` and `devices` say what is computed again from the tables, for
    the `rows` that Kafka has no more; `missing` tells what neither can give, or None.
    """

    stage: Stage
    topic_id: str
    kafka: Mapping[int, Rewind]
    days: tuple[date, ...] = ()
    devices: tuple[str, ...] = ()
    rows: int = 0
    missing: str | None = None

    @property
    def records(self) -> int:
        """How many records are read from Kafka again."""
        return sum(r.records for r in self.kafka.values())


def plan(
    stage: Stage,
    config: StreamConfig,
    *,
    since: datetime | None = None,
    at: Mapping[int, int] | None = None,
    on_day: Callable[[date], None] = lambda _: None,
) -> Replay:
    """How `stage` gets back to what was accepted from `since` on, or to the offsets `at` (partition to offset).

    `on_day` is called for each day of the table that is searched. Raises ReplayError when a partition or an offset
    is not there, TopicMissingError, and DependencyError when the broker or the database is away.
    """
    topic = stage.source.on_broker(config.topic_prefix)
    source = Source(config.bootstrap_servers, topic, f"{stage.name}-replay")
    try:
        state = source.describe()
        wanted = offset_at(source, int(since.timestamp() * 1000)) if since is not None else _checked(stage, state, at)
        gone = {p: o for p, o in wanted.items() if _may_be_gone(state, p, o, since)}
        first = _first_kept(source, {p: state.ranges[p] for p in gone})
    finally:
        source.close()
    with connect(config.database_url, f"loom replay {stage.name}") as connection:
        stands = offsets.stored(connection, stage.name, topic)
        kafka = {}
        for partition, offset in wanted.items():
            low, high = state.ranges[partition]
            stand = min(stands.get(partition, low), high)
            if max(offset, low) < stand:
                kafka[partition] = Rewind(max(offset, low), stand, low)
        found = Replay(stage, state.topic_id, kafka)
        if not gone:
            return found
        return _from_tables(found, connection, since, {p: (at or {}).get(p) for p in gone}, first, on_day)


def rewind(found: Replay, config: StreamConfig) -> None:
    """Take the stage's offsets back; a live run goes on from there by itself, and so does the next one.

    A stage with state begins without any, as at the beginning of a recompute. Nothing happens twice: what comes out the
    same has the same identities.
    """
    stage = found.stage
    topic = stage.source.on_broker(config.topic_prefix)
    with connect(config.database_url, f"loom replay {stage.name}") as connection, connection.transaction():
        register(connection, stage)
        offsets.rewind(connection, stage.name, topic, found.topic_id, {p: r.to for p, r in found.kafka.items()})
        if stage.keyed_state:
            for statement in _FORGET:
                connection.execute(statement, (stage.name, stage.version))


def _checked(stage: Stage, state: TopicState, at: Mapping[int, int] | None) -> dict[int, int]:
    for partition, offset in (at or {}).items():
        if partition not in state.ranges:
            there = ", ".join(map(str, sorted(state.ranges)))
            raise ReplayError(f"stage {stage.name}: {stage.source.name} has no partition {partition}, it has {there}")
        high = state.ranges[partition][1]
        if not 0 <= offset <= high:
            raise ReplayError(
                f"stage {stage.name}: {stage.source.name}[{partition}] has no offset {offset}, its next is {high}"
            )
    return dict(at or {})


def _may_be_gone(state: TopicState, partition: int, offset: int, since: datetime | None) -> bool:
    """Whether Kafka may have had earlier records that are wanted: those before its first are removed by retention."""
    low = state.ranges[partition][0]
    return low > 0 and (offset <= low if since is not None else offset < low)


def _first_kept(source: Source, ranges: Mapping[int, tuple[int, int]]) -> dict[int, tuple[datetime, int]]:
    """When the first record that Kafka has of each partition was accepted, and its offset; none for an empty one."""
    found: dict[int, tuple[datetime, int]] = {}
    for partition, (low, high) in ranges.items():
        if low == high:
            continue
        source.assign({partition: low})
        accepted = source.first(_FIRST_RECORD_SECONDS)
        if accepted is not None:
            found[partition] = accepted, low
    return found


def _from_tables(
    found: Replay,
    connection: Connection,
    since: datetime | None,
    at: Mapping[int, int | None],
    first: Mapping[int, tuple[datetime, int]],
    on_day: Callable[[date], None],
) -> Replay:
    """`found` with the days of the source's table that hold what Kafka has no more."""
    stage = found.stage
    if stage.landing:
        # Its table is all that there is.
        told = f"what Kafka has no more is in {stage.source.table.name} already, as far as retention has kept it"
        return Replay(stage, found.topic_id, found.kafka, missing=told)
    if stage.source.table.derived:
        told = f"{stage.source.name} is derived: compute its days again with `loom recompute {stage.name}`"
        return Replay(stage, found.topic_id, found.kafka, missing=told)
    wanted = sql.SQL(" OR ").join(_wanted(p, since, offset, first.get(p)) for p, offset in at.items())
    table = sql.Identifier(stage.source.table.name)
    row = connection.execute(sql.SQL(_SPAN).format(table=table)).fetchone()
    if row is None or row[0] is None:
        return found
    days: list[date] = []
    devices: set[str] = set()
    rows = 0
    query = sql.SQL(_OF_DAY).format(table=table, wanted=wanted)
    for day in each_day(row[0].astimezone(UTC).date(), row[1].astimezone(UTC).date()):
        on_day(day)
        if counted := connection.execute(query, bounds(day)).fetchall():
            days.append(day)
            devices.update(device for device, _ in counted)
            rows += sum(count for _, count in counted)
    return Replay(stage, found.topic_id, found.kafka, tuple(days), tuple(sorted(devices)), rows)


def _wanted(
    partition: int, since: datetime | None, offset: int | None, before: tuple[datetime, int] | None
) -> sql.Composed:
    """Rows of a partition that are wanted and were accepted before the first record that Kafka still has."""
    conditions = [sql.SQL("t.kafka_partition = {}").format(partition)]
    if since is not None:
        conditions.append(sql.SQL("t.received_at >= {}").format(since))
    if offset is not None:
        conditions.append(sql.SQL("t.kafka_offset >= {}").format(offset))
    if before is not None:
        # Many are accepted in one millisecond. A topic that was made again begins at 0, so offsets alone do not do.
        at, low = before
        conditions.append(sql.SQL("(t.received_at, t.kafka_offset) < ({}, {})").format(at, low))
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions))


def each_day(first: date, last: date) -> Sequence[date]:
    """The days from `first` to `last`, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def stretches(days: Sequence[date]) -> list[tuple[date, date]]:
    """Days as closed intervals of neighbours."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
