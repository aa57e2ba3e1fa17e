"""`loom erase` as a person uses it."""

import json

import pytest
from typer.testing import CliRunner

from loom_platform.cli.main import app
from tests.erasure.home import MINE, Home

pytestmark = pytest.mark.integration


@pytest.fixture
def runner(home: Home, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    settings = home.settings
    monkeypatch.setenv("LOOM_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("LOOM_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("LOOM_BLOB_URL", settings.blobs)
    monkeypatch.setenv("LOOM_KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("LOOM_KAFKA_TOPIC_PREFIX", settings.kafka_topic_prefix)
    monkeypatch.delenv("LOOM_SPOOL_DIR", raising=False)
    return CliRunner()


def test_it_counts_asks_erases_and_proves(home: Home, runner: CliRunner) -> None:
    counted = runner.invoke(app, ["erase", "--device", MINE, "--dry-run", "--json"])
    rows = json.loads(counted.stdout)["rows"]
    assert (rows["device_sensor_gps_raw"], rows["bodies"], rows["processing_errors"]) == (5, 2, 1)
    refused = runner.invoke(app, ["erase", "--device", MINE], input="n\n")
    assert refused.exit_code == 1
    assert "Erase this for good?" in refused.stdout
    assert home.rows("SELECT count(*) FROM erasures") == [(0,)]

    done = runner.invoke(app, ["erase", "--device", MINE, "--yes", "--json"])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["counts"]["device_sensor_gps_raw"] == 5
    assert told["proof"]["remaining"] == 0
    assert home.rows("SELECT count(*) FROM erasure_work") == [(0,)]
    (listed,) = json.loads(runner.invoke(app, ["erase", "list", "--json"]).stdout)
    assert listed == told
    shown = runner.invoke(app, ["erase", "show", told["id"][:8]])
    assert "remaining" in shown.stdout
    assert "device.sensor.gps.raw" in shown.stdout
    assert "gone, from Kafka by" in runner.invoke(app, ["erase", "list"]).stdout


def test_what_is_wrong_is_said(runner: CliRunner) -> None:
    for arguments, says in (
        (["erase", "--yes"], "nothing was asked for"),
        (["erase", "show", "ffffffff"], "no erasure has an id"),
        (["erase", "--device", "a b", "--yes"], "is not a device_id"),
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 1
        assert says in result.output


def test_the_days_are_vacuumed(home: Home, runner: CliRunner) -> None:
    assert runner.invoke(app, ["erase", "--device", MINE, "--yes"]).exit_code == 0
    query = "SELECT vacuum_count FROM pg_stat_all_tables s JOIN loom_days(%s) d ON d.part = s.relid"
    assert home.rows(query, "device_sensor_gps_raw") == [(1,)]
    assert home.rows(query, "media_audio_vad_filtered") in ([], [(0,)])
