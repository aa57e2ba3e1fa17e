"""`loom explain` in the terminal; what it finds of real answers is tested with the demo's day."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner, Result

from loom_contracts.topics.registry import DERIVED
from loom_models.flows import STAGES
from loom_platform.cli.main import app
from loom_platform.lineage.links import LINKS

AT = datetime(2026, 11, 19, 12, tzinfo=UTC)


def loom(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments])


def test_every_stage_that_derives_has_its_link() -> None:
    assert {link.sink for link in LINKS} == set(DERIVED)
    derived = {(sink, stage.source) for stage in STAGES if not stage.landing for sink in stage.sinks}
    assert {(link.sink, link.source) for link in LINKS} == derived


@pytest.mark.integration
def test_a_fix_and_what_was_said_of_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    fix, answer = uuid4(), uuid4()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in ("device_sensor_gps_raw", "location_georegion_detected"):
            connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table, AT.date(), AT.date()))
        connection.execute(
            "INSERT INTO device_sensor_gps_raw (timestamp, message_id, device_id, schema_version, latitude, longitude, "
            "kafka_partition, kafka_offset, received_at) VALUES (%s, %s, 'phone-001', '1.0', 52.5, 13.4, 2, 131, %s)",
            (AT, fix, AT),
        )
        connection.execute(
            "INSERT INTO location_georegion_detected (timestamp, message_id, device_id, schema_version, "
            "source_message_id, stage, stage_version, latitude, longitude, event, run_id) "
            "VALUES (%s, %s, 'phone-001', '1.0', %s, 'georegion-detector', '1', 52.5, 13.4, 'dwell', 'run-7')",
            (AT, answer, fix),
        )
    up = loom(str(answer)).output
    assert "made from" in up
    for said in ("georegion-detector", "run-7", str(fix), "131", "device.sensor.gps.raw"):
        assert said in up
    down = json.loads(loom(str(fix), "--topic", "device.sensor.gps.raw", "--day", "2026-11-19", "--json").output)
    assert [child["message_id"] for child in down["to"]["to"]] == [str(answer)]
    assert down["to"]["to"][0]["shown"] is True
    missing = loom(str(fix), "--day", "2026-11-18")
    assert missing.exit_code == 1
    assert "it may not be landed yet" in missing.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "is not a UUID"),
        (("00000000-0000-4000-8000-000000000000", "--topic", "device.gps"), "there is no topic 'device.gps'"),
    ],
)
def test_a_wrong_word_is_named(arguments: tuple[str, ...], says: str) -> None:
    assert says in " ".join(loom(*arguments).output.replace("│", " ").split())
