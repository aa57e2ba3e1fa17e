"""Answers that look far back, or to other topics, are found from what is erased."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from loom_contracts.topics.device import CHARGING_DETECTED, GPS_RAW, POWER_PATTERNS, POWER_RAW
from loom_platform.erasure import border
from loom_platform.erasure.scope import Erasure, Scope
from loom_platform.stream.writer import Writer
from tests.models.frames import batch

pytestmark = pytest.mark.integration
EVENING = datetime(2026, 1, 15, 20, tzinfo=UTC)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def land(connection: psycopg.Connection[Any], topic: Any, at: datetime, **values: Any) -> None:
    frame = batch(
        topic, [{"message_id": str(UUID(int=at.day * 24 + at.hour)), "timestamp": at, "received_at": at} | values]
    )
    with connection.transaction():
        Writer(connection).write(topic.table, frame)


def answer(connection: psycopg.Connection[Any], topic: Any, at: datetime, columns: str, values: str) -> None:
    name = topic.table.name
    connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (name, at.date(), at.date()))
    ours = "gen_random_uuid(), 'phone-001', '1.0', gen_random_uuid(), 'a', '1'"
    statement = (
        f"INSERT INTO {name} (timestamp, message_id, device_id, schema_version, source_message_id, stage, "
        f"stage_version, {columns}) VALUES (%s, {ours}, {values})"
    )
    connection.execute(statement.encode(), (at,))


def near(connection: psycopg.Connection[Any], since: datetime, until: datetime) -> dict[str, int]:
    scope, now = Scope(("phone-001",), since, until), datetime.now(UTC)
    return border.near(connection, Erasure(UUID(int=1), scope, "me", now, None, None, {}, None))


def test_a_session_and_the_habits_after_it(connection: psycopg.Connection[Any]) -> None:
    answer(connection, CHARGING_DETECTED, EVENING, "is_open, power_source, start_level", "false, 'usb', 40")
    for days in (0, 100, 200):
        at = EVENING + timedelta(days=days)
        columns = "window_start, pattern, confidence, session_count, hours, places, battery_trend"
        answer(connection, POWER_PATTERNS, at, columns, "now(), 'none', 0, 1, '[]', '[]', 'unknown'")
    night, hour = EVENING + timedelta(hours=9), timedelta(hours=1)
    assert near(connection, night, night + hour) == {}
    land(connection, POWER_RAW, night, battery_level=80.0, is_charging=True)
    assert near(connection, night, night + hour) == {CHARGING_DETECTED.table.name: 1, POWER_PATTERNS.table.name: 2}


def test_the_place_of_a_session(connection: psycopg.Connection[Any]) -> None:
    answer(connection, CHARGING_DETECTED, EVENING, "is_open, power_source, start_level", "false, 'usb', 40")
    before = EVENING - timedelta(minutes=20)
    land(connection, GPS_RAW, before, latitude=52.5, longitude=13.4)
    minute = timedelta(minutes=1)
    assert near(connection, before, before + minute) == {CHARGING_DETECTED.table.name: 1}
