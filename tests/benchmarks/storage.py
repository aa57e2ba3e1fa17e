"""The tables over months: one device's day of ninety, read; what TimescaleDB's compression leaves of a month.

Both engines are asked the same. TimescaleDB is the server that LOOM_DATABASE_URL names; without one that has it
its line says so. A month of accelerometer is 130 million rows, so half an hour of each day stand for the day, which
changes nothing: rows are packed a thousand at a time.
"""

import os
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import adbc_driver_postgresql.dbapi
import numpy as np
import polars as pl
import psycopg

from loom_contracts.randomness import random_piece
from loom_contracts.table import Table
from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW
from loom_platform.demo.day import ActivityKind
from loom_platform.demo.signals import ACCELEROMETER_HZ, acceleration
from loom_platform.migrate import migrate
from loom_platform.stream.writer import Writer
from loom_platform.timeseries import storage
from tests.benchmarks.harness import Result, Servers
from tests.conftest import fresh_database

DAYS, DEVICES, FIX_SECONDS = 90, 4, 10
QUERIES, WARM_UP = 200, 20
MONTH, SAMPLED = 30, timedelta(minutes=30)
TODAY = datetime.now(UTC).date()
# A day of a person who walks for two hours of it.
_KINDS: tuple[ActivityKind, ...] = ("sleep", "sleep", "sleep", "sleep", "rest", "rest", "rest", "rest", "drive", "walk")
_BATCH = 100


def run(servers: Servers) -> list[Result]:
    """Range queries on both engines, and the size of a month before and after compression."""
    with servers.database() as url:
        results = [_queried(url, "PostgreSQL's day partitions")]
    with timescaledb() as other:
        if other is None:
            note = "skipped: LOOM_DATABASE_URL names no server with TimescaleDB"
            return [*results, Result("storage: TimescaleDB", 0, "", note=note)]
        results.append(_queried(other, "TimescaleDB, compressed after a week"))
    with timescaledb() as other:
        assert other is not None
        return [*results, *_packed(other)]


@contextmanager
def timescaledb() -> Iterator[str | None]:
    """A migrated database on the server that LOOM_DATABASE_URL names, if that one has TimescaleDB."""
    server = os.environ.get("LOOM_DATABASE_URL")
    if not server:
        yield None
        return
    with fresh_database(server, f"bench_{uuid.uuid4().hex[:8]}") as url:
        migrate(url)
        with psycopg.connect(url) as connection:
            found = storage(connection).timescaledb
        yield url if found else None


def _queried(url: str, engine: str) -> Result:
    """Milliseconds until a device's day is here as Arrow; p95 of days and devices by chance."""
    first = TODAY - timedelta(days=DAYS)
    with psycopg.connect(url, autocommit=True) as connection:
        writer = Writer(connection)
        for day in (first + timedelta(days=n) for n in range(DAYS)):
            with connection.transaction():
                for number in range(DEVICES):
                    writer.write(GPS_RAW.table, fixes(day, f"phone-{number:03}"))
        _compress(connection, GPS_RAW.table, TODAY - timedelta(days=7))
        connection.execute(f"VACUUM ANALYZE {GPS_RAW.table.name}".encode())
    chance, took = random.Random(1), []
    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        for _ in range(WARM_UP + QUERIES):
            day = first + timedelta(days=chance.randrange(DAYS))
            device = f"phone-{chance.randrange(DEVICES):03}"
            started = time.perf_counter()
            cursor.execute(
                f"SELECT timestamp, latitude, longitude, accuracy, speed FROM {GPS_RAW.table.name} "
                f"WHERE device_id = '{device}' AND timestamp >= '{day}Z' AND timestamp < '{day + timedelta(days=1)}Z' "
                "ORDER BY timestamp"
            )
            rows = cursor.fetch_arrow_table().num_rows
            took.append((time.perf_counter() - started) * 1_000)
            if rows != 86_400 // FIX_SECONDS:
                raise RuntimeError(f"{device} has {rows} fixes on {day}")
    p95 = float(np.percentile(took[WARM_UP:], 95))
    stored = DAYS * DEVICES * 86_400 // FIX_SECONDS
    note = f"{86_400 // FIX_SECONDS} of {stored:,} rows; middle {np.median(took[WARM_UP:]):.1f} ms"
    return Result(f"storage: a device-day out of {DAYS} days, p95, {engine}", p95, "ms", 20, "at most", note)


