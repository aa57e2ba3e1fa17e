import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW, WIFI_RAW
from loom_models.stages.bluetooth_presence import BLUETOOTH_PRESENCE
from loom_models.stages.network_stays import NETWORK_STAYS
from loom_models.stages.wifi_enriched import WIFI_ENRICHER
from loom_platform.cli.main import app
from tests.models.network_home import Home, answered

pytestmark = pytest.mark.integration
BERLIN = {"latitude": 52.52, "longitude": 13.41, "accuracy": 9.0}


def loom(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["networks", *arguments])


@pytest.fixture
def connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "160")
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def test_nothing_yet(connection: psycopg.Connection[Any]) -> None:
    assert connection.closed is False
    assert "no device was on a network yet" in loom("list").stdout
    assert "no device was near" in loom("devices").stdout


def test_a_person_says_what_a_network_is(connection: psycopg.Connection[Any]) -> None:
    Home(connection, NETWORK_STAYS).land([(m, BERLIN) for m in (0, 60)], GPS_RAW)
    # From noon to midnight (UTC) of a Thursday, and on to five in the morning.
    rows = [(m, {"connected": True, "ssid": "[nest] ü"}) for m in range(0, 18 * 60, 60)]
    answered(connection, rows, WIFI_ENRICHER, NETWORK_STAYS, topic=WIFI_RAW)
    (learned,) = json.loads(loom("list", "--json").stdout)
    assert (learned["network"], learned["category"], learned["category_by"]) == ("[nest] ü", "home", "dwell")
    assert (learned["nights"], learned["confidence"], learned["latitude"]) == (1, 0.5, 52.52)
    assert learned["days"] == 2

    said = loom("set", "[nest] ü", "work")
    assert (said.exit_code, said.stdout) == (0, "[nest] ü: work\n")
    (learned,) = json.loads(loom("list", "--json").stdout)
    assert (learned["category"], learned["category_by"], learned["confidence"]) == ("work", "person", 1.0)
    assert connection.execute("SELECT DISTINCT category FROM network_presence").fetchall() == [("work",)]
    listed = loom("list").stdout
    assert "[nest] ü" in listed
    assert "52.5200, 13.4100" in listed

    wrong = loom("set", "[nest] u", "home")
    assert wrong.exit_code == 1
    assert "network '[nest] u': no device was on it; did you mean '[nest] ü'?" in wrong.output
    assert "must be one of home, work, public, hotspot, other" in loom("set", "[nest] ü", "gym").output
    assert loom("unset", "[nest] ü").stdout == "[nest] ü: as learned\n"
    assert json.loads(loom("list", "--json").stdout)[0]["category"] == "home"
    assert "no category is set" in loom("unset", "[nest] ü").output


def test_devices(connection: psycopg.Connection[Any]) -> None:
    near = json.dumps([{"address": "aa:01", "name": "watch", "connected": True}, {"address": "aa:02"}])
    rows = [(m, {"devices": near}) for m in (0, 15, 30)]
    answered(connection, rows, BLUETOOTH_PRESENCE, topic=BLUETOOTH_RAW)
    assert [d["name"] for d in json.loads(loom("devices", "--json").stdout)] == ["watch"]
    assert [d["familiarity"] for d in json.loads(loom("devices", "--all", "--json").stdout)] == ["own", "passing"]
    assert "watch" in loom("devices").stdout
