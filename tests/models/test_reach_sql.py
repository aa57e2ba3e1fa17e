"""The SQL functions that read at moments out of a query: what plain SQL says, and few days locked for it."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from loom_models.cleaning import USABLE_SQL
from loom_models.stages.gps_cleaned import nth_moment
from loom_models.stages.visit_read import FIXES

pytestmark = pytest.mark.integration

RAW, VISITS = "device_sensor_gps_raw", "location_visit_detected"
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = (0, 1, 2, 5, 21, 22, 60, 200, 201, 700, 2500)
"""Days that have rows, after BEGAN; every day of the first 40 has a partition."""
_FIX = f"""
INSERT INTO {RAW} (timestamp, message_id, device_id, schema_version, received_at, latitude, longitude, accuracy,
                   kafka_partition, kafka_offset)
VALUES (%(at)s, gen_random_uuid(), %(device)s, '1', %(at)s, %(latitude)s, 2, 5, 0, 0)
"""
_VISIT = f"""
INSERT INTO {VISITS} (timestamp, message_id, device_id, schema_version, source_message_id, stage, stage_version,
                      is_open, latitude, longitude, radius_m, place_id, superseded_at)
VALUES (%(at)s, gen_random_uuid(), %(device)s, '1', gen_random_uuid(), 'visit-detector', %(version)s, true, 1, 2, 3,
        gen_random_uuid(), %(gone)s)
