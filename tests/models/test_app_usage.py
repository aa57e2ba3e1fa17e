"""UsageStats beside events: which is believed, and what of the sessions lies in a reading's stretch."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest

from loom_contracts.topics.device_system import APPS_ANDROID_USAGE_RAW, APPS_ANDROID_USAGE_RECONCILED
from loom_models.stage import DUE_SCHEMA, Context
from loom_models.stages.app_usage import APP_USAGE_RECONCILER, reconciled
from loom_models.wakes import wakes_of
from loom_platform.stream.writer import Writer
from tests.models.apps import Event, land, records
from tests.models.frames import batch, message_id, sink_columns

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
ONE = NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("usage", "events", "believed", "reason", "seconds"),
    [
        (600.0, 590.0, "events", "agree", 590.0),
        (3_000.0, 2_750.0, "events", "agree", 2_750.0),
        (600.0, 120.0, "usage", "differ", 600.0),
        (120.0, 2_400.0, "usage", "differ", 120.0),
        (600.0, None, "usage", "no_events", 600.0),
        (9.0, None, "usage", "no_events", 9.0),
        (None, 300.0, "events", "no_usage", 300.0),
        (90_000.0, 300.0, "events", "usage_impossible", 300.0),
    ],
)
def test_what_is_believed(
    usage: float | None, events: float | None, believed: str, reason: str, seconds: float
) -> None:
    frame = pl.DataFrame({"period_start": [NOON], "period_end": [ONE]}).with_columns(
        pl.lit(usage, pl.Float64).alias("usage_seconds"), pl.lit(events, pl.Float64).alias("events_seconds")
    )
    row = reconciled(frame).row(0, named=True)
    assert (row["believed"], row["reason"], row["seconds"]) == (believed, reason, seconds)


def test_a_month_of_statistics_is_not_compared() -> None:
    frame = pl.DataFrame(
        {"period_start": [NOON], "period_end": [NOON + timedelta(days=30)], "usage_seconds": [9e4], "events_seconds": 0}
    )
    row = reconciled(frame.cast({"events_seconds": pl.Float64})).row(0, named=True)
    assert (row["believed"], row["reason"], row["seconds"], row["events_seconds"]) == (
        "usage",
        "not_compared",
        9e4,
        None,
    )


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def answers(connection: psycopg.Connection[Any], frame: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    frames = {}
    for query in APP_USAGE_RECONCILER.context:
        parameters = query.parameters(frame, due)
        assert parameters is not None
        with connection.cursor(binary=True) as cursor:
            rows = cursor.execute(query.sql, parameters).fetchall()
        frames[query.name] = pl.DataFrame(rows, schema=query.schema, orient="row")
    output = APP_USAGE_RECONCILER.transform(frame, Context("1", ONE, frames, due))
    return output.rows.get(APPS_ANDROID_USAGE_RECONCILED, pl.DataFrame())


@pytest.mark.integration
def test_a_reading_and_what_comes_late(connection: psycopg.Connection[Any]) -> None:
    """A session over the beginning, one over the end, one that only UsageStats know; then an event comes late."""

    def at(seconds: float, kind: str, app: str | None) -> Event:
        return NOON + timedelta(seconds=seconds), kind, app, None

    events = [
        at(-100, "foreground", "com.whatsapp"), at(200, "screen_off", None), at(1_000, "foreground", "org.example"),
        at(1_300, "background", "org.example"), at(3_500, "foreground", "com.whatsapp"),
        at(3_900, "background", "com.whatsapp"),
    ]  # fmt: skip
    apps, system = records([(message_id(n), e) for n, e in enumerate(events)])
    land(connection, apps, system)
    stats = [
        {
            "package_name": "com.whatsapp",
            "app_name": "WhatsApp",
            "total_time_foreground_ms": 310_000,
            "launch_count": 2,
        },
        {"package_name": "com.king.crush", "total_time_foreground_ms": 500_000},
        {"package_name": "com.unused", "total_time_foreground_ms": 0},
    ]
    reading = {
        "message_id": message_id(90),
        "timestamp": ONE,
        "aggregation_period_start": NOON,
        # that of a whole day, which is not over
        "aggregation_period_end": NOON + timedelta(hours=12),
        "usage_stats": json.dumps(stats),
    }
    frame = batch(APPS_ANDROID_USAGE_RAW, [reading])
    with connection.transaction():
        Writer(connection).write(APPS_ANDROID_USAGE_RAW.table, frame)
    nothing_due = pl.DataFrame(schema=DUE_SCHEMA)
    rows = answers(connection, frame, nothing_due)
    assert set(rows.columns) == sink_columns(APPS_ANDROID_USAGE_RECONCILED)
    told = ("app_identifier", "app_category", "usage_seconds", "events_seconds", "reason", "seconds")
    assert rows.select(told).rows() == [
        ("com.king.crush", "game", 500.0, 0.0, "no_events", 500.0),
        ("com.whatsapp", "communication", 310.0, 300.0, "agree", 300.0),
        ("org.example", "unknown", None, 300.0, "no_usage", 300.0),
    ]
    assert rows["period_end"].unique().to_list() == [ONE]
    # of after the stretch: nothing to be answered; of within it: the reading once more
    later, _ = records([(message_id(50), at(3_700, "crash", "com.whatsapp"))])
    assert answers(connection, frame.clear(), wakes_of(later)).is_empty()
    late, system = records([(message_id(51), at(1_100, "crash", "org.example"))])
    land(connection, late, system)
    again = answers(connection, frame.clear(), wakes_of(late))
    assert again.select(told).rows()[2] == ("org.example", "unknown", None, 100.0, "no_usage", 100.0)
    assert again["message_id"].to_list()[:2] == rows["message_id"].to_list()[:2]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), NOON, "not_compared"),
        (datetime(9999, 12, 31, 23, tzinfo=UTC), NOON, "usage_impossible"),
        (None, None, "no_events"),
    ],
    ids=["year 1", "year 9999", "not told"],
)
def test_a_stretch_that_cannot_be(
    connection: psycopg.Connection[Any], start: datetime | None, end: datetime | None, reason: str
) -> None:
    stats = [{"package_name": "com.whatsapp", "total_time_foreground_ms": 90_000}]
    period = {"aggregation_period_start": start, "aggregation_period_end": end}
    frame = batch(APPS_ANDROID_USAGE_RAW, [{"timestamp": ONE, "usage_stats": json.dumps(stats), **period}])
    with connection.transaction():
        Writer(connection).write(APPS_ANDROID_USAGE_RAW.table, frame)
    (row,) = answers(connection, frame, pl.DataFrame(schema=DUE_SCHEMA)).iter_rows(named=True)
    assert row["reason"] == reason
    assert row["period_start"] == (start or ONE - timedelta(days=1))
