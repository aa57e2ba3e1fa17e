"""The SQL of the charging sessions that habits are of, against a real database."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from loom_contracts.topics.device import CHARGING_DETECTED
from loom_models.charging_habits import TREND
from loom_models.stage import DUE_SCHEMA
from loom_models.stages.power_patterns import SESSIONS
from tests.models.frames import batch, message_id

pytestmark = pytest.mark.integration
TABLE = CHARGING_DETECTED.table.name
MIDNIGHT = datetime(2026, 1, 15, tzinfo=UTC)
_LOCKED = """
SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND c.relispartition AND c.relname LIKE %s
"""
_INSERT = f"""
INSERT INTO {TABLE} (timestamp, message_id, device_id, schema_version, source_message_id, stage, stage_version, is_open,
    power_source, start_level, superseded_at)
VALUES (%s, %s, %s, '1.0', %s, 'charging-sessions', '1', true, 'ac', %s, %s)
"""


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def test_the_sessions_of_half_a_year_leave_no_day_locked(connection: psycopg.Connection[Any]) -> None:
    chance = random.Random(5)
    # Some lie on the very limits of what is asked for.
    edges = [-TREND, timedelta(microseconds=1) - TREND, TREND - timedelta(microseconds=1), TREND]
    shifts = [*edges, *(timedelta(days=chance.uniform(-400, 400)) for _ in range(296))]
    rows = [(MIDNIGHT + shift, f"phone-{n % 2 if n > 3 else 0}", n % 7 == 6) for n, shift in enumerate(shifts)]
    with connection.cursor() as cursor:
        cursor.executemany(
            "SELECT loom_ensure_partitions(%s, %s, %s)", [(TABLE, at.date(), at.date()) for at, _, _ in rows]
        )
        cursor.executemany(
            _INSERT,
            [
                (at, message_id(n + 1), device, message_id(n + 1), float(n), MIDNIGHT if gone else None)
                for n, (at, device, gone) in enumerate(rows)
            ],
        )
    stands = [(message_id(n + 1), at, device) for n, (at, device, gone) in enumerate(rows) if not gone]
    # One of them comes of a clock that is wrong, and one device has not been heard of.
    days = {"phone-0": [0.0, 3.0, 200.0], "phone-1": [-300.0, 300.0], "phone-2": [0.0, -20_000.0]}
    for devices in (["phone-0"], ["phone-1"], ["phone-2"], list(days)):
        given = batch(
            CHARGING_DETECTED,
            [
                {"device_id": device, "timestamp": MIDNIGHT + timedelta(days=n), "is_open": True, "start_level": 1.0}
                for device in devices
                for n in days[device]
            ],
        )
        parameters = SESSIONS.parameters(given, pl.DataFrame(schema=DUE_SCHEMA))
        assert parameters is not None
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            found = cursor.execute(SESSIONS.sql, parameters).fetchall()
            assert cursor.execute(_LOCKED, (f"{TABLE}%",)).fetchall() == []
        got = pl.DataFrame(found, schema=SESSIONS.schema, orient="row")
        runs: Any = zip(parameters["devices"], parameters["firsts"], parameters["lasts"], strict=True)  # type: ignore[call-overload]
        expected = [
            (name, at >= first)
            for whose, first, last in runs
            for name, at, device in stands
            if device == whose and first - TREND < at < last + TREND
        ]
        assert_frame_equal(
            got.select("message_id", "target"),
            pl.DataFrame(expected, schema={"message_id": pl.String(), "target": pl.Boolean()}, orient="row"),
            check_row_order=False,
        )
        assert got.is_empty() == (devices == ["phone-2"])