"""


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    chance = random.Random(11)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in (RAW, VISITS):
            ensure = "SELECT loom_ensure_partitions(%s, %s::date, %s::date)"
            connection.execute(ensure, (table, BEGAN, BEGAN + timedelta(days=40)))
            for day in DAYS:
                connection.execute(ensure, (table, BEGAN + timedelta(days=day), BEGAN + timedelta(days=day)))
        for day in DAYS:
            for _ in range(12):
                at = BEGAN + timedelta(days=day, seconds=chance.randrange(86_400))
                row: dict[str, Any] = {"at": at, "device": f"phone-{chance.randrange(2)}"}
                connection.execute(_FIX.encode(), {**row, "latitude": chance.choice([0.0, 1.0])})
                gone = chance.choice([None, at])
                if row["device"] == "phone-0":
                    gone = gone if day > 60 else at
                connection.execute(_VISIT.encode(), {**row, "version": chance.choice("12"), "gone": gone})
        yield connection


def moments(connection: psycopg.Connection[Any]) -> list[Any]:
    """Far and near, some of them those of rows."""
    rows = connection.execute(f"SELECT DISTINCT timestamp FROM {RAW} UNION SELECT timestamp FROM {VISITS}".encode())
    chance = random.Random(5)
    known = chance.sample([at for (at,) in rows.fetchall()], 12)
    return [*known, *(BEGAN + timedelta(hours=chance.randrange(-2_000, 70_000)) for _ in range(10))]


def one(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]


@pytest.mark.parametrize("relation", [VISITS, f"{VISITS}_current"])
@pytest.mark.parametrize("forward", [True, False])
def test_nearest(connection: psycopg.Connection[Any], relation: str, forward: bool) -> None:
    beyond, order = (">=", "") if forward else ("<=", "DESC")
    plain = (
        f"SELECT message_id FROM {relation} WHERE device_id = %s AND timestamp {beyond} %s AND superseded_at IS NULL "
        f"AND stage_version = '1' ORDER BY timestamp {order} LIMIT 1"
    )
    for device in ("phone-0", "phone-1", "phone-2"):
        for at in [*moments(connection), "infinity", "-infinity"]:
            asked = f"SELECT message_id FROM loom_nearest(NULL::{relation}, %s, %s, %s, '1')"
            assert one(connection, asked, device, at, forward) == one(connection, plain, device, at), (device, at)
    assert one(connection, f"SELECT count(*) FROM loom_nearest(NULL::{VISITS}, 'phone-0', NULL, %s)", forward) == 0


def test_the_last_of_what_landed(connection: psycopg.Connection[Any]) -> None:
    asked = f"SELECT timestamp FROM loom_nearest(NULL::{RAW}, 'phone-1', 'infinity', false)"
    assert one(connection, asked) == one(connection, f"SELECT max(timestamp) FROM {RAW} WHERE device_id = 'phone-1'")
    empty = "SELECT count(*) FROM loom_nearest(NULL::location_trip_detected, 'phone-1', 'infinity', false, '1')"
    assert one(connection, empty) == 0


@pytest.mark.parametrize("relation", [VISITS, f"{VISITS}_current"])
def test_between(connection: psycopg.Connection[Any], relation: str) -> None:
    chance = random.Random(7)
    known = moments(connection)
    pairs = [("-infinity", "infinity"), *((chance.choice(known), chance.choice(known)) for _ in range(30))]
    pairs += [(at, at) for at in known[:5]] + [(at, "3000-01-01") for at in known[:5]]
    for device in ("phone-0", None):
        for first, last in pairs:
            asked = f"SELECT array_agg(message_id ORDER BY message_id) FROM loom_between(NULL::{relation}, %s, %s, %s)"
            plain = (
                f"SELECT array_agg(message_id ORDER BY message_id) FROM {relation} "
                "WHERE device_id = coalesce(%s, device_id) AND timestamp BETWEEN %s AND %s"
            )
            assert one(connection, asked, device, first, last) == one(connection, plain, device, first, last)


@pytest.mark.parametrize("forward", [True, False])
def test_the_nth_moment(connection: psycopg.Connection[Any], forward: bool) -> None:
    reach = "48 hours" if forward else "-48 hours"
    plain = nth_moment("m.device", "m.at", forward=forward, count=3, table=RAW)
    query = (
        f"SELECT {plain}, loom_nth_moment(NULL::{RAW}, m.device, m.at, interval '{reach}', 3, $${USABLE_SQL}$$) "
        "FROM (VALUES (%s, %s)) m (device, at)"
    )
    found = set()
    for at in moments(connection):
        row = connection.execute(query.encode(), ("phone-1", at)).fetchone()
        assert row is not None
        assert row[0] == row[1]
        found.add(row[0] == at)
    assert found == {True, False}


def test_days_without_what_is_asked_for_are_not_kept_locked(connection: psycopg.Connection[Any]) -> None:
    locked = (
        "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        f"WHERE l.pid = pg_backend_pid() AND c.relname LIKE '{VISITS}\\_p%%'"
    )
    with connection.transaction():
        nearest = f"SELECT count(*) FROM loom_nearest(NULL::{VISITS}, 'phone-2', 'infinity', false, '1')"
        between = f"SELECT count(*) FROM loom_between(NULL::{VISITS}, 'phone-2', '2020-01-01', 'infinity')"
        assert one(connection, nearest) == one(connection, between) == 0
        assert one(connection, locked) == 0
        assert one(connection, f"SELECT count(*) FROM {VISITS} WHERE device_id = 'phone-2'") == 0
        assert one(connection, locked) > 40


def test_fixes_of_others_do_not_change_how_far_is_read(connection: psycopg.Connection[Any]) -> None:
    """The moments of usable fixes that a visit's query counts are the device's own."""
    at = BEGAN + timedelta(days=30)
    given = {"devices": ["phone-3"], "firsts": [at], "lasts": [at], "version": "1"}

    def read() -> list[tuple[Any, ...]]:
        return sorted(connection.execute(FIXES.sql, given).fetchall(), key=str)

    for hours in range(-40, 41):
        row = {"at": at + timedelta(hours=hours), "device": "phone-3", "latitude": 1.0}
        connection.execute(_FIX.encode(), row)
    alone = read()
    for minutes in range(-300, 300, 5):
        row = {"at": at + timedelta(minutes=minutes), "device": "phone-4", "latitude": 1.0}
        connection.execute(_FIX.encode(), row)
    assert len(alone) > 50
    assert read() == alone
