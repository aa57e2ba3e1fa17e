"""Dead letters through their stage again, once it is mended.

A landing stage reads a letter's own bytes and lands the row. A derived stage reads landed rows, so its letters are
replayed by computing their days again: with the context, the state and the timers that the day had. Either way
what is there already stays as it is, so a replay may be repeated.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from typing import Any

import polars as pl
import psycopg

from loom_models.stage import Stage
from loom_platform.stream.apply import Applied, apply, finish, no_timers
from loom_platform.stream.batch import REFUSED, clean
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect, register
from loom_platform.stream.decode import Decoded, decode
from loom_platform.stream.erased import unerased
from loom_platform.stream.letters import Wanted
from loom_platform.stream.recompute import recompute
from loom_platform.stream.source import Records
from loom_platform.stream.waking import wake, woken_by
from loom_platform.stream.writer import Writer

Connection = psycopg.Connection[Any]

BATCH = 500
_NEXT = """
SELECT topic, partition, "offset", value, received_at FROM processing_errors
WHERE resolved_at IS NULL AND stage = %(stage)s AND (topic, partition, "offset") > (%(topic)s, %(at)s, %(after)s)
  AND (%(reason)s::text IS NULL OR strpos(lower(error_type || ': ' || reason), lower(%(reason)s)) > 0)
  AND (%(since)s::timestamptz IS NULL OR occurred_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR occurred_at < %(until)s)
  AND (%(partition)s::int IS NULL OR partition = %(partition)s)
  AND (%(offset)s::bigint IS NULL OR "offset" = %(offset)s)
