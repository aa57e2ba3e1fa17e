"""Refreshing beside writers and erasures, after a kill, with odd numbers; and roll-ups that outlive their rows."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_contracts.rollups import UNITS, Rollup, make_rollup, rollup_of
from loom_contracts.topics.device import LIGHT_RAW, TEMPERATURE_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW
from loom_platform.errors import PlatformError
from loom_platform.rollups import drop_before, forget, forget_frozen, freeze, mark, refresh
from loom_platform.rollups.refreshing import Piece, mark_all, merged, split
from loom_platform.rollups.status import differences, pending, rollup_named, statuses
from tests.rollups.rows import GPS, START, STATES, Row, assert_same, counted, roll_up, told, write

pytestmark = pytest.mark.integration
DEVICE = "phone-001"
Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """A second session, which waits for nobody."""
    with psycopg.connect(database_url, autocommit=True, options="-c lock_timeout=300") as connection:
        yield connection


def fixes(count: int, start: datetime = START, every: timedelta = timedelta(seconds=20)) -> list[Row]:
    return [
        Row(DEVICE, start + n * every, {"altitude": float(n), "accuracy": None, "speed": 1.5}) for n in range(count)
    ]


def assert_right(connection: Connection, rollup: Rollup, rows: list[Row]) -> None:
    for unit in UNITS:
        assert_same(told(connection, rollup, unit, [DEVICE]), counted(rollup, rows, unit))


def test_a_refresh_and_a_writer_do_not_wait_for_each_other(connection: Connection, other: Connection) -> None:
    first, second = fixes(10), fixes(5, START + timedelta(seconds=7))
    with connection.transaction():
        write(connection, GPS, first)
    with connection.transaction():
        write(connection, GPS, second)
        # The same minutes, counted while these rows are not committed.
        refresh(other, [GPS.table])
        assert_right(other, GPS, first)
        assert pending(other) == {}
    assert_right(other, GPS, first + second)
    refresh(other, [GPS.table])
    assert pending(other) == {}
    assert_right(other, GPS, first + second)


def test_an_erasure_that_is_not_committed_is_waited_for(connection: Connection, other: Connection) -> None:
    rows = fixes(10)
    with connection.transaction():
        write(connection, GPS, rows)
    refresh(other, [GPS.table])
    with connection.transaction():
        connection.execute(f"DELETE FROM {GPS.table.name}")
        assert forget(connection, GPS.table, DEVICE, rows[0].timestamp, rows[-1].timestamp) == 4
        with pytest.raises(psycopg.errors.LockNotAvailable):
            refresh(other, [GPS.table])
    refresh(other, [GPS.table])
    assert_right(other, GPS, [])
    assert [(s.minutes, s.hours) for s in statuses(other) if s.table == GPS.table.name] == [(0, 0)]


_KILLED = """
import os, signal, sys
import psycopg
from loom_platform.rollups import refresh
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    refresh(connection, [sys.argv[2]], on_progress=lambda done: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.fault
def test_a_refresh_that_is_killed_between_two_steps(connection: Connection, database_url: str) -> None:
    rows = fixes(40, every=timedelta(minutes=30))
    with connection.transaction():
        write(connection, GPS, rows)
    mark(connection, GPS.table, DEVICE, rows[0].timestamp, rows[-1].timestamp)
    killed = subprocess.run([sys.executable, "-c", _KILLED, database_url, GPS.table.name], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < connection.execute(f"SELECT count(*) FROM {GPS.table.name}_by_minute_kept").fetchall()[0][0] < 40
    assert_right(connection, GPS, rows)
    refresh(connection, [GPS.table])
    assert pending(connection) == {}
    assert_right(connection, GPS, rows)


def test_a_refresh_that_fails_before_its_marks_go(connection: Connection) -> None:
    rows = fixes(10)
    with connection.transaction():
        write(connection, GPS, rows)
    connection.execute(
        "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;"
        "CREATE TRIGGER refused BEFORE DELETE ON rollup_marks EXECUTE FUNCTION refused()"
    )
    with pytest.raises(psycopg.errors.RaiseException):
        refresh(connection, [GPS.table])
    assert_right(connection, GPS, rows)
    connection.execute("DROP TRIGGER refused ON rollup_marks")
    late = [Row(DEVICE, START, {"speed": 9.0})]
    with connection.transaction():
        write(connection, GPS, late)
    assert refresh(connection, [GPS.table])[0].marks == 2
    assert_right(connection, GPS, rows + late)


def test_steps_are_cut_and_a_long_mark_is_no_longer_than_its_rows(connection: Connection) -> None:
    rows = fixes(30, every=timedelta(hours=2, minutes=7))
    with connection.transaction():
        write(connection, GPS, rows)
    mark(connection, GPS.table, DEVICE, datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    mark(connection, GPS.table, "nobody", datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    steps: list[timedelta] = []
    done = refresh(connection, [GPS.table], on_progress=lambda d: steps.append(d.counted))[0]
    assert len(steps) > 2
    assert timedelta(hours=59) < done.counted < timedelta(hours=75)
    assert_right(connection, GPS, rows)


def test_what_was_broken_is_found_and_counted_anew(connection: Connection) -> None:
    rows = fixes(10)
    with connection.transaction():
        write(connection, GPS, rows)
    refresh(connection, [GPS.table])
    assert list(differences(connection, GPS)) == []
    connection.execute(f"DELETE FROM {GPS.table.name} WHERE timestamp = %s", (rows[3].timestamp,))
    found = list(differences(connection, GPS))
    assert [(d.view, d.bucket, d.told, d.counted) for d in found] == [
        ("device_sensor_gps_raw_by_minute", START + timedelta(minutes=1), 3, 2),
        ("device_sensor_gps_raw_by_hour", START.replace(minute=0), 10, 9),
    ]
    mark_all(connection, GPS.table)
    assert list(differences(connection, GPS)) == []
    refresh(connection, [GPS.table])
    assert_right(connection, GPS, rows[:3] + rows[4:])


def test_roll_ups_outlive_their_rows(connection: Connection) -> None:
    rows = fixes(12, every=timedelta(hours=1))
    day = START.replace(hour=0, minute=0) + timedelta(days=1)
    old = [r for r in rows if r.timestamp < day]
    with connection.transaction():
        write(connection, GPS, rows)
    freeze(connection, GPS.table, day)
    connection.execute("SELECT loom_drop_days(%s, %s)", (GPS.table.name, day.date()))
    assert connection.execute(f"SELECT count(*) FROM {GPS.table.name}").fetchall() == [(len(rows) - len(old),)]
    assert len(old) == 2
    assert_right(connection, GPS, rows)

    # A record that is later than its day: it is counted where there is nothing that it would make smaller.
    late = Row(DEVICE, START + timedelta(minutes=3), {"speed": 3.0})
    repeated = Row(DEVICE, old[0].timestamp, {"speed": 9.0})
    with connection.transaction():
        write(connection, GPS, [late])
    refresh(connection, [GPS.table])
    assert_right(connection, GPS, [*rows, late])
    mark(connection, GPS.table, DEVICE, START - timedelta(hours=1), rows[-1].timestamp)
    refresh(connection, [GPS.table])
    assert_right(connection, GPS, [*rows, late])
    with connection.transaction():
        write(connection, GPS, [repeated])
    refresh(connection, [GPS.table])
    assert_right(connection, GPS, [*(r for r in rows if r is not old[0]), late, repeated])
    assert list(differences(connection, GPS)) == []

    # Erased, although no row is left there: the second old hour only, then all.
    assert forget_frozen(connection, DEVICE, old[1].timestamp, None) == {GPS.table.name: 1}
    refresh(connection, [GPS.table])
    assert_right(connection, GPS, [late, repeated, *rows[2:]])
    assert forget_frozen(connection, None, None, None) == {GPS.table.name: 2}
    refresh(connection, [GPS.table])
    # The days are not dropped again here, so what has come late is still to be counted.
    assert_right(connection, GPS, [late, repeated, *rows[2:]])
    assert drop_before(connection, GPS.table, rows[4].timestamp.replace(minute=0)) == 7
    assert_right(connection, GPS, rows[4:])


def test_roll_ups_that_are_kept_for_less_long_than_their_rows(connection: Connection) -> None:
    rows = fixes(12, every=timedelta(hours=1))
    with connection.transaction():
        write(connection, GPS, rows)
    refresh(connection, [GPS.table])
    assert drop_before(connection, GPS.table, rows[5].timestamp.replace(minute=0)) == 10
    for _ in range(2):
        assert_right(connection, GPS, rows[5:])
        assert list(differences(connection, GPS)) == []
        mark_all(connection, GPS.table)
        assert_right(connection, GPS, rows[5:])
        refresh(connection, [GPS.table])
    with pytest.raises(PlatformError, match="is not the beginning of an hour"):
        drop_before(connection, GPS.table, START)


def test_a_day_is_frozen_as_a_whole(connection: Connection) -> None:
    with pytest.raises(PlatformError, match="is not the beginning of a UTC day"):
        freeze(connection, GPS.table, START)


def test_numbers_that_no_sum_can_hold_are_not_counted(connection: Connection) -> None:
    temperature, light = roll_up(TEMPERATURE_RAW.table), roll_up(LIGHT_RAW.table)
    values: list[dict[str, Any]] = [
        {"temperature": 21.5},
        {"temp": 20},
        {"temperature": 10**400},
        {"temperature": "warm"},
        {"sensor": "a", "t": 3.5},
        {"a": 1, "b": 2},
        {},
    ]
    with connection.transaction():
        for rollup in (temperature, light):
            write(connection, rollup, [Row(DEVICE, START, {}, {"value": json.dumps(v), "unit": None}) for v in values])
    states = [
        Row(DEVICE, START, {"value": v}, {"sensor_id": "s", "unit": None}) for v in (1.7e308, 1.7e308, -5e-324, 4e-320)
    ]
    with connection.transaction():
        write(connection, STATES, states)
    refresh(connection)
    row = next(iter(told(connection, temperature, "minute", [DEVICE]).values()))
    assert (row["samples"], row["temperature_count"], row["temperature_sum"]) == (7, 3, 45.0)
    row = next(iter(told(connection, light, "hour", [DEVICE]).values()))
    assert (row["illuminance_count"], row["illuminance_max"]) == (3, 21.5)
    row = next(iter(told(connection, STATES, "minute", [DEVICE]).values()))
    assert (row["samples"], row["value_count"], row["value_min"], row["value_max"]) == (4, 2, 0.0, 0.0)


def test_a_scan_of_bluetooth(connection: Connection) -> None:
    scans = [
        [{"address": "a", "signal_dbm": -70}, {"address": "b", "signal_dbm": -50.5}, {"address": "c"}],
        [],
    ]
    rollup = roll_up(BLUETOOTH_RAW.table)
    with connection.transaction():
        write(connection, rollup, [Row(DEVICE, START, {}, {"devices": json.dumps(s)}) for s in scans])
    row = next(iter(told(connection, rollup, "minute", [DEVICE]).values()))
    assert (row["devices_max"], row["devices_mean"], row["strongest_dbm_max"]) == (3.0, 1.5, -50.5)


def test_rows_from_before_the_roll_up_are_counted(connection: Connection) -> None:
    rows = fixes(10)
    with connection.transaction():
        write(connection, GPS, rows)
    aggregate = statuses(connection)[0].kind == "aggregate"
    connection.execute("DELETE FROM rollup_tables WHERE table_name = %s", (GPS.table.name,))
    connection.execute("TRUNCATE rollup_marks")
    for unit in ("hour", "minute"):
        connection.execute(f"DROP VIEW {GPS.view(unit)}".encode())
        connection.execute(f"DROP {'MATERIALIZED VIEW' if aggregate else 'TABLE'} {GPS.view(unit)}_kept".encode())
    connection.execute(make_rollup(GPS).encode())
    assert_right(connection, GPS, rows)
    refresh(connection, [GPS.table])
    assert_right(connection, GPS, rows)


def test_a_refresh_commits_for_itself(connection: Connection) -> None:
    with connection.transaction(), pytest.raises(PlatformError, match="autocommit"):
        refresh(connection)


def test_names() -> None:
    assert rollup_named("device.sensor.gps.raw") is rollup_named("device_sensor_gps_raw") is rollup_of(GPS.table)
    with pytest.raises(PlatformError, match=r"'device.audio.raw' has no roll-up; those that have are"):
        rollup_named("device.audio.raw")


pieces = st.builds(
    lambda d, f, n: Piece(d, START + timedelta(minutes=f), START + timedelta(minutes=f + n)),
    st.sampled_from("ab"),
    st.integers(0, 2_000),
    st.integers(1, 700),
)


def minutes(of: list[Piece]) -> list[tuple[str, datetime]]:
    one = timedelta(minutes=1)
    return [(p.device_id, p.first + n * one) for p in of for n in range((p.upto - p.first) // one)]


@given(st.lists(pieces, max_size=8), st.integers(1, 48))
def test_what_is_merged_and_split_is_still_the_same_minutes(given_pieces: list[Piece], hours: int) -> None:
    whole = merged(iter(given_pieces))
    assert sorted(minutes(whole)) == sorted(set(minutes(given_pieces)))
    now, later = split(whole, timedelta(hours=hours))
    assert minutes(now) + minutes(later) == minutes(whole) or sorted(minutes(now + later)) == minutes(whole)
    assert bool(now) == bool(whole)
    assert sum((p.upto - p.first for p in now), timedelta()) <= timedelta(hours=hours + 1)
