"""The location stages: fixes a second on one core, and what one live fix costs after a night at home.

Weeks of commuting with a fix every ten seconds, and four saved places. Processor
time, so the threads do not matter. Geocoder and business finder are not measured here.
"""

import statistics
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
import psycopg

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import VISIT_DETECTED
from loom_models.frames import UTC_MICROS, frame_schema
from loom_models.stage import Context, Stage
from loom_models.stages import georegion, gps_cleaned, visit_read
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_models.stages.gps_cleaned import GPS_CLEANER
from loom_models.stages.visit_detected import VISIT_DETECTOR
from loom_platform.stream.apply import apply, finish, no_timers
from loom_platform.stream.database import connect, register
from loom_platform.stream.writer import Writer
from tests.benchmarks.harness import Result, Servers

START: Final = datetime(2026, 1, 5, tzinfo=UTC)
HOME, WORK, CAFE = (52.5163, 13.3777), (52.5563, 13.3977), (52.5600, 13.4077)
NIGHT_HOURS: Final = 12
LIVE: Final = 100
_DAY: Final = ((0, HOME), (8, HOME), (8.3, WORK), (12, WORK), (12.3, CAFE), (13, CAFE), (13.3, WORK), (17, WORK))
_HOURS: Final = np.array([*(hour for hour, _ in _DAY), 17.3, 24.0])
_SPOTS: Final = np.array([*(spot for _, spot in _DAY), HOME, HOME])


def run(servers: Servers) -> list[Result]:
    """Batches in memory, then one fix after the other through the database."""
    with servers.database() as url:
        return [*_speed(), *(_live(url, stage) for stage in (GPS_CLEANER, VISIT_DETECTOR))]


def fixes(count: int, seconds: float = 10.0, began: datetime = START) -> pl.DataFrame:
    """`count` fixes of one device, one every `seconds`, in the form of a batch."""
    chance = np.random.default_rng(1)
    at = np.arange(count) * seconds
    hours = (at / 3_600) % 24
    noise = chance.normal(0, 3 / 111_195, (2, count))
    moments = pl.Series([began]).dt.cast_time_unit("us").dt.epoch("us")[0] + (at * 1e6).astype(np.int64)
    frame = pl.DataFrame(
        {
            "message_id": [str(uuid.UUID(bytes=chance.bytes(16), version=4)) for _ in range(count)],
            "device_id": ["phone-001"] * count,
            "timestamp": pl.Series(moments).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "latitude": np.interp(hours, _HOURS, _SPOTS[:, 0]) + noise[0],
            "longitude": np.interp(hours, _HOURS, _SPOTS[:, 1]) + noise[1],
            "accuracy": 8.0,
            "schema_version": ["1.0"] * count,
            "kafka_partition": pl.Series([0] * count, dtype=pl.Int32),
            "kafka_offset": np.arange(count),
        }
    ).with_columns(pl.col("timestamp").alias("received_at"))
    wanted = {**frame_schema(GPS_RAW.payload), "kafka_partition": pl.Int32(), "kafka_offset": pl.Int64()}
    wanted["received_at"] = UTC_MICROS
    have = set(frame.columns)
    return frame.select((pl.col(n) if n in have else pl.lit(None)).cast(d).alias(n) for n, d in wanted.items())


def _speed() -> list[Result]:
    count = VISIT_DETECTOR.policy.max_rows_again or VISIT_DETECTOR.policy.max_rows
    batches = [fixes(count, began=START + timedelta(seconds=10 * count * n)) for n in range(3)]
    spent = {stage.name: 0.0 for stage in (GPS_CLEANER, GEOREGION_DETECTOR, VISIT_DETECTOR)}
    for number, batch in enumerate([batches[0], *batches]):
        for stage, frames in _read(batch):
            context = Context(stage.version, datetime.now(UTC), frames, live=False)
            began = time.process_time()
            stage.transform(batch, context)
            # The first round loads what is loaded once.
            spent[stage.name] += (time.process_time() - began) * (number > 0)
    total = 3 * count
    shares = ", ".join(f"{name} {total / seconds:,.0f}" for name, seconds in spent.items())
    each = total / sum(spent.values())
    return [Result("location stages, batch: fixes per processor second", each, "1/s", 1e5, note=f"alone: {shares}")]


