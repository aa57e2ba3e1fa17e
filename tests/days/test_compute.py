"""Days from a real database: what is read, what is written again, what is left alone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from loom_contracts.topic import Topic
from loom_contracts.topics.device import CHARGING_DETECTED, POWER_RAW
from loom_contracts.topics.location import GPS_CLEANED, TRIP_DETECTED, VISIT_DETECTED
from loom_contracts.topics.motion import ACTIVITY_CLASSIFIED
from loom_contracts.topics.os_events import APP_SESSION_DETECTED, SYSTEM_EVENTS_RAW
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.compute import compute_day, window_of
from loom_platform.zones import Choice, TimeZoneError, choose, chosen, read_clock

pytestmark = pytest.mark.integration

DAY = date(2026, 11, 20)
HOME = "00000000-0000-4000-8000-000000000001"
Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def at(hour: float, day: int = 20) -> datetime:
    """UTC."""
    return datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=hour)


def put(connection: Connection, topic: Topic, when: datetime, device: str = "phone", **fields: Any) -> str:
    """One row of `topic`; gives its identity."""
    given: dict[str, Any] = {
        "timestamp": when,
        "message_id": str(uuid4()),
        "device_id": device,
        "schema_version": "1.0",
    }
    if topic.table.derived:
        given |= {"source_message_id": str(uuid4()), "stage": "test", "stage_version": "1"}
    else:
        given |= {"kafka_partition": 0, "kafka_offset": 0, "received_at": when}
    given |= fields
    connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (topic.table.name, when.date(), when.date()))
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    connection.execute(
        f"INSERT INTO {topic.table.name} ({names}) VALUES ({marks})".encode(), list(given.values())
    )  # fmt: skip
    return str(given["message_id"])


def fill(connection: Connection) -> str:
    """A night and a morning in Zurich; gives the identity of the visit."""
    visit = put(
        connection, VISIT_DETECTED, at(17, 19), ended_at=None, is_open=True, latitude=47.4, longitude=8.5, radius_m=9.0,
        place_id=HOME, region_id=HOME, region_name="Home", region_kind="home",
    )  # fmt: skip
    for hour in (17, 24, 31, 36):
        put(connection, GPS_CLEANED, at(hour, 19), latitude=47.4, longitude=8.5, accepted=True)
    put(connection, GPS_CLEANED, at(12, 19), latitude=0.0, longitude=0.0, accepted=False, reason="null_island")
    put(connection, SYSTEM_EVENTS_RAW, at(21.5, 19), event_type="screen_on", event_category="screen", severity="info")
    put(connection, SYSTEM_EVENTS_RAW, at(22, 19), event_type="screen_off", event_category="screen", severity="info")
    put(connection, SYSTEM_EVENTS_RAW, at(6), event_type="screen_on", event_category="screen", severity="info")
    put(
        connection, ACTIVITY_CLASSIFIED, at(5), window_end=at(5) + timedelta(seconds=5), activity="still",
        confidence=0.9,
    )  # fmt: skip
    put(
        connection, CHARGING_DETECTED, at(22, 19), is_open=True, power_source="usb", start_level=40.0,
    )  # fmt: skip
    put(connection, POWER_RAW, at(23.5, 19), battery_level=60.0, is_charging=True)
    put(
        connection, APP_SESSION_DETECTED, at(6), ended_at=at(6.25), session_id=str(uuid4()), app_identifier="org.mail",
        app_category="communication", is_open=False, started_by="launch", ended_by="background",
    )  # fmt: skip
    return visit


def test_a_day_from_rows_of_every_flow(connection: Connection) -> None:
    visit = fill(connection)
    done = compute_day(connection, DAY, "run-1", "UTC")
    assert [d.table for d in done] == [d.table for d in DATASETS]
    assert all(d.changed == bool(d.rows) for d in done)
    assert connection.execute("SELECT time_zone, source, starts_at, hours, device_ids FROM person_days").fetchone() == (
        "Europe/Zurich", "position", at(23, 19), 24.0, ["phone"],
    )  # fmt: skip
    # the visit goes on: it is told up to the last fix, which the phone sent at noon
    visits = "SELECT place_name, place_kind, first_seen_at, last_seen_at FROM visits_daily"
    assert connection.execute(visits).fetchall() == [("Home", "home", at(23, 19), at(12))]
    assert connection.execute("SELECT charging_seconds, gained_percent FROM charging_daily").fetchall() == [
        (1800.0, None)
    ]
    assert connection.execute("SELECT asleep_at, woke_at FROM sleep_estimate_daily").fetchall() == [(at(22, 19), at(6))]
    assert connection.execute("SELECT total_seconds, seconds_by_device FROM screen_time_daily").fetchall() == [
        (1800.0, {"phone": 1800.0})
    ]
    timeline = connection.execute(
        "SELECT number, kind, title, message_id::text, run_id FROM day_timeline ORDER BY number"
    ).fetchall()
    assert [(n, kind, title) for n, kind, title, _, _ in timeline] == [
        (1, "visit", "Home"), (2, "sleep", "Slept about 8.0 h"), (3, "charging", "phone charged from 40 %"),
        (4, "app", "org.mail"),
    ]  # fmt: skip
    assert (timeline[0][3], timeline[0][4]) == (visit, "run-1")


def test_what_is_the_same_is_not_written_again(connection: Connection) -> None:
    fill(connection)
    compute_day(connection, DAY, "run-1", "UTC")
    again = compute_day(connection, DAY, "run-2", "UTC")
    assert not any(d.changed for d in again)
    put(connection, TRIP_DETECTED, at(8), ended_at=at(8.5), is_open=False, distance_m=900.0, mode="walking")
    changed = {d.table for d in compute_day(connection, DAY, "run-3", "UTC") if d.changed}
    assert changed == {"trips_daily", "day_timeline"}
    assert connection.execute("SELECT DISTINCT run_id FROM visits_daily").fetchall() == [("run-1",)]


def test_late_rows_and_amended_ones_show_at_once(connection: Connection) -> None:
    visit = fill(connection)
    compute_day(connection, DAY, "run-1", "UTC")
    # a late fix splits the visit: the new version ends earlier
    connection.execute("UPDATE location_visit_detected SET superseded_at = now() WHERE message_id = %s", (visit,))
    put(
        connection, VISIT_DETECTED, at(17, 19), ended_at=at(7), is_open=False, latitude=47.4, longitude=8.5,
        radius_m=9.0, place_id=HOME, region_name="Home", region_kind="home",
    )  # fmt: skip
    compute_day(connection, DAY, "run-2", "UTC")
    assert connection.execute("SELECT last_seen_at FROM visits_daily").fetchall() == [(at(7),)]


def test_days_whose_rows_went_by_retention_are_kept(connection: Connection) -> None:
    fill(connection)
    compute_day(connection, DAY, "run-1", "UTC")
    connection.execute("DELETE FROM os_events_system_raw")
    connection.execute("INSERT INTO retention_drops VALUES ('os_events_system_raw', %s, 3, 100)", (DAY,))
    kept = {d.table for d in compute_day(connection, DAY, "run-2", "UTC") if d.kept}
    assert kept == {"screen_time_daily", "sleep_estimate_daily", "day_timeline"}
    assert connection.execute("SELECT count(*) FROM sleep_estimate_daily").fetchone() == (1,)
    compute_day(connection, DAY, "erasure", None, whatever_is_left=True)
    assert connection.execute("SELECT count(*) FROM sleep_estimate_daily").fetchone() == (0,)


def test_what_the_person_says_of_a_zone_moves_their_day(connection: Connection) -> None:
    fill(connection)
    choose(connection, Choice(date(2026, 11, 1), None, "UTC"))
    choose(connection, Choice(DAY, DAY, "Asia/Tokyo"))
    assert [(c.first_day.day, c.time_zone) for c in chosen(connection)] == [(1, "UTC"), (20, "Asia/Tokyo"), (21, "UTC")]
    window = window_of(connection, DAY, (), "UTC")
    assert (window.day.starts_at, window.day.hours, window.day.source) == (at(15, 19), 33.0, "hand")
    choose(connection, Choice(DAY, None, ""), remove=True)
    assert read_clock(connection, DAY, DAY, "UTC").day(DAY).time_zone == "Europe/Zurich"
    with pytest.raises(TimeZoneError, match="Mars/Olympus"):
        choose(connection, Choice(DAY, None, "Mars/Olympus"))
