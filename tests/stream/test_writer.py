"""Frames into tables: every value as it was, every row once."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import psycopg
import pytest
from pydantic import AwareDatetime, JsonValue

from loom_contracts.ddl import create_table
from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_models.frames import UTC_MICROS
from loom_platform.stream.database import connect
from loom_platform.stream.writer import Writer, copied, to_copy
from tests.stream.bench import Bench
from tests.stream.stages import NOON

pytestmark = pytest.mark.integration


class Wide(Message):
    text: str | None = None
    whole: int | None = None
    real: float | None = None
    flag: bool | None = None
    moment: AwareDatetime | None = None
    other: UUID | None = None
    extra: dict[str, JsonValue] | None = None
    names: list[str] | None = None


WIDE = Topic("test.wide.raw", Wide, "One column of each type.", {})
VALUES: dict[str, list[Any]] = {
    "text": ["", " ", "é漢\U0001f600", "\x01\x7f\n\r\t\\N\\.", "x" * 2_000_000],
    "whole": [0, -1, 2**63 - 1, -(2**63)],
    "real": [0.0, -0.0, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan],
    "flag": [True, False],
    "moment": [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)],
    "other": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"],
    "names": [[], ["a", 'q"']],
    "extra": [{}, {"a": [1, None, {"b": 'q"\\\n\x01'}]}, {"n": 10**30}],
}


@pytest.fixture
def connection(bench: Bench) -> Iterator[psycopg.Connection[Any]]:
    if not bench.rows("SELECT 1 FROM pg_class WHERE relname = 'test_wide_raw'"):
        bench.execute(create_table(WIDE))
        bench.execute("SELECT loom_grant()")
    with connect(bench.config.database_url, "writer") as connection:
        yield connection


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {c.name: pl.String() for c in copied(WIDE.table)} | {
        "timestamp": UTC_MICROS,
        "moment": UTC_MICROS,
        "received_at": UTC_MICROS,
        "whole": pl.Int64(),
        "real": pl.Float64(),
        "flag": pl.Boolean(),
        "kafka_partition": pl.Int32(),
        "kafka_offset": pl.Int64(),
    }
    common = {"device_id": "phone-001", "schema_version": "1.0", "kafka_partition": 0, "kafka_offset": 0}
    return pl.DataFrame(
        [{"timestamp": NOON, "received_at": NOON, "message_id": str(uuid4())} | common | row for row in rows],
        schema=schema,
    )


@pytest.mark.parametrize("name", VALUES)
def test_every_value_comes_back_as_it_was(bench: Bench, connection: psycopg.Connection[Any], name: str) -> None:
    values = [*VALUES[name], None]
    encoded = [json.dumps(v) if name in ("extra", "names") and v is not None else v for v in values]
    rows = frame(*({name: v, "kafka_offset": n} for n, v in enumerate(encoded)))
    writer = Writer(connection)
    with connection.transaction():
        writer.write(WIDE.table, rows)
    got = [v for (v,) in bench.rows(f"SELECT {name} FROM test_wide_raw ORDER BY kafka_offset")]
    wanted = [UUID(v) if name == "other" and v else v for v in values]
    assert [repr(v) for v in got] == [repr(v) for v in wanted]


def test_rows_that_are_there_are_left_alone_and_the_others_are_new(
    bench: Bench, connection: psycopg.Connection[Any]
) -> None:
    writer = Writer(connection)
    first = frame(*({"whole": n} for n in range(100)))
    later = frame(*({"whole": n} for n in range(100, 130)))
    changed = first.with_columns(pl.lit(-1, pl.Int64).alias("whole"))
    for batch in (first, pl.concat([later, changed]), pl.concat([first, first, later]), frame({"whole": 130})):
        with connection.transaction():
            writer.write(WIDE.table, batch)
    assert [n for (n,) in bench.rows("SELECT whole FROM test_wide_raw ORDER BY 1")] == list(range(131))


def test_a_batch_that_is_rolled_back_leaves_nothing_and_can_be_written_again(
    bench: Bench, connection: psycopg.Connection[Any]
) -> None:
    """Its partitions, too, were made in the transaction."""
    rows = frame({"whole": 1}, {"whole": 2, "timestamp": NOON - timedelta(days=500)})
    for _ in range(2):
        with connection.transaction(force_rollback=True):
            Writer(connection).write(WIDE.table, rows)
    assert bench.rows("SELECT count(*) FROM test_wide_raw") == [(0,)]
    with connection.transaction():
        Writer(connection).write(WIDE.table, rows)
    assert bench.rows("SELECT count(*) FROM test_wide_raw") == [(2,)]


def test_a_uuid_travels_as_bytes_and_json_with_its_version() -> None:
    identity = str(uuid4())
    table = to_copy(frame({"message_id": identity, "extra": "{}"}), copied(WIDE.table))
    assert table["message_id"].to_pylist() == [UUID(identity).bytes]
    assert table["extra"].to_pylist() == ["\x01{}"]
    assert table.column_names == [c.name for c in WIDE.table.columns if c.name != "stored_at"]
