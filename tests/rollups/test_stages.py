"""Roll-ups of what real stages write: live, late, computed again, replayed."""

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from loom_contracts.topics.device import ACCELEROMETER_RAW
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_platform.roles.limits import Role
from loom_platform.rollups import mark, refresh
from loom_platform.rollups.status import differences
from loom_platform.stream.api import StreamConfig, recompute
from tests.logins import login
from tests.rollups.rows import WINDOWS, Row, roll_up, told, write

pytestmark = pytest.mark.integration
SAMPLES = roll_up(ACCELEROMETER_RAW.table)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DEVICE = "phone-001"


def samples(count: int, start: datetime) -> list[Row]:
    return [
        Row(DEVICE, start + timedelta(milliseconds=200 * n), {"x": n % 7 / 7, "y": 0.5, "z": 9.8}) for n in range(count)
    ]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def compute(database_url: str) -> None:
    config = StreamConfig(database_url, "127.0.0.1:1", "", run_id=str(uuid.uuid4()))
    day = NOON.date()
    recompute(ACCELEROMETER_WINDOW, day, day, config, on_report=lambda _: None, stop=threading.Event())


def shown(connection: psycopg.Connection[Any]) -> int:
    return sum(n["samples"] for n in told(connection, WINDOWS, "hour", [DEVICE], "_current").values())


def windows(connection: psycopg.Connection[Any]) -> int:
    query = f"SELECT count(*) FROM {WINDOWS.table.name}_current"
    return int(connection.execute(query).fetchall()[0][0])


def test_windows_that_are_superseded_leave_their_roll_ups(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    def right() -> None:
        for rollup in (SAMPLES, WINDOWS):
            assert list(differences(connection, rollup)) == []
        assert shown(connection) == windows(connection)

    with connection.transaction():
        write(connection, SAMPLES, samples(600, NOON))
    compute(database_url)
    right()
    refresh(connection)
    right()
    known = shown(connection)
    assert known > 10

    # Late samples change the answers of their windows, and make new ones.
    with connection.transaction():
        write(connection, SAMPLES, samples(300, NOON + timedelta(seconds=90.1)))
    compute(database_url)
    right()
    refresh(connection)
    right()
    more = shown(connection)
    assert more > known

    # Samples are gone: a recompute gives no answer for their windows any more.
    gone = (NOON + timedelta(seconds=30), NOON + timedelta(seconds=60))
    with connection.transaction():
        connection.execute(f"DELETE FROM {SAMPLES.table.name} WHERE timestamp >= %s AND timestamp < %s", gone)
        mark(connection, SAMPLES.table, DEVICE, *gone)
    compute(database_url)
    right()
    refresh(connection)
    right()
    assert shown(connection) < more


@pytest.mark.parametrize("role", [Role.STREAM, Role.READ], ids=str)
def test_who_may_read_them(connection: psycopg.Connection[Any], database_url: str, role: Role) -> None:
    with connection.transaction():
        write(connection, SAMPLES, samples(10, NOON))
    with login(database_url, role) as url, psycopg.connect(url, autocommit=True) as reader:
        for pending in (True, False):
            assert [n["samples"] for n in told(reader, SAMPLES, "minute", [DEVICE]).values()] == [10], pending
            refresh(connection)
        assert told(reader, WINDOWS, "hour", [DEVICE], "_current") == {}
