"""`loom deadletters` on the real database: what it lists, what it leaves alone without --yes, and a replay."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from typer.testing import CliRunner, Result

from loom_contracts.topics.device import GPS_RAW
from loom_models.landing import landing_stage
from loom_platform.cli.main import app

pytestmark = pytest.mark.integration

STAGE = landing_stage(GPS_RAW)
SENT = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def _platform(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    letter = """INSERT INTO processing_errors (stage, topic, partition, "offset", stage_version, error_type, reason,
                device_id, value, received_at) VALUES (%s, %s, 0, %s, '1', %s, %s, 'phone-001', %s, now())"""
    fix = {"device_id": "phone-001", "timestamp": SENT.isoformat(), "latitude": 52.5, "longitude": 13.4}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for offset, kind, reason, value in (
            (7, "PoisonError", "latitude: [a fault] that was mended since", json.dumps(fix).encode()),
            (8, "invalid", "latitude: Field required", b'{"device_id": "phone-001"}'),
        ):
            connection.execute(letter, (STAGE.name, GPS_RAW.name, offset, kind, reason, value))


def loom(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["deadletters", *arguments])


def test_a_list_with_reasons_and_one_letter_with_its_bytes() -> None:
    listed = loom("list", "--each")
    assert listed.exit_code == 0
    assert f"{STAGE.name}:0:7" in listed.output
    assert "[a fault]" in listed.output
    together = loom("list")
    assert together.exit_code == 0
    assert "[a fault] that was mended" in " ".join(together.output.split())
    grouped = json.loads(loom("list", "--json").output)
    assert sorted((g["error_type"], g["letters"]) for g in grouped) == [("PoisonError", 1), ("invalid", 1)]
    shown = json.loads(loom("show", f"{STAGE.name}:0:8", "--json").output)
    assert shown["value"] == '{"device_id": "phone-001"}'
    assert "1 more; --limit" in loom("list", "--each", "--limit", "1").output


def test_nothing_is_done_without_yes(database_url: str) -> None:
    for command in ("replay", "discard"):
        result = loom(command)
        assert "nothing was changed; add --yes" in result.output
        assert f"{STAGE.name}: 2 would be" in result.output
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM processing_errors WHERE resolved_at IS NULL").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM device_sensor_gps_raw").fetchone() == (0,)


def test_a_replay_lands_the_mended_one_and_says_what_failed_again(database_url: str) -> None:
    result = loom("replay", "--yes")
    assert result.exit_code == 1
    assert "1 replayed, 1 failed again" in result.output
    assert "latitude: Field required" in result.output
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT latitude, kafka_offset FROM device_sensor_gps_raw").fetchone()
    assert row == (52.5, 7)
    assert json.loads(loom("list", "--json").output)[0]["error_type"] == "invalid"


def test_a_discard_can_be_taken_back() -> None:
    place = f"{STAGE.name}:0:8"
    assert "1 discarded" in loom("discard", place, "--yes").output
    assert place not in loom("list", "--each").output
    assert place in loom("list", "--each", "--state", "discarded").output
    assert "1 open again" in loom("discard", place, "--undo", "--yes").output
    assert place in loom("list", "--each").output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "nonsense"), "is not STAGE:PARTITION:OFFSET"),
        (("list", "--stage", "nonsense"), "there is no stage 'nonsense'"),
        (("list", "--state", "dead"), "'dead' is not a state"),
        (("replay", "--reason", "no such reason"), "no such dead letters"),
        (("show", f"{STAGE.name}:0:99"), "there is no dead letter"),
    ],
)
def test_a_wrong_word_is_named(arguments: tuple[str, ...], says: str) -> None:
    assert says in " ".join(loom(*arguments).output.replace("│", " ").split())
