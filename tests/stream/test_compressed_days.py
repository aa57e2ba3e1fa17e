"""What happens to days that TimescaleDB has compressed. Without a server that has it there is nothing to test."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import psycopg
import pytest

from loom_platform.timeseries import settle, storage
from tests.stream.bench import Bench
from tests.stream.stages import ANSWERS, LANDING, NUMBERS, number, twice

pytestmark = pytest.mark.integration

TABLE, DERIVED = NUMBERS.table.name, ANSWERS.table.name
DAY = datetime.now(UTC).date() - timedelta(days=30)
NOON = datetime.combine(DAY, time(12), UTC)
DEVICES = ("phone-001", "watch-002", "glasses-003")


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """With 300 numbers and their answers in a day that is compressed."""
    with psycopg.connect(bench.owner_url) as connection:
        if storage(connection).timescaledb is None:
            pytest.skip("LOOM_DATABASE_URL names no server with TimescaleDB")
    for table in (TABLE, DERIVED):
        bench.rows("SELECT * FROM loom_drop_days(%s, '9999-01-01')", table)
    bench.prepare(LANDING, twice())
    send(bench, *(value(n, device) for n in range(100) for device in DEVICES))
    for table in (TABLE, DERIVED):
        bench.execute(f"SELECT compress_chunk(c) FROM show_chunks('{table}') c")
    assert compressed(bench) == [True]
    return bench


def value(n: int, device: str, **changes: object) -> Any:
    return number(0, n, device, timestamp=NOON + timedelta(seconds=n), **changes)


def send(bench: Bench, *values: Any) -> None:
    bench.send(NUMBERS, *values)
    bench.drain(LANDING, twice())


def compressed(bench: Bench, table: str = TABLE) -> list[bool]:
    return [packed for (packed,) in bench.rows("SELECT compressed FROM loom_days(%s)", table)]


def counts(bench: Bench) -> list[tuple[Any, ...]]:
    return bench.rows(f"SELECT device_id, count(*), sum(n) FROM {TABLE} GROUP BY 1 ORDER BY 1")


def test_every_table_is_compressed_after_a_week(bench: Bench) -> None:
    policies = bench.rows(
        "SELECT hypertable_name, config ->> 'compress_after' FROM timescaledb_information.jobs "
        "WHERE proc_name = 'policy_compression' AND hypertable_name IN (SELECT table_name FROM timeseries_tables) "
        "ORDER BY 1"
    )
    tables = bench.rows("SELECT table_name, '7 days' FROM timeseries_tables ORDER BY 1")
    assert policies == tables
    settings = bench.rows(
        "SELECT hypertable::text, segmentby FROM timescaledb_information.hypertable_compression_settings "
        "WHERE hypertable::text IN (SELECT table_name FROM timeseries_tables) ORDER BY 1"
    )
    assert settings == [(name, "device_id") for name, _ in tables]


def test_a_late_record_is_stored_and_a_retry_is_not(bench: Bench) -> None:
    late, known = value(500, DEVICES[0]), bench.rows(f"SELECT message_id, n FROM {TABLE} WHERE n = 7 LIMIT 1")[0]
    again = number(0, 7, DEVICES[0], timestamp=NOON + timedelta(seconds=7), message_id=known[0])
    send(bench, late, late, again)
    total = sum(range(100))
    assert counts(bench) == sorted((d, 100 + (d == DEVICES[0]), total + 500 * (d == DEVICES[0])) for d in DEVICES)
    assert bench.rows(f"SELECT count(*) FROM {DERIVED} WHERE superseded_at IS NULL") == [(301,)]


def test_a_new_answer_supersedes_a_compressed_one(bench: Bench) -> None:
    bench.execute(f"UPDATE {DERIVED} SET superseded_at = now() WHERE device_id = '{DEVICES[1]}'")
    assert bench.rows(f"SELECT count(*) FROM {DERIVED} WHERE superseded_at IS NULL") == [(200,)]
    assert bench.rows(f"SELECT count(*) FROM {DERIVED}") == [(300,)]


def test_erasing_a_device_takes_its_rows_alone(bench: Bench) -> None:
    bench.execute(f"DELETE FROM {TABLE} WHERE device_id = '{DEVICES[1]}'")
    assert [row[:2] for row in counts(bench)] == [(DEVICES[2], 100), (DEVICES[0], 100)]
    assert compressed(bench) == [True]


def test_a_change_may_unpack_as_much_as_it_needs(bench: Bench) -> None:
    with psycopg.connect(bench.owner_url, autocommit=True) as connection:
        # a clone has no settings of its template's
        settle(connection)
    limit = bench.rows("SELECT current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction')")
    assert limit == [("0",)]


def test_dropping_a_compressed_day_reports_its_rows(bench: Bench) -> None:
    (size,) = bench.rows("SELECT bytes FROM loom_days(%s)", TABLE)[0]
    dropped = bench.rows("SELECT * FROM loom_drop_days(%s, %s)", TABLE, DAY + timedelta(days=1))
    assert dropped == [(DAY, 300, size)]
    assert size > 0
    assert counts(bench) == []
