"""A device as a whole: nothing of it is left anywhere, and of others everything."""

import pytest

from loom_contracts.topics.device import GPS_RAW
from loom_platform.erasure.scope import Scope
from loom_platform.stream.api import reset_offsets
from tests.erasure.home import MINE, OTHER, RUNNING, Home, message

pytestmark = pytest.mark.integration

STAYS = {"device_keys"}
"""That there was a key, and that it was destroyed."""


def test_nothing_is_left_of_it_and_everything_of_others(home: Home) -> None:
    before = home.of(OTHER)
    assert {"device_sensor_gps_raw", "location_georegion_detected", "processing_errors"} <= home.of(MINE).keys()
    assert "device_health_heartrate_raw_by_minute" in home.of(MINE)
    assert home.bodies(MINE)
    kept = {p: p.read_bytes() for p in home.bodies(OTHER)}

    done = home.erase(Scope((MINE,), forget=True))

    assert home.of(MINE).keys() <= STAYS
    assert home.rows("SELECT key FROM device_keys WHERE device_id = %s", MINE) == [(None,)]
    assert home.bodies(MINE) == []
    assert home.of(OTHER) == before
    assert {p: p.read_bytes() for p in home.bodies(OTHER)} == kept
    assert done.erasure.counts["device_sensor_gps_raw"] == 5
    assert done.erasure.counts["bodies"] == 2
    assert done.again == []


def test_what_kafka_still_holds_does_not_come_back(own_home: Home) -> None:
    home = own_home
    home.erase(Scope((MINE,)))
    new = message(GPS_RAW, MINE, 1_000)
    home.send(GPS_RAW, new)
    for stage in RUNNING:
        reset_offsets(stage, home.config, "earliest")
    home.drain()
    found = home.of(MINE)
    assert [row[1] for row in found["device_sensor_gps_raw"]] == [new.message_id]
    assert "processing_errors" not in found
    assert "device_sensor_accelerometer_windowed" not in found


def test_a_day_that_timescaledb_has_compressed(home: Home) -> None:
    if home.rows("SELECT FROM pg_extension WHERE extname = 'timescaledb'") == []:
        pytest.skip("no TimescaleDB here")
    tables = ("device_sensor_gps_raw", "device_sensor_accelerometer_raw", "location_georegion_detected")
    for table in tables:
        home.rows("SELECT compress_chunk(part) FROM loom_days(%s)", table)
    before = {name: rows for name, rows in home.of(OTHER).items() if name in tables}
    done = home.erase(Scope((MINE,), forget=True))
    assert done.erasure.counts["device_sensor_gps_raw"] == 5
    assert home.of(MINE).keys() <= STAYS
    assert {name: rows for name, rows in home.of(OTHER).items() if name in tables} == before
