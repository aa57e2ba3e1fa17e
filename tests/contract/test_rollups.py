"""The roll-ups in the database are those of the contract."""

import json

import psycopg
import pytest

from loom_contracts.errors import ContractError
from loom_contracts.rollups import ROLLUPS, UNITS, Rollup, make_rollup, rollup_of
from loom_contracts.table import ColumnType
from loom_contracts.topics.activity import ACTIVITYWATCH_RAW
from loom_contracts.topics.device import (
    ACCELEROMETER_WINDOWED,
    AUDIO_RAW,
    CHARGING_DETECTED,
    GPS_RAW,
    POWER_PATTERNS,
    TEMPERATURE_RAW,
)
from loom_contracts.topics.device_system import APPS_ANDROID_USAGE_RECONCILED, CAMERA_RAW, SCREEN_RAW
from loom_contracts.topics.digital import WEB_ANALYTICS_RAW
from loom_contracts.topics.location import (
    ADDRESS_GEOCODED,
    BUSINESS_IDENTIFIED,
    GEOREGION_DETECTED,
    GPS_CLEANED,
    TRIP_DETECTED,
    VISIT_DETECTED,
)
from loom_contracts.topics.media import VAD_FILTERED
from loom_contracts.topics.motion import ACTIVITY_CLASSIFIED, SIGNIFICANT_MOTION
from loom_contracts.topics.network import NETWORK
from loom_contracts.topics.os_events import APP_LIFECYCLE_ENRICHED, APP_LIFECYCLE_RAW, APP_SESSION_DETECTED
from loom_contracts.topics.phone import TRIP_RAW, VISIT_RAW, WORKOUT_RAW
from loom_contracts.topics.region import REGION_TRANSITION_RAW, REGION_WAYPOINT_RAW
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_contracts.topics.task import URL_INGEST

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_TYPES = {
    ColumnType.TEXT: "text",
    ColumnType.TIMESTAMP: "timestamp with time zone",
    ColumnType.FLOAT: "double precision",
    ColumnType.INTEGER: "bigint",
}
NO_SENSORS = {
    AUDIO_RAW,
    CAMERA_RAW,
    SCREEN_RAW,
    VISIT_RAW,
    TRIP_RAW,
    WORKOUT_RAW,
    REGION_TRANSITION_RAW,
    REGION_WAYPOINT_RAW,
    APP_LIFECYCLE_RAW,
    APP_LIFECYCLE_ENRICHED,
    APP_SESSION_DETECTED,
    APPS_ANDROID_USAGE_RECONCILED,
    WEB_ANALYTICS_RAW,
    ACTIVITYWATCH_RAW,
    URL_INGEST,
    CHARGING_DETECTED,
    POWER_PATTERNS,
    GEOREGION_DETECTED,
    ADDRESS_GEOCODED,
    BUSINESS_IDENTIFIED,
    GPS_CLEANED,
    VISIT_DETECTED,
    TRIP_DETECTED,
    VAD_FILTERED,
    SIGNIFICANT_MOTION,
    ACTIVITY_CLASSIFIED,
    *NETWORK,
}
"""Topics with numbers that tell of one thing, such as a trip, rather than being samples of a quantity."""


@pytest.mark.integration
def test_the_live_roll_ups_are_those_of_the_contract(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        live = connection.execute(
            "SELECT table_name, condition, dimensions, measures FROM rollup_tables ORDER BY table_name"
        ).fetchall()
        assert live == sorted(
            (
                r.table.name,
                r.condition,
                [[d.name, d.expression] for d in r.dimensions],
                [[m.name, m.expression, m.optional] for m in r.measures],
            )
            for r in ROLLUPS
        )
        for rollup in ROLLUPS:
            wanted = [(c.name, _TYPES[c.type]) for c in rollup.columns]
            for unit in UNITS:
                names = [rollup.view(unit), *([f"{rollup.view(unit)}_current"] if rollup.table.derived else [])]
                for name in names:
                    assert connection.execute(_COLUMNS, (name,)).fetchall() == wanted, name


def test_a_topic_with_numbers_is_rolled_up_or_named_here() -> None:
    numeric = {
        t
        for t in (*LANDED, *DERIVED)
        if any(c.type in (ColumnType.FLOAT, ColumnType.INTEGER) for c in t.table.columns if c.name != "kafka_offset")
    }
    assert numeric - {r.topic for r in ROLLUPS} == NO_SENSORS


@pytest.mark.parametrize("rollup", [r for r in ROLLUPS if r.table.derived], ids=lambda r: r.table.name)
def test_what_an_answer_replaces_has_its_time_and_device(rollup: Rollup) -> None:
    """So that the mark of a new row is the mark of the rows that it takes the place of."""
    assert {"timestamp", "device_id"} <= set(rollup.table.scope)


def test_columns_are_named_after_what_they_count() -> None:
    gps = rollup_of(GPS_RAW.table)
    assert gps is not None
    assert [c.name for c in gps.columns[:9]] == [
        "bucket",
        "device_id",
        "samples",
        "altitude_count",
        "altitude_min",
        "altitude_max",
        "altitude_mean",
        "altitude_last",
        "altitude_sum",
    ]
    windows = rollup_of(ACCELEROMETER_WINDOWED.table.name)
    assert windows is not None
    assert [d.name for d in windows.dimensions] == ["stage", "stage_version"]
    assert rollup_of("places_visited") is None


def test_the_statement_of_a_migration() -> None:
    rollup = rollup_of(TEMPERATURE_RAW.table)
    assert rollup is not None
    statement = make_rollup(rollup)
    measures = statement.rpartition("$$[")[2].removesuffix("]$$);")
    assert json.loads(measures) == ["temperature", "loom_reading(value, 'temperature', 'temp', 'value')", True]


def test_only_numbers_can_be_rolled_up() -> None:
    from loom_contracts import rollups

    with pytest.raises(ContractError, match="column 'message_id' is uuid, not a number"):
        rollups._plain(GPS_RAW, "message_id")
