"""The SQL of the stages' context against a real database, beside what the unit tests say that it means."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW
from loom_models.stage import DUE_SCHEMA, ContextQuery
from loom_models.stages import business
from loom_models.stages.accelerometer_windowed import SAMPLES, STAGE_NAME
from loom_models.stages.georegion import FIXES, REGIONS
from loom_platform import georegions
from loom_platform.stream.writer import Writer
from tests.models import test_accelerometer_windowed, test_business, test_georegion
from tests.models.frames import batch

pytestmark = pytest.mark.integration
NO_TIMERS = pl.DataFrame(schema=DUE_SCHEMA)
MIDNIGHT = datetime(2026, 1, 15, tzinfo=UTC)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def land(connection: psycopg.Connection[Any], topic: Topic, frame: pl.DataFrame) -> None:
    with connection.transaction():
        Writer(connection).write(topic.table, frame)


def ask(
    connection: psycopg.Connection[Any], query: ContextQuery, frame: pl.DataFrame, due: pl.DataFrame = NO_TIMERS
) -> pl.DataFrame:
    parameters = query.parameters(frame, due)
    assert parameters is not None
    with connection.cursor(binary=True) as cursor:
        return pl.DataFrame(cursor.execute(query.sql, parameters).fetchall(), schema=query.schema, orient="row")


def test_samples(connection: psycopg.Connection[Any]) -> None:
    chance = random.Random(1)
    frame = batch(
        ACCELEROMETER_RAW,
        [
            {"device_id": f"phone-{n % 2}", "timestamp": MIDNIGHT + timedelta(seconds=chance.uniform(-200, 200)), **xyz}
            for n, xyz in enumerate([{"x": 1.0, "y": 2.0, "z": 3.0}] * 300)
        ],
    )
    land(connection, ACCELEROMETER_RAW, frame)
    due = pl.DataFrame(
        [("phone-1", str(int((MIDNIGHT - timedelta(seconds=50)).timestamp()) * 1_000_000))],
        schema=DUE_SCHEMA,
        orient="row",
    )
    starts = frame.select("device_id", pl.col("timestamp").dt.truncate("5s").dt.epoch("us").cast(pl.String)).unique()
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO stream_timers VALUES ('{STAGE_NAME}', '2', %s, %s, now())", list(starts.iter_rows())
        )
    for part in (frame[:1], frame[5:9], frame[40:120], frame.clear()):
        got = ask(connection, SAMPLES, part, due)
        expected = test_accelerometer_windowed.query(frame, part, due, datetime.now(UTC))[SAMPLES.name]
        assert not got.is_empty()
        assert_frame_equal(got, expected, check_row_order=False)
    # What has its answer is not read for each batch of the next window.
    connection.execute("DELETE FROM stream_timers")
    own = pl.col("timestamp").dt.truncate("5s").is_in(frame[5:9]["timestamp"].dt.truncate("5s").implode())
    assert ask(connection, SAMPLES, frame[5:9]).filter(~own).is_empty()
    assert (
        test_accelerometer_windowed.query(frame, frame[5:9], NO_TIMERS, datetime.now(UTC))[SAMPLES.name]
        .filter(~own)
        .height
    )


def test_an_open_window_is_not_read(connection: psycopg.Connection[Any]) -> None:
    now = datetime.now(UTC)
    frame = batch(ACCELEROMETER_RAW, [{"timestamp": now, "received_at": now, "x": 1.0, "y": 2.0, "z": 3.0}])
    land(connection, ACCELEROMETER_RAW, frame)
    assert ask(connection, SAMPLES, frame).is_empty()


def test_fixes(connection: psycopg.Connection[Any]) -> None:
    chance = random.Random(2)
    frame = batch(
        GPS_RAW,
        [
            {
                "device_id": f"phone-{n % 2}",
                "timestamp": MIDNIGHT + timedelta(minutes=chance.randint(-2000, 2000)),
                **place,
            }
            for n, place in enumerate([{"latitude": 1.0, "longitude": 2.0}] * 200)
        ],
    )
    land(connection, GPS_RAW, frame)
    for part in (frame[:1], frame[5:9], frame[40:120]):
        got = ask(connection, FIXES, part).unique()
        expected = test_georegion.query(frame, part, NO_TIMERS, MIDNIGHT)[FIXES.name].unique()
        assert_frame_equal(got, expected, check_row_order=False)


def test_regions(connection: psycopg.Connection[Any]) -> None:
    georegions.add(connection, georegions.circle("Home", "home", 1.0, 2.0, 100.0))
    park = georegions.add(connection, georegions.polygon("Park", "custom", test_georegion.SQUARE))
    gone = georegions.add(connection, georegions.circle("Old", "work", 1.0, 2.0, 100.0))
    georegions.remove(connection, gone)
    got = ask(connection, REGIONS, batch(GPS_RAW, [{"latitude": 0.5, "longitude": 0.5}])).sort("region_name")
    assert got["region_name"].to_list() == ["Home", "Park"]
    assert got["region_id"][1] == str(park.id)
    assert got["region_revision"].to_list() == [1, 2]
    assert got["latitude"].to_list() == [1.0, 0.5]


def test_the_fixes_around_a_stay(connection: psycopg.Connection[Any]) -> None:
    chance = random.Random(3)
    frame = batch(
        GPS_RAW,
        [
            {
                "device_id": f"phone-{n % 2}",
                "timestamp": MIDNIGHT + timedelta(seconds=chance.randint(-40_000, 40_000)),
                "latitude": chance.choice([0.0, 0.0, 1.0]),
                "longitude": 0.0,
                "accuracy": chance.choice([None, 5.0, 900.0]),
            }
            for n in range(300)
        ],
    )
    land(connection, GPS_RAW, frame)
    woken = pl.DataFrame([("phone-1", "wake:2026-01-15T01:00Z")], schema=DUE_SCHEMA, orient="row")
    for part in (frame[:1], frame[5:9], frame[40:80], frame.clear()):
        got = ask(connection, business.FIXES, part, woken).unique()
        expected = test_business.query(frame, part, woken, MIDNIGHT)[business.FIXES.name].unique()
        assert_frame_equal(got, expected, check_row_order=False)
