"""A part of a device's time: what came of it goes, on both sides of the border, and is computed again from the rest."""

import threading
from datetime import datetime

import psycopg
import pytest

from loom_contracts.topics.device import GPS_RAW
from loom_platform.erasure import run
from loom_platform.erasure.errors import ErasureError
from loom_platform.erasure.scope import Scope
from tests.erasure.home import MINE, OTHER, Home, at, message

pytestmark = pytest.mark.integration


def windows(home: Home) -> dict[datetime, int]:
    query = "SELECT timestamp, sample_count FROM device_sensor_accelerometer_windowed_current WHERE device_id = %s"
    return dict(home.rows(query, MINE))


def again(home: Home, done: run.Erased) -> None:
    with psycopg.connect(home.settings.database_url, autocommit=True) as connection:
        assert run.compute_again(connection, done.erasure, home.place(), threading.Event()) == []
        run.vacuum(connection, done.erasure, home.place())
        assert connection.execute("SELECT FROM erasure_work").fetchall() == []


def test_windows_across_the_border_are_computed_again_from_the_rest(home: Home) -> None:
    others, key = home.of(OTHER), home.rows("SELECT key FROM device_keys WHERE device_id = %s", MINE)
    assert windows(home).keys() >= {at(0), at(5)}

    done = home.erase(Scope((MINE,), at(3), at(7)))

    assert windows(home).keys() <= {at(10)}
    assert done.erasure.counts["device_sensor_accelerometer_raw"] == 4
    assert done.erasure.counts["device_sensor_accelerometer_windowed"] == 2
    again(home, done)
    assert windows(home) == {at(0): 3, at(5): 3, at(10): 5}
    assert home.rows("SELECT count(*) FROM device_sensor_gps_raw WHERE device_id = %s", MINE) == [(5,)]
    assert home.rows("SELECT key FROM device_keys WHERE device_id = %s", MINE) == key
    left = {name: rows for name, rows in home.of(OTHER).items() if "_windowed" not in name}
    assert left == {name: rows for name, rows in others.items() if "_windowed" not in name}


def test_the_answer_after_it_is_of_the_fix_before_it(home: Home) -> None:
    query = (
        "SELECT timestamp, previous_timestamp FROM location_georegion_detected_current "
        "WHERE device_id = %s ORDER BY timestamp"
    )
    done = home.erase(Scope((MINE,), at(30), at(90)))
    assert home.rows(query, MINE) == [(at(0), None), (at(180), at(120)), (at(240), at(180))]
    again(home, done)
    assert home.rows(query, MINE) == [(at(0), None), (at(120), at(0)), (at(180), at(120)), (at(240), at(180))]


def test_an_answer_on_another_day_goes_with_the_fix_that_it_came_of(own_home: Home) -> None:
    """23 hours later, on the next day."""
    home = own_home
    home.send(GPS_RAW, message(GPS_RAW, MINE, 23 * 3600))
    home.drain()
    query = "SELECT count(*) FROM location_georegion_detected WHERE device_id = %s AND timestamp > %s"
    assert home.rows(query, MINE, at(3600)) == [(1,)]
    home.erase(Scope((MINE,), at(200), at(300)))
    assert home.rows(query, MINE, at(3600)) == [(0,)]


def test_of_all_devices(home: Home) -> None:
    done = home.erase(Scope((), at(-1), at(61)))
    assert done.erasure.counts["device_sensor_gps_raw"] == 4
    assert done.erasure.counts["device_audio_raw"] == 4
    assert home.bodies(MINE) == home.bodies(OTHER) == []
    assert home.rows("SELECT count(*) FROM processing_errors") == [(0,)]
    left = home.rows("SELECT DISTINCT timestamp FROM device_sensor_gps_raw ORDER BY 1")
    assert left == [(at(120),), (at(180),), (at(240),)]


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        (Scope(), "nothing was asked for"),
        (Scope((MINE,), at(1), at(1)), "is not before"),
        (Scope(("a b",)), "is not a device_id"),
        (Scope((MINE,), at(1), forget=True), "--forget is for devices as a whole"),
    ],
)
def test_what_cannot_be_meant_is_refused(scope: Scope, says: str) -> None:
    with pytest.raises(ErasureError, match=says):
        scope.check()
