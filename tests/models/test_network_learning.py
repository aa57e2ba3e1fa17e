"""Two weeks of a person's Wi-Fi: what is learned of each network, and where it puts them without a position."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW, WIFI_RAW
from loom_models.stages.bluetooth_presence import BLUETOOTH_PRESENCE
from loom_models.stages.network_stays import NETWORK_STAYS
from loom_models.stages.wifi_enriched import WIFI_ENRICHER
from loom_platform import georegions
from tests.models.network_home import NOON, Home, answered

pytestmark = pytest.mark.integration
DAYS = 14
HOME, OFFICE = (47.37, 8.54), (47.41, 8.55)
HOUR = 60.0


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def wifi(name: str | None, **more: Any) -> dict[str, Any]:
    return {"connected": name is not None, "ssid": name, **more}


def weeks() -> list[tuple[float, dict[str, Any]]]:
    """Thursday noon is 0. Nights at home, working days at the office, a cafe once, a train's network now and then."""
    found: list[tuple[float, dict[str, Any]]] = []
    for day in range(DAYS):
        midnight = (day * 24 - 12) * HOUR
        weekday = (NOON + timedelta(days=day)).weekday() < 5
        found += [(midnight + 15 * m, wifi("nest")) for m in range(4 * 7)]
        if weekday:
            found += [(midnight + 7.5 * HOUR + 10 * m, wifi("rail", bssid="a0:00:00:00:00:09")) for m in range(3)]
            found += [(midnight + 9 * HOUR + 20 * m, wifi("corp")) for m in range(3 * 8)]
        elif day == 2:
            found += [(midnight + 14 * HOUR + 20 * m, wifi("Bean guests", security="open")) for m in range(5)]
        found += [(midnight + 18 * HOUR, wifi(None)), (midnight + 20 * HOUR, wifi("nest"))]
    return found


def fixes() -> list[tuple[float, dict[str, Any]]]:
    """A few a day, and none in the second week."""
    found: list[tuple[float, dict[str, Any]]] = []
    for day in range(7):
        midnight = (day * 24 - 12) * HOUR
        places = [(0.9, *HOME), (6.0, *HOME), (7.5, 47.0 + day / 10, 8.0), (9.4, *OFFICE), (15.0, *OFFICE)]
        for hour, latitude, longitude in places:
            found.append(
                (midnight + hour * HOUR - 0.5, {"latitude": latitude, "longitude": longitude, "accuracy": 9.0})
            )
    return found


def learned(connection: psycopg.Connection[Any]) -> dict[str, tuple[str, str]]:
    rows = connection.execute("SELECT network, category, category_by FROM networks_learned").fetchall()
    return {network: (category, by) for network, category, by in rows}


def test_what_two_weeks_tell(connection: psycopg.Connection[Any]) -> None:
    Home(connection, NETWORK_STAYS).land(fixes(), GPS_RAW)
    answered(connection, weeks(), WIFI_ENRICHER, NETWORK_STAYS, topic=WIFI_RAW)
    assert learned(connection) == {
        "nest": ("home", "dwell"),
        "corp": ("work", "dwell"),
        "rail": ("hotspot", "movement"),
        "Bean guests": ("public", "name"),
    }
    late = connection.execute(
        "SELECT network, category, latitude, longitude, radius_m, place_confidence FROM network_presence "
        "WHERE NOT has_fixes AND started_at >= %s AND network IN ('nest', 'corp') ORDER BY started_at LIMIT 2",
        (datetime(2026, 1, 26, tzinfo=UTC),),
    ).fetchall()
    (night, day) = late
    assert (night[0], night[1], night[2:4]) == ("nest", "home", HOME)
    assert (day[0], day[1], day[2:4]) == ("corp", "work", OFFICE)
    assert night[4] < 50
    assert min(night[5], day[5]) > 0.5
    # What the person says holds at once, and of the past.
    connection.execute("INSERT INTO network_categories VALUES ('nest', 'other')")
    assert learned(connection)["nest"] == ("other", "person")


def test_a_saved_place_tells_what_its_network_is(connection: psycopg.Connection[Any]) -> None:
    georegions.add(connection, georegions.circle("Lab", "work", *HOME, 200.0))
    at_home = {"latitude": HOME[0], "longitude": HOME[1], "accuracy": 9.0}
    Home(connection, NETWORK_STAYS).land([(0.0, at_home)], GPS_RAW)
    answered(connection, [(1, wifi("nest")), (5, wifi("nest"))], WIFI_ENRICHER, NETWORK_STAYS, topic=WIFI_RAW)
    assert learned(connection) == {"nest": ("work", "region")}


def test_familiar_devices(connection: psycopg.Connection[Any]) -> None:
    watch = {"address": "AA:01", "name": "watch", "paired": True}
    speaker, stranger = {"address": "AA:02", "name": "speaker"}, {"address": "AA:03"}
    scans: list[tuple[float, dict[str, Any]]] = []
    for day in range(3):
        for m in range(0, 60, 10):
            near = [watch, speaker] if day else [watch, speaker, stranger]
            scans.append((day * 24 * HOUR + m, {"devices": json.dumps(near)}))
    answered(connection, scans, BLUETOOTH_PRESENCE, topic=BLUETOOTH_RAW)
    query = "SELECT address, name, familiarity, days, total_seconds FROM familiar_devices ORDER BY address"
    assert connection.execute(query).fetchall() == [
        ("aa:01", "watch", "own", 3, 9_000.0),
        ("aa:02", "speaker", "familiar", 3, 9_000.0),
        ("aa:03", None, "passing", 1, 3_000.0),
    ]
    assert connection.execute("SELECT count(*) FROM familiar_presence").fetchone() == (6,)
