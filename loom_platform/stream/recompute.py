"""A day again, through the same transform: a derived stage from its source's table, a landing stage from Kafka."""

import base64
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg

from loom_contracts.message import StoredBody
from loom_contracts.table import ColumnType
from loom_contracts.topic import Topic
from loom_models.errors import DependencyError
from loom_models.frames import frame_schema
from loom_models.stage import DUE_SCHEMA, TIMER_SCHEMA, Output, Stage
from loom_platform.stream.apply import Applied, apply, finish, halves, no_timers
from loom_platform.stream.batch import LOCK_STAGE, REFUSED, Outcome
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect, register
from loom_platform.stream.decode import decode
from loom_platform.stream.report import StageReport, StageSummary
from loom_platform.stream.source import Source, offset_at
from loom_platform.stream.statistics import Statistics
from loom_platform.stream.writer import Writer

DAY = timedelta(days=1)
_CLOCK_SKEW = timedelta(hours=26)
"""A record is accepted no earlier than its event time less the 24 h that the API allows, and a little."""

Report = Callable[[StageReport], None]
OnPoison = Callable[[str, str, str], None]
"""Called with the message_id, the error's type and the reason of each record that can't be processed."""


def _ignored(_message_id: str, _kind: str, _reason: str) -> None:
    """The default of `on_poison`: they are counted, and keep the dead letters that they have."""


def recompute(
    stage: Stage,
    first_day: date,
    last_day: date,
    config: StreamConfig,
    *,
    on_report: Report,
    stop: threading.Event,
    on_poison: OnPoison = _ignored,
) -> StageSummary:
    """Compute the UTC days `first_day` to `last_day` of `stage` again, in bounded memory, beside the live run.

    Rows that come out the same keep their ids and are left alone; where the answer has changed the new row supersedes
    the old one, and rows that are no longer an answer are superseded too. Only tables are written: what comes
    after this stage is recomputed by its own. Between two slices it heeds `stop`, leaving whole days done.
    """
    statistics = Statistics(stage)
    with connect(config.database_url, f"loom recompute {stage.name}") as connection:
        register(connection, stage)
        if stage.landing:
            _land_again(stage, first_day, last_day, config, connection, statistics, stop)
            _tell(statistics, on_report)
        else:
            day = first_day
            while day <= last_day and not stop.is_set():
                _derive_again(stage, day, config, connection, statistics, stop, on_poison)
                _tell(statistics, on_report)
                day += DAY
    return statistics.summary()


def _tell(statistics: Statistics, on_report: Report) -> None:
    for report in statistics.reports():
        on_report(report)


def _derive_again(
    stage: Stage,
    day: date,
    config: StreamConfig,
    connection: psycopg.Connection[Any],
    statistics: Statistics,
    stop: threading.Event,
    on_poison: OnPoison,
) -> None:
    writer = Writer(connection)
    writer.forget()
    started = _now(connection)
    replay = _Replay()
    batch: pl.DataFrame | None = None
    for batch in _slices(stage, day, config):
        if stop.is_set():
            return
        statistics.add(_slice_again(stage, batch, no_timers(), replay, config, connection, writer, on_poison))
    if batch is not None and not (due := replay.due(started)).is_empty():
        # What the stage was still waiting for when the day's records ended, such as an open segment's end.
        statistics.add(_slice_again(stage, batch.clear(), due, replay, config, connection, writer, on_poison))
    for sink in stage.sinks:
        writer.supersede_unconfirmed(sink.table, stage.name, stage.version, day, started)


@dataclass(slots=True)
class _Replay:
    """State and timers of the stage in this recompute; the live run has its own."""

    state: dict[str, bytes] = field(default_factory=dict)
    timers: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def keep(self, output: Output) -> None:
        """Remember what `output` sets, and forget what it ends."""
        for device, state in output.state.items():
            if state is None:
                self.state.pop(device, None)
            else:
                self.state[device] = state
        if output.cleared is not None:
            for device, key in output.cleared.select(DUE_SCHEMA.names()).iter_rows():
                self.timers.pop((device, key), None)
        if output.timers is not None:
            self.timers.update({(d, k): at for d, k, at in output.timers.select(TIMER_SCHEMA.names()).iter_rows()})

    def due(self, now: datetime) -> pl.DataFrame:
        """The timers whose time has come by `now`."""
        return pl.DataFrame([k for k, at in self.timers.items() if at <= now], schema=DUE_SCHEMA, orient="row")


def _slice_again(
    stage: Stage,
    batch: pl.DataFrame,
    due: pl.DataFrame,
    replay: _Replay,
    config: StreamConfig,
    connection: psycopg.Connection[Any],
    writer: Writer,
    on_poison: OnPoison,
) -> Outcome:
    """One slice in one transaction; in halves where the database refuses a row, until its record stands alone."""
    try:
        with connection.transaction():
            connection.execute(LOCK_STAGE, (stage.name,))
            applied = apply(
                connection, stage, batch, due, blobs=config.blobs, live=False, state=replay.state, now=datetime.now(UTC)
            )
            outcome = _write(stage, applied, config, writer, batch.height)
    except REFUSED as error:
        writer.rolled_back()
        if batch.height + due.height == 1:
            for message_id in batch["message_id"]:
                on_poison(message_id, type(error).__name__, f"its row can't be kept: {str(error).splitlines()[0]}")
            return Outcome(batch.height, dead_letters=batch.height)
        outcome = Outcome(0)
        for part, timers in halves(batch, due):
            outcome.include(_slice_again(stage, part, timers, replay, config, connection, writer, on_poison))
        return outcome
    for output in applied.outputs:
        replay.keep(output)
    for position, (kind, reason) in applied.poison.items():
        on_poison(batch.filter(pl.col("position") == position)["message_id"][0], kind, reason)
    return outcome