def _read(batch: pl.DataFrame) -> Iterator[tuple[Stage, dict[str, pl.DataFrame]]]:
    """Each stage with the frames that its queries would give."""
    regions = _regions()
    yield GPS_CLEANER, {gps_cleaned.FIXES.name: batch.select(gps_cleaned.FIX_SCHEMA.names())}
    names = georegion.FIXES.schema.names()
    yield GEOREGION_DETECTOR, {georegion.FIXES.name: batch.select(names), georegion.REGIONS.name: regions}
    own = {"kind": pl.lit(visit_read.FIX, dtype=pl.Int32), "part": pl.lit(1, dtype=pl.Int64)}
    read = batch.with_columns(**own).select(visit_read.FIXES_SCHEMA.names())
    all_of_it: dict[str, Any] = {
        "kind": visit_read.ANSWERED,
        "part": 1,
        "device_id": "phone-001",
        "timestamp": START,
        "received_at": START + timedelta(days=999),
    }
    read = pl.concat([read, pl.DataFrame([all_of_it], schema=visit_read.FIXES_SCHEMA)])
    yield VISIT_DETECTOR, {visit_read.FIXES.name: read, georegion.REGIONS.name: regions}


def _regions() -> pl.DataFrame:
    rows = [
        {
            "region_id": str(uuid.UUID(int=n)),
            "region_name": f"Place {n}",
            "region_kind": "custom",
            "region_revision": n + 1,
            "latitude": latitude,
            "longitude": longitude,
            "radius_m": 150.0,
        }
        for n, (latitude, longitude) in enumerate((HOME, WORK, CAFE, (10.0, 10.0)))
    ]
    return pl.DataFrame(rows, schema=georegion.REGIONS.schema)


def _live(url: str, stage: Stage) -> Result:
    """One fix after the other, of one device at ten times its rate, after a night at home."""
    count = NIGHT_HOURS * 3_600
    began = datetime.now(UTC) - timedelta(hours=NIGHT_HOURS, seconds=LIVE)
    landed = fixes(count + LIVE, 1.0, START).with_columns(
        *(pl.col(n) + (began - START) for n in ("timestamp", "received_at")),
        (HOME[0] + pl.int_range(pl.len()) % 7 * 1e-5).alias("latitude"),
        pl.lit(HOME[1]).alias("longitude"),
        pl.lit(stage.name).alias("device_id"),
    )
    with connect(url, "bench") as connection:
        register(connection, stage)
        with connection.transaction():
            Writer(connection).write(GPS_RAW.table, landed[:count])
            _settle(connection, stage, landed[:count])
        # As autovacuum does within a minute; without it the planner takes the device for one of two hundred.
        connection.execute(f"ANALYZE {GPS_RAW.table.name}")
        took = []
        for n in range(count, count + LIVE):
            with connection.transaction():
                Writer(connection).write(GPS_RAW.table, landed[n : n + 1])
            began_at = time.perf_counter()
            with connection.transaction():
                _settle(connection, stage, landed[n : n + 1])
            took.append(time.perf_counter() - began_at)
    p50, p99 = statistics.median(took) * 1e3, float(np.quantile(took, 0.99)) * 1e3
    return Result(
        f"{stage.name}, a live fix after {NIGHT_HOURS} h at 1 Hz, p99", p99, "ms", 1e3, "at most", f"p50 {p50:.1f}"
    )


def _settle(connection: psycopg.Connection[Any], stage: Stage, batch: pl.DataFrame) -> None:
    """What the engine does with a batch, but for Kafka and the offsets."""
    numbered = batch.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("position"))
    applied = apply(connection, stage, numbered, no_timers(), blobs=None)
    writer = Writer(connection)
    for sink in stage.sinks:
        rows = applied.rows(sink)
        frame = None if rows is None else finish(rows, stage, "bench")
        if frame is not None:
            writer.write(sink.table, frame)
        writer.settle(sink.table, stage, frame, applied.spans(sink))
    if stage is VISIT_DETECTOR:
        _one_visit(connection)


def _one_visit(connection: psycopg.Connection[Any]) -> None:
    query = f"SELECT count(*) FROM {VISIT_DETECTED.table.name} WHERE superseded_at IS NULL AND is_open"
    row = connection.execute(query).fetchone()
    if row is None or row[0] != 1:
        raise RuntimeError(f"one visit goes on, not {row}")
