"""`loom rollups`, and the asset that does by itself what it does."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from loom_contracts.rollups import ROLLUPS
from loom_platform.cli.main import app
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.rollups import rollups_asset, rollups_schedule
from loom_platform.rollups.status import pending
from loom_platform.settings import load_settings
from tests.rollups.rows import GPS, START, Row, write

pytestmark = pytest.mark.integration
ROWS = [Row("phone-001", START + timedelta(seconds=20 * n), {"altitude": 1.0}) for n in range(9)]


@pytest.fixture
def connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.transaction():
            write(connection, GPS, ROWS)
        yield connection


def loom(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["rollups", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_list_refresh_and_check(connection: psycopg.Connection[Any]) -> None:
    before = {line["table"]: line for line in json.loads(loom("list", "--json"))}
    assert list(before) == [r.table.name for r in ROLLUPS]
    assert (before[GPS.table.name]["marks"], before[GPS.table.name]["minutes"]) == (1, 0)
    assert loom("check", "device.sensor.gps.raw") == "1 roll-ups tell what their rows do\n"

    output = loom("refresh")
    assert output.startswith("device_sensor_gps_raw: 0.1 h counted anew")
    assert output.endswith("up to date\n")
    assert loom("refresh", GPS.table.name) == "up to date\n"
    assert "device_sensor_gps_raw" in loom("refresh", "--all")
    after = {line["table"]: line for line in json.loads(loom("list", "--json"))}[GPS.table.name]
    assert (after["marks"], after["minutes"], after["hours"]) == (0, 3, 1)
    assert after["bytes"] > 0
    assert after["measures"] == ["altitude", "accuracy", "speed"]
    assert "device_sensor_accelerometer_windowed " in loom("list")

    connection.execute(f"DELETE FROM {GPS.table.name} WHERE timestamp = %s", (ROWS[0].timestamp,))
    assert json.loads(loom("check", "--json", code=1))[GPS.table.name] == 2
    assert json.loads(loom("check", "--json", "--to", "2026-02-01"))[GPS.table.name] == 0
    told = loom("check", "--from", "2026-03-01", code=1)
    assert "device_sensor_gps_raw_by_minute 2026-03-01 22:30Z phone-001: tells 3, has 2" in told
    loom("refresh", "--all")
    loom("check")


def test_a_name_that_has_no_roll_up(connection: psycopg.Connection[Any]) -> None:
    result = CliRunner().invoke(app, ["rollups", "refresh", "device.audio.raw"])
    assert result.exit_code == 1
    assert "'device.audio.raw' has no roll-up" in result.output


def test_the_asset_refreshes_when_there_is_something_to_do(connection: psycopg.Connection[Any]) -> None:
    platform = Platform(load_settings)
    schedule = rollups_schedule()
    with dg.build_schedule_context(resources={"platform": platform}) as context:
        assert schedule.evaluate_tick(context).run_requests
    done = dg.materialize([rollups_asset()], resources={"platform": platform})
    event = done.asset_materializations_for_node("rollups")[0]
    assert event.metadata["marks"].value == 1
    assert pending(connection) == {}
    with dg.build_schedule_context(resources={"platform": platform}) as context:
        tick = schedule.evaluate_tick(context)
    assert not tick.run_requests
    assert tick.skip_message == "no row has come, changed or gone since the last time"