def _packed(url: str) -> list[Result]:
    """A month of one device's GPS and accelerometer."""
    first = TODAY - timedelta(days=MONTH + 8)
    with psycopg.connect(url, autocommit=True) as connection:
        writer = Writer(connection)
        for n in range(MONTH):
            day = first + timedelta(days=n)
            with connection.transaction():
                writer.write(GPS_RAW.table, fixes(day, "phone-000"))
                writer.write(ACCELEROMETER_RAW.table, samples(day, "phone-000", _KINDS[n % len(_KINDS)]))
        weight = {GPS_RAW.table: 1.0, ACCELEROMETER_RAW.table: timedelta(days=1) / SAMPLED}
        plain = {table: _bytes(connection, table) for table in weight}
        for table in weight:
            _compress(connection, table, TODAY)
        packed = {table: _bytes(connection, table) for table in weight}
    whole = [sum(size[table] * weight[table] for table in weight) for size in (plain, packed)]
    note = ", ".join(f"{t.name} {packed[t] / plain[t]:.1%}" for t in weight)
    return [
        Result("storage: a month of GPS + accelerometer, plain", whole[0] / 1e9, "GB"),
        Result("storage: the same, compressed", whole[1] / 1e9, "GB"),
        Result("storage: compressed / plain", whole[1] / whole[0] * 100, "%", 15, "at most", note),
    ]


def fixes(day: date, device: str) -> pl.DataFrame:
    """A day of fixes, one each ten seconds, of someone who wanders about."""
    count = 86_400 // FIX_SECONDS
    chance = np.random.default_rng([day.toordinal(), int(device[-3:])])
    walk = chance.normal(0, 5e-5, (2, count)).cumsum(axis=1)
    return _landed(day, count, timedelta(seconds=FIX_SECONDS), device, 1).with_columns(
        latitude=pl.Series((52.5 + walk[0]).round(7)),
        longitude=pl.Series((13.4 + walk[1]).round(7)),
        altitude=pl.Series(chance.normal(40, 2, count).round(1)),
        accuracy=pl.Series(chance.uniform(3, 18, count).round(1)),
        heading=pl.Series(chance.uniform(0, 360, count).round(1)),
        speed=pl.Series(chance.uniform(0, 2, count).round(2)),
    )


def samples(day: date, device: str, kind: ActivityKind) -> pl.DataFrame:
    """Half an hour of a day's samples, as the demo's phone reads them, in batches of 100."""
    count = int(SAMPLED.total_seconds()) * ACCELEROMETER_HZ
    read = acceleration(kind, 0.0, count, random.Random(day.toordinal()))
    columns = dict(zip("xyz", (pl.Series(axis) for axis in read.T), strict=True))
    return _landed(day, count, timedelta(seconds=1 / ACCELEROMETER_HZ), device, _BATCH).with_columns(**columns)


def _landed(day: date, count: int, every: timedelta, device: str, batch: int) -> pl.DataFrame:
    """What every landed row has; `batch` of them came in one request."""
    n = np.arange(count)
    at = pl.Series(n) * every + datetime(day.year, day.month, day.day, tzinfo=UTC)
    requests = [random_piece().hex() for _ in range(count // batch)]
    of_request = pl.Series(n // batch)
    return pl.DataFrame(
        {
            "timestamp": at,
            "message_id": _identities(at.gather(of_request * batch + batch - 1), batch),
            "device_id": device,
            "schema_version": "1.0",
            "trace_id": pl.Series(requests).gather(of_request),
            "span_id": pl.Series(requests).str.slice(0, 16).gather(of_request),
            "kafka_partition": 0,
            "kafka_offset": n,
            "received_at": at.gather(of_request * batch + batch - 1) + timedelta(milliseconds=137),
        }
    )


def _identities(received: pl.Series, batch: int) -> pl.Series:
    """What the ingest service gives to the messages of one request, 20 us after one another."""
    moments = received.dt.timestamp("us").to_numpy() + np.arange(received.len()) % batch * 20
    fraction = moments % 1_000 * 4096 // 1_000
    first = (moments // 1_000 << 16 | 0x7000 | fraction).astype(">u8")
    second = np.frombuffer(os.urandom(8 * received.len()), np.uint64) >> np.uint64(2) | np.uint64(1 << 63)
    body = np.stack([first.view("u1").reshape(-1, 8), second.astype(">u8").view("u1").reshape(-1, 8)], axis=1).tobytes()
    return pl.Series([body[n : n + 16] for n in range(0, len(body), 16)]).bin.encode("hex")


def _compress(connection: psycopg.Connection[tuple[object, ...]], table: Table, before: date) -> None:
    """What TimescaleDB's job does in the night, now; nothing elsewhere."""
    for part, packed in connection.execute(
        "SELECT part::text, compressed FROM loom_days(%s) WHERE day < %s", (table.name, before)
    ).fetchall():
        if not packed and str(part).startswith("_timescaledb"):
            connection.execute("SELECT compress_chunk(%s::regclass)", (part,))


def _bytes(connection: psycopg.Connection[tuple[object, ...]], table: Table) -> float:
    row = connection.execute("SELECT sum(bytes)::float8 FROM loom_days(%s)", (table.name,)).fetchone()
    return float(str(row[0])) if row else 0.0