ORDER BY topic, partition, "offset" LIMIT %(limit)s
"""
_REPLAYED = """
UPDATE processing_errors SET resolved_at = now(), resolution = 'replayed', attempts = attempts + 1
WHERE stage = %s AND topic = %s AND partition = %s AND "offset" = %s AND resolved_at IS NULL
"""
_FAILED = """
UPDATE processing_errors SET attempts = attempts + 1, error_type = %s, reason = %s, stage_version = %s, run_id = %s
WHERE stage = %s AND topic = %s AND partition = %s AND "offset" = %s AND resolved_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A letter with the face of a record that was just read."""

    stored_topic: str
    stored_partition: int
    stored_offset: int
    stored_value: bytes | None
    received_at: datetime

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self.stored_value

    def partition(self) -> int:
        return self.stored_partition

    def offset(self) -> int:
        return self.stored_offset

    def timestamp(self) -> tuple[int, int]:
        return 1, int(self.received_at.timestamp() * 1000)

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return self.stored_topic, self.stored_partition, self.stored_offset


@dataclass
class Replayed:
    """What a replay did. `reasons` counts the letters that failed again."""

    replayed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Letters that are still dead."""
        return sum(self.reasons.values())

    def fail(self, reason: str) -> None:
        """Count one that failed."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def replay_letters(
    stage: Stage,
    wanted: Wanted,
    config: StreamConfig,
    *,
    on_progress: Callable[[Replayed], None],
    stop: threading.Event,
) -> Replayed:
    """Give the open letters of `stage` that are `wanted` to it again, batch by batch, until `stop` is set.

    A letter that fails again stays open, with its new reason and one attempt more. Raises DependencyError or
    psycopg.OperationalError when something is away: the batches before it are done.
    """
    done = Replayed()
    with connect(config.database_url, f"loom replay {stage.name}") as connection:
        register(connection, stage)
        for batch in _batches(connection, stage, wanted):
            if stop.is_set():
                break
            records = Records(batch)
            decoded = decode(records, stage.source.payload)
            if stage.landing:
                poison = _land(connection, stage, config, decoded)
            else:
                poison = _derive(connection, stage, config, decoded, stop)
            _record(connection, stage, config, batch, poison, done)
            on_progress(done)
    return done


def _batches(connection: Connection, stage: Stage, wanted: Wanted) -> Iterator[list[_Stored]]:
    last = ("", -1, -1)
    while True:
        place = {"stage": stage.name, "topic": last[0], "at": last[1], "after": last[2], "limit": BATCH}
        rows = connection.execute(_NEXT, wanted.values | place).fetchall()
        if not rows:
            return
        batch = [_Stored(*row) for row in rows]
        last = batch[-1].place
        # Two topics' records (the prefix was another one once) can lie at the same place.
        for _, same in groupby(batch, lambda stored: stored.stored_topic):
            yield list(same)


def _land(connection: Connection, stage: Stage, config: StreamConfig, decoded: Decoded) -> dict[int, tuple[str, str]]:
    poison = {position: ("invalid", reason) for position, reason in decoded.poison.items()}
    _land_part(connection, stage, config, decoded.frame, poison)
    return poison


def _land_part(
    connection: Connection,
    stage: Stage,
    config: StreamConfig,
    frame: pl.DataFrame,
    poison: dict[int, tuple[str, str]],
) -> None:
    if frame.is_empty():
        return
    writer = Writer(connection)
    try:
        with connection.transaction():
            frame = unerased(connection, frame)
            applied = apply(connection, stage, frame, no_timers(), blobs=config.blobs, live=False)
            _write(connection, writer, stage, config, applied)
    except REFUSED as error:
        if frame.height == 1:
            poison[frame["position"][0]] = (
                type(error).__name__,
                f"its row can't be kept: {str(error).splitlines()[0]}",
            )
            return
        middle = frame.height // 2
        for part in (frame[:middle], frame[middle:]):
            _land_part(connection, stage, config, part, poison)
        return
    poison.update(applied.poison)


def _write(connection: Connection, writer: Writer, stage: Stage, config: StreamConfig, applied: Applied) -> None:
    for sink in stage.sinks:
        rows = applied.rows(sink)
        if rows is not None and not rows.is_empty():
            writer.write(sink.table, frame := finish(rows, stage, config.run_id))
            wake(connection, woken_by(stage, config), frame)


def _derive(
    connection: Connection, stage: Stage, config: StreamConfig, decoded: Decoded, stop: threading.Event
) -> dict[int, tuple[str, str]]:
    """Compute the days of these records again; what is not landed yet, or fails there, is told by its position."""
    poison = {position: ("invalid", reason) for position, reason in decoded.poison.items()}
    frame = decoded.frame
    if frame.is_empty():
        return poison
    landed = _landed(connection, stage, frame)
    positions: Mapping[str, int] = dict(frame.select("message_id", "position").iter_rows())
    for message_id, position in positions.items():
        if message_id not in landed:
            poison[position] = (
                "NotLandedError",
                f"{stage.source.name} has no such row: replay its landing stage first",
            )
    again = frame.filter(pl.col("message_id").is_in(list(landed)))

    def failed(message_id: str, kind: str, reason: str) -> None:
        if message_id in positions:
            poison[positions[message_id]] = (kind, reason)

    days: Sequence[date] = sorted(again["timestamp"].dt.date().unique().to_list())
    for day in days:
        recompute(stage, day, day, config, on_report=lambda _: None, stop=stop, on_poison=failed)
        if stop.is_set():
            # Days are left whole or not begun: those letters stay as they were.
            left = again.filter(pl.col("timestamp").dt.date() >= day)["position"]
            poison.update((position, ("Stopped", "the replay was stopped before it")) for position in left)
            break
    return poison


def _landed(connection: Connection, stage: Stage, frame: pl.DataFrame) -> set[str]:
    query = (
        f"SELECT t.message_id::text FROM {stage.source.table.name} t "
        "JOIN unnest(%s::timestamptz[], %s::uuid[]) AS w (timestamp, message_id) USING (timestamp, message_id) "
        "WHERE t.timestamp BETWEEN %s AND %s"
    )
    times = frame["timestamp"]
    values = (times.to_list(), frame["message_id"].to_list(), times.min(), times.max())
    return {row[0] for row in connection.execute(query.encode(), values).fetchall()}


def _record(
    connection: Connection,
    stage: Stage,
    config: StreamConfig,
    batch: Sequence[_Stored],
    poison: Mapping[int, tuple[str, str]],
    done: Replayed,
) -> None:
    """Write down what became of each letter. A crash before this repeats the batch, which changes no row."""
    with connection.transaction(), connection.cursor() as cursor:
        replayed = [(stage.name, *s.place) for p, s in enumerate(batch) if p not in poison]
        cursor.executemany(_REPLAYED, replayed)
        for position, (kind, reason) in poison.items():
            values = (kind, clean(reason), stage.version, config.run_id, stage.name, *batch[position].place)
            cursor.execute(_FAILED, values)
    done.replayed += len(replayed)
    for kind, reason in poison.values():
        done.fail(f"{kind}: {reason}"[:100])
