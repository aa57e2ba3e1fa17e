"""Enriched states of the Wi-Fi connection on a real database."""

import os
from collections.abc import Iterator
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.device_system import WIFI_RAW
from loom_models import networks
from loom_models.stages.wifi_enriched import WIFI_ENRICHER
from loom_platform import georegions
from tests.conftest import fresh_database
from tests.models.frames import batch
from tests.models.network_home import Home, empty

pytestmark = pytest.mark.integration
HOME = {"connected": True, "ssid": "home", "bssid": "AA:01", "signal_dbm": -60.0, "frequency_mhz": 5180.0}
Fix = dict[str, Any]


@pytest.fixture(scope="module")
def module_connection(server_url: str, template_database: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        fresh_database(server_url, f"loom_wifi_{os.getpid()}", template_database) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield connection


@pytest.fixture
def connection(module_connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    yield module_connection
    empty(module_connection, WIFI_RAW)


def fix(north: float, accuracy: float | None = 5.0) -> Fix:
    return {"latitude": north, "longitude": 8.0, "accuracy": accuracy}


@pytest.mark.parametrize(
    ("mhz", "band", "channel"),
    [
        (2412.0, "2.4 GHz", 1),
        (2472.0, "2.4 GHz", 13),
        (2484.0, "2.4 GHz", 14),
        (5180.0, "5 GHz", 36),
        (5825.0, "5 GHz", 165),
        (5935.0, "6 GHz", 2),
        (5955.0, "6 GHz", 1),
        (7115.0, "6 GHz", 233),
        (58320.0, "60 GHz", None),
        (5181.0, "5 GHz", None),
        (900.0, None, None),
        (None, None, None),
    ],
)
def test_bands_and_channels(mhz: float | None, band: str | None, channel: int | None) -> None:
    frame = pl.DataFrame({"frequency_mhz": [mhz]}, schema={"frequency_mhz": pl.Float64})
    assert frame.select(networks.band(), networks.channel()).row(0) == (band, channel)


def test_what_changed(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, WIFI_ENRICHER)
    states: list[dict[str, Any]] = [
        {"connected": False, "ssid": "home", "signal_dbm": -60.0, "frequency_mhz": 5180.0},
        HOME,
        HOME,
        HOME | {"bssid": "AA:02", "signal_dbm": -40.0},
        HOME | {"ssid": "cafe", "security": "OPEN"},
        {"connected": True, "ssid": "<unknown ssid>", "bssid": "02:00:00:00:00:00"},
        {"connected": False},
    ]
    home.answer(home.land(list(enumerate(states))))
    rows = home.found()
    assert [r["event"] for r in rows] == [
        "none",
        "connected",
        "stays",
        "roamed",
        "switched",
        "stays",
        "disconnected",
    ]
    assert [r["network"] for r in rows] == [None, "home", "home", "home", "cafe", None, None]
    assert [r["signal_quality"] for r in rows][:4] == [None, pytest.approx(0.8), pytest.approx(0.8), 1.0]
    assert [(r["band"], r["channel"]) for r in rows][:2] == [(None, None), ("5 GHz", 36)]
    assert (rows[4]["is_open"], rows[4]["hint"], rows[1]["is_open"]) == (True, "public", None)
    assert [r["seconds_since_previous"] for r in rows[:2]] == [None, 60.0]


def test_the_fix_near_in_time(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, WIFI_ENRICHER)
    georegions.add(connection, georegions.circle("Town", "custom", 47.0, 8.0, 5_000.0))
    near = georegions.add(connection, georegions.circle("Home", "home", 47.001, 8.0, 100.0))
    fixes = [(0, fix(46.0)), (8, fix(47.001)), (9, fix(0.0, 900.0)), (9.5, {"latitude": 0.0, "longitude": 0.0})]
    home.land([*fixes, (40, fix(47.03))], GPS_RAW)
    home.answer(home.land([(m, HOME) for m in (-20, -5, 8, 10, 25, 35)]))
    found = [(r["latitude"], r["seconds_to_fix"], r["region_name"]) for r in home.found()]
    assert found == [
        (None, None, None),
        (46.0, -300.0, None),
        (47.001, 0.0, "Home"),
        (47.001, 120.0, "Home"),
        (None, None, None),
        (47.03, -300.0, "Town"),
    ]
    assert home.found()[3]["region_id"] == str(near.id)


def test_a_fix_that_comes_later_is_taken_once(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, WIFI_ENRICHER)
    home.answer(home.land([(0, HOME), (20, HOME)]))
    assert home.wake(home.land([(2, fix(47.0))], GPS_RAW)) == 1
    assert [r["latitude"] for r in home.found()] == [47.0, None]
    standing = {r["message_id"] for r in home.found()}
    assert home.wake(home.land([(5, fix(48.0))], GPS_RAW)) == 0, "the first fix after a state stands"
    assert {r["message_id"] for r in home.found()} == standing
    assert home.wake(home.land([(-3, fix(46.0))], GPS_RAW)) == 1, "one before it is better"
    assert [(r["latitude"], r["seconds_to_fix"]) for r in home.found()] == [(46.0, 180.0), (None, None)]


def test_devices_do_not_mix(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, WIFI_ENRICHER)
    home.land([(0, fix(47.0))], GPS_RAW)
    home.answer(home.land([(0, HOME), (1, HOME | {"device_id": "phone-002"})]))
    assert [(r["event"], r["latitude"]) for r in home.found()] == [("connected", 47.0), ("connected", None)]


record = st.tuples(st.integers(-30, 800), st.sampled_from(["a", "b", None, "fix", "fix"]))


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(record, min_size=2, max_size=10), st.data())
def test_any_batches_in_any_order_give_the_same(
    connection: psycopg.Connection[Any], given: list[tuple[int, str | None]], data: st.DataObject
) -> None:
    """Also of fixes that come after the states they are near to."""
    empty(connection, WIFI_RAW)
    home = Home(connection, WIFI_ENRICHER)
    numbered = list(enumerate(given))
    left = data.draw(st.permutations(numbered))
    while left:
        size = data.draw(st.integers(1, len(left)))
        part, left = left[:size], left[size:]
        fixes = [(at, fix(40.0 + n)) for n, (at, what) in part if what == "fix"]
        states = [
            (at, {"connected": bool(what), "ssid": what, "bssid": f"bb:{n}"}) for n, (at, what) in part if what != "fix"
        ]
        if fixes:
            home.wake(home.land(fixes, GPS_RAW))
        if states:
            home.answer(home.land(states))
    once = Home(connection, WIFI_ENRICHER)
    with connection.cursor() as cursor:
        landed = cursor.execute("SELECT message_id::text, timestamp FROM device_network_wifi_raw").fetchall()
    once.answer(batch(WIFI_RAW, [{"message_id": m, "timestamp": t, "received_at": t} for m, t in landed]))
    assert home.found() == once.found()
    assert len(home.found()) == len(landed)
