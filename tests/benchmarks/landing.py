"""Landing rows, with types, deduplication and roll-ups' marks, against a bare binary COPY into the same table."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from loom_contracts.topics.device import ACCELEROMETER_RAW
from loom_platform.stream.database import connect
from loom_platform.stream.writer import Writer, copied, encoded
from tests.benchmarks.harness import Result, Servers, timed

BATCH = 25_000
BATCHES = 16
EVERY = timedelta(milliseconds=20)
ROUNDS = 3
_TABLE = ACCELEROMETER_RAW.table
_START = datetime(2026, 3, 2, 6, tzinfo=UTC)


def run(servers: Servers) -> list[Result]:
    """Rows per second of the bare COPY, of landing new rows, and of landing rows of which some are there already."""
    bare, landed, retried = [], [], []
    new = [frame(_START + n * BATCH * EVERY, BATCH) for n in range(BATCHES)]
    known = [new[0], *(pl.concat([one[: BATCH // 100], other]) for one, other in pairwise(new))]
    with servers.database() as url:
        for _ in range(ROUNDS):
            # In turns, so that a busy moment of the machine does not fall on one of them alone.
            bare.append(_rate(url, new, bare=True))
            landed.append(_rate(url, new))
            retried.append(_rate(url, known))
    best = max(bare)
    return [
        Result("landing: bare binary COPY of ready bytes", best, "rows/s"),
        Result("landing: new rows", max(landed), "rows/s"),
        Result("landing: 1 % of the rows are there already", max(retried), "rows/s"),
        Result("landing: new rows / bare COPY", max(landed) / best, "x", 0.5),
        Result("landing: with 1 % known / bare COPY", max(retried) / best, "x"),
    ]


def frame(start: datetime, count: int) -> pl.DataFrame:
    """`count` samples of one device at 50 Hz, as a landing stage gives them."""
    n = np.arange(count)
    values = {
        "timestamp": pl.Series([start + k * EVERY for k in range(count)], dtype=pl.Datetime("us", "UTC")),
        "message_id": pl.Series([str(uuid.uuid4()) for _ in range(count)]),
        "device_id": pl.repeat("phone-001", count, eager=True),
        "schema_version": pl.repeat("1.0", count, eager=True),
        "trace_id": pl.Series([uuid.uuid4().hex for _ in range(count)]),
        "span_id": pl.Series([uuid.uuid4().hex[:16] for _ in range(count)]),
        "x": pl.Series(np.sin(n / 7)),
        "y": pl.Series(np.cos(n / 11)),
        "z": pl.repeat(9.81, count, eager=True),
        "kafka_partition": pl.repeat(0, count, dtype=pl.Int32, eager=True),
        "kafka_offset": pl.Series(n),
        "received_at": pl.repeat(start, count, dtype=pl.Datetime("us", "UTC"), eager=True),
    }
    return pl.DataFrame({c.name: values[c.name] for c in copied(_TABLE)})


def _rate(url: str, frames: Sequence[pl.DataFrame], *, bare: bool = False) -> float:
    ready = [encoded(_TABLE, f) for f in frames] if bare else []
    table = sql.Identifier(_TABLE.name)
    with connect(url, "bench landing") as connection:
        connection.execute(sql.SQL("TRUNCATE {}, rollup_marks").format(table))
        connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (_TABLE.name, _START.date(), _START.date()))
        writer = Writer(connection)
        with timed() as seconds:
            for n, batch in enumerate(frames):
                with connection.transaction():
                    if bare:
                        _copy(connection, ready[n])
                    else:
                        writer.write(_TABLE, batch)
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    if row is None or row[0] != BATCH * BATCHES:
        raise RuntimeError(f"{row} rows were stored, not {BATCH * BATCHES}")
    return BATCH * BATCHES / seconds[0]


def _copy(connection: psycopg.Connection[tuple[object, ...]], pieces: list[bytes]) -> None:
    columns = sql.SQL(", ").join(sql.Identifier(c.name) for c in copied(_TABLE))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(_TABLE.name), columns)
    with connection.cursor().copy(statement) as copy:
        for piece in pieces:
            copy.write(piece)
