"""What is asked every few minutes or hours, on a platform that has been kept for long, locks the days that it reads."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from loom_models.services.choice import Choice
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.dataset import Source
from loom_platform.days.sources import VISITS
from loom_platform.lookups import queue, work
from loom_platform.zones import read_clock

pytestmark = pytest.mark.integration
Connection = psycopg.Connection[Any]

NOW = datetime.now(UTC)
DAYS = 100
MOST = 12
CHOICES = (Choice("address", "nominatim", "http://127.0.0.1:1"), Choice("business", "none"))
SOURCES: tuple[Source, ...] = tuple({s.name: s for d in DATASETS for s in d.sources if s is not VISITS}.values())
_ROW = """
INSERT INTO location_address_geocoded (timestamp, message_id, device_id, schema_version, source_message_id, stage,
    stage_version, latitude, longitude, state, cell, provider)
VALUES (%s, %s, 'phone-001', '1.0', %s, 'geocoder', '1', 1, 2, 'pending', %s, 'nominatim')
"""
_LOCKED = """
SELECT p.inhparent::regclass::text, count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
JOIN pg_inherits p ON p.inhrelid = c.oid
WHERE l.pid = pg_backend_pid() AND c.relispartition AND c.relkind = 'r' GROUP BY 1
"""


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM timeseries_tables WHERE kind = 'hypertable'").fetchone():
            pytest.skip("on TimescaleDB there are chunks, and no partitions")
        tables = {topic.table.name for source in SOURCES for topic in source.topics}
        tables |= {"location_address_geocoded", "location_business_identified", "device_sensor_gps_raw"}
        tables |= {"os_events_app_lifecycle_raw"}
        for table in sorted(tables):
            first, last = (NOW - timedelta(days=DAYS)).date(), NOW.date()
            connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table, first, last))
        yield connection


def locked(connection: Connection) -> dict[str, int]:
    """The tables of which this transaction has locked more days than it may."""
    return {table: days for table, days in connection.execute(_LOCKED).fetchall() if days > MOST}


def test_a_person_day(connection: Connection) -> None:
    start = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.transaction():
        for source in SOURCES:
            source.read(connection, start, start + timedelta(days=1))
        assert locked(connection) == {}
        read_clock(connection, NOW.date(), NOW.date(), "UTC")
        assert locked(connection) == {}
        VISITS.read(connection, start, start + timedelta(days=1))
        assert max(days for _, days in connection.execute(_LOCKED)) < 70


def test_a_refresh_of_a_rollup(connection: Connection) -> None:
    with connection.transaction():
        span = f"[{NOW - timedelta(hours=1)},{NOW})"
        connection.execute("SELECT loom_recount('device_sensor_gps_raw', ARRAY['a'], ARRAY[%s::tstzrange])", (span,))
        assert locked(connection) == {}


def test_what_waits_for_a_service_is_found_on_any_day(connection: Connection) -> None:
    queue.choose(connection, CHOICES)
    with connection.transaction():
        assert not work.is_needed(connection, CHOICES)
        assert locked(connection) == {}
    for days, cell in ((0, "u33dc1r1"), (50, "u33dc1r2"), (99, "u33dc1r3"), (98, "u33dc1r1")):
        connection.execute(_ROW, (NOW - timedelta(days=days), uuid4(), uuid4(), cell))
    assert queue.next_cells(connection, "address", "nominatim", 9) == ["u33dc1r1", "u33dc1r2", "u33dc1r3"]
    assert queue.next_cells(connection, "address", "nominatim", 1) == ["u33dc1r1"]
    assert queue.waiting(connection, "address") == (4, 3)

    class Service:
        name, kind, fresh = "nominatim", "address", timedelta(days=200)

    assert queue.store(connection, Service, {"u33dc1r1": None, "u33dc1r3": None})["none"] == 2  # type: ignore[arg-type]
    woken = connection.execute("SELECT count(*) FROM stream_timers WHERE stage = 'geocoder'").fetchone()
    assert woken == (3,)