def _write(stage: Stage, applied: Applied, config: StreamConfig, writer: Writer, records: int) -> Outcome:
    outcome = Outcome(records, dead_letters=len(applied.poison))
    for sink in stage.sinks:
        rows = applied.rows(sink)
        if rows is None:
            continue
        frame = finish(rows, stage, config.run_id)
        days = frame.group_by(pl.col("timestamp").dt.date().alias("day")).len()
        outcome.rows_by_day[sink] = dict(days.iter_rows())
        writer.write(sink.table, frame)
        if sink.table.derived:
            writer.confirm(sink.table)
    return outcome


def _slices(stage: Stage, day: date, config: StreamConfig) -> Iterator[pl.DataFrame]:
    """The source's rows of `day` in order of (device, time), as the batches that the transform gets live."""
    source = stage.source
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    current = " AND superseded_at IS NULL" if source.table.derived else ""
    query = (
        f"SELECT {', '.join(_selected(source))} FROM {source.table.name} WHERE timestamp >= '{start.isoformat()}' "
        f"AND timestamp < '{(start + DAY).isoformat()}'{current} ORDER BY device_id, timestamp, message_id"
    )
    rows = stage.policy.max_rows
    with adbc.connect(config.database_url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        kept: list[pl.DataFrame] = []
        height = 0
        for record_batch in cursor.fetch_record_batch():
            frame = pl.DataFrame(pl.from_arrow(record_batch))
            while not frame.is_empty():
                take = frame[: rows - height]
                kept.append(take)
                height += take.height
                frame = frame[take.height :]
                if height == rows:
                    yield _as_batch(pl.concat(kept), stage, config)
                    kept, height = [], 0
        if height:
            yield _as_batch(pl.concat(kept), stage, config)


def _selected(topic: Topic) -> list[str]:
    casts = {ColumnType.UUID, ColumnType.JSON}
    return [f"{c.name}::text AS {c.name}" if c.type in casts else c.name for c in topic.table.columns]


def _as_batch(rows: pl.DataFrame, stage: Stage, config: StreamConfig) -> pl.DataFrame:
    """Landed rows in the form of a live batch: a stored body is fetched back into its field."""
    payload = stage.source.payload
    body = stage.source.table.body
    if body is not None:
        if config.blobs is None:
            raise DependencyError(f"stage {stage.name}: no object storage is configured, its source keeps bodies there")
        blobs = config.blobs
        field = next(n for n, f in payload.model_fields.items() if any(isinstance(m, StoredBody) for m in f.metadata))
        encoded = [base64.b64encode(blobs.get(ref)).decode() for ref in rows[f"{body.name}_ref"]]
        rows = rows.with_columns(pl.Series(field, encoded, dtype=pl.String))
    schema = frame_schema(payload)
    return rows.with_columns(
        *(pl.col(n).cast(d) for n, d in schema.items()), pl.int_range(pl.len(), dtype=pl.UInt32).alias("position")
    )


def _land_again(
    stage: Stage,
    first_day: date,
    last_day: date,
    config: StreamConfig,
    connection: psycopg.Connection[Any],
    statistics: Statistics,
    stop: threading.Event,
) -> None:
    """Read the topic again from where records of `first_day` can begin, and land those of the days that are missing."""
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    end = datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC) + DAY
    topic = stage.source.on_broker(config.topic_prefix)
    source = Source(config.bootstrap_servers, topic, f"{stage.name}-recompute", max_bytes=stage.policy.max_bytes)
    try:
        positions = offset_at(source, int((start - _CLOCK_SKEW).timestamp() * 1000))
        ends = {p: high for p, (_, high) in source.describe().ranges.items()}
        source.assign(positions)
        while not stop.is_set() and any(positions[p] < ends[p] for p in positions):
            records = source.poll(stage.policy, stage.policy.max_rows, 1.0)
            if not len(records):
                continue
            positions.update({p: last for p, (_, last) in records.spans.items()})
            decoded = decode(records, stage.source.payload)
            batch = decoded.frame.filter(pl.col("timestamp").is_between(start, end, closed="left"))
            if batch.is_empty():
                continue
            writer = Writer(connection)
            with connection.transaction():
                applied = apply(connection, stage, batch, no_timers(), blobs=config.blobs, live=False)
                outcome = _write(stage, applied, config, writer, batch.height)
            statistics.add(outcome)
    finally:
        source.close()


def _now(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    if row is None:
        raise DependencyError("database: no answer to SELECT clock_timestamp()")
    now: datetime = row[0]
    return now
