"""Days as storage: made by whoever comes first, right for late rows, dropped whole. The same on both engines."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pytest

from loom_platform.stream.database import connect
from tests.stream.bench import Bench, eventually
from tests.stream.stages import LANDING, NUMBERS, number

pytestmark = pytest.mark.integration

TABLE = NUMBERS.table.name
TODAY = datetime.now(UTC).date()


def days(bench: Bench) -> dict[date, str]:
    """The storage of each day of the numbers."""
    return dict(bench.rows("SELECT day, part::text FROM loom_days(%s)", TABLE))


def send(bench: Bench, *moments: datetime) -> None:
    """Numbers sensed at `moments`, into their table."""
    bench.send(NUMBERS, *(number(0, n, timestamp=moment) for n, moment in enumerate(moments)))
    bench.drain(LANDING)


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def dropped(bench: Bench, before: date, at_most: int | None = None) -> list[tuple[Any, ...]]:
    return bench.rows("SELECT * FROM loom_drop_days(%s, %s, %s)", TABLE, before, at_most)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """With no days of an earlier test."""
    dropped(bench, date(9999, 1, 1))
    bench.prepare(LANDING)
    return bench


def test_many_sessions_make_the_same_partitions_at_once(bench: Bench) -> None:
    first = date(2031, 1, 1)
    made = "SELECT loom_ensure_partitions(%s, %s, %s)"
    native = bench.rows("SELECT kind FROM timeseries_tables WHERE table_name = %s", TABLE) == [("native",)]

    def make(_: int) -> int:
        with connect(bench.config.database_url, "partitions") as connection:
            total = 0
            for day in (first + timedelta(days=n) for n in range(12)):
                (count,) = connection.execute(made, (TABLE, day, day)).fetchone() or (0,)
                total += count
            return total

    with ThreadPoolExecutor(6) as pool:
        # a hypertable makes its own when a row comes
        assert sum(pool.map(make, range(6))) == (12 if native else 0)
    assert len(days(bench)) == (12 if native else 0)


def test_late_rows_lie_in_the_storage_of_their_own_day(bench: Bench) -> None:
    midnight = datetime.combine(TODAY - timedelta(days=40), time(), UTC)
    moments = [
        *(noon(TODAY - timedelta(days=n)) for n in (1, 3, 21, 400)),
        midnight,
        midnight - timedelta(microseconds=1),
        midnight + timedelta(days=1, microseconds=-1),
    ]
    send(bench, *moments)
    places = dict(bench.rows(f"SELECT timestamp, tableoid::regclass::text FROM {TABLE}"))
    assert places.keys() == set(moments)
    where = days(bench)
    assert {moment: where[moment.date()] for moment in moments} == places
    assert where.keys() == {moment.date() for moment in moments}


def test_no_table_has_a_default_partition_that_could_fill(bench: Bench) -> None:
    assert bench.rows("SELECT partrelid::regclass FROM pg_partitioned_table WHERE partdefid <> 0") == []


def test_days_are_dropped_whole_and_oldest_first(bench: Bench) -> None:
    limit = TODAY - timedelta(days=30)
    old = [limit - timedelta(days=n) for n in (9, 2, 1)]
    kept = [limit, TODAY - timedelta(days=1)]
    send(bench, *(noon(d) for d in (*old, *kept)), *(noon(old[1]) + timedelta(seconds=n) for n in range(1, 5)))
    sizes = dict(bench.rows("SELECT day, bytes FROM loom_days(%s)", TABLE))
    assert dropped(bench, limit, 1) == [(old[0], 1, sizes[old[0]])]
    assert dropped(bench, limit) == [(old[1], 5, sizes[old[1]]), (old[2], 1, sizes[old[2]])]
    assert dropped(bench, limit) == []
    assert list(days(bench)) == kept
    assert bench.rows(f"SELECT count(*) FROM {TABLE}") == [(2,)]


def test_a_table_that_is_not_kept_by_day_is_refused(bench: Bench) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="stream_offsets is not kept by day"):
        bench.rows("SELECT * FROM loom_drop_days('stream_offsets', %s)", TODAY)


def test_a_running_stage_stores_a_late_row_of_a_day_that_was_dropped_under_it(bench: Bench) -> None:
    day = noon(TODAY - timedelta(days=60))
    with bench.start(LANDING, idle_timeout=timedelta(minutes=5)) as running:
        for count in range(1, 4):
            bench.send(NUMBERS, number(0, count, timestamp=day + timedelta(seconds=count)))
            eventually(lambda: bench.done(LANDING))
            assert [row[:2] for row in dropped(bench, TODAY - timedelta(days=30))] == [(day.date(), 1)]
        running.stop.set()
        running.end()
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(0,)]


def test_days_that_are_dropped_while_rows_of_them_come_lose_only_what_they_report(bench: Bench) -> None:
    """Every late row is in the table or in the count of a drop: none is refused for want of a partition."""
    limit = TODAY - timedelta(days=30)
    sent, rounds, gone = 0, 40, 0
    done = threading.Event()

    def drop() -> int:
        total = 0
        while not done.is_set():
            total += sum(row[1] for row in dropped(bench, limit))
        return total

    with ThreadPoolExecutor(1) as pool, bench.start(LANDING, idle_timeout=timedelta(minutes=5)) as running:
        dropping = pool.submit(drop)
        try:
            for n in range(rounds):
                late = [noon(limit - timedelta(days=d)) + timedelta(seconds=n) for d in (1, 2, 3)]
                bench.send(NUMBERS, *(number(0, n, timestamp=moment) for moment in late))
                sent += len(late)
                eventually(lambda: bench.done(LANDING))
        finally:
            done.set()
        gone = dropping.result(30)
        running.stop.set()
        running.end()
    (left,) = bench.rows(f"SELECT count(*) FROM {TABLE}")[0]
    assert gone > 0
    assert bench.rows("SELECT reason FROM processing_errors") == []
    assert left + gone == sent


def test_a_drop_waits_for_nobody_longer_than_two_seconds_and_then_drops_nothing(bench: Bench) -> None:
    day = TODAY - timedelta(days=60)
    send(bench, noon(day), noon(day + timedelta(days=1)))
    with psycopg.connect(bench.owner_url) as reader:
        reader.execute(f"SELECT count(*) FROM {TABLE}".encode())
        with pytest.raises(psycopg.errors.LockNotAvailable):
            dropped(bench, TODAY)
        assert reader.execute(f"SELECT count(*) FROM {TABLE}".encode()).fetchone() == (2,)
    assert [row[:2] for row in dropped(bench, TODAY)] == [(day, 1), (day + timedelta(days=1), 1)]
