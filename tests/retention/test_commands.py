"""`loom retention` and `loom usage`, as a person calls them."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loom_contracts.topics.device import AUDIO_RAW
from loom_platform.cli.main import app
from tests.retention.filling import Connection, all_passed, chunk, connected, days, settings_of

pytestmark = pytest.mark.integration


def loom(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


def ago(count: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=count)


@pytest.fixture
def connection(
    database_url: str, bootstrap_servers: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Connection]:
    for name, value in {
        "DATABASE_URL": database_url,
        "DAGSTER_DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": topic_prefix,
        "DATA_DIR": str(tmp_path),
        "BLOB_URL": str(tmp_path / "blobs"),
    }.items():
        monkeypatch.setenv(f"LOOM_{name}", value)
    with connected(database_url) as found:
        yield found


def kept(name: str, what: str = "table") -> Any:
    return json.loads(loom("retention", "list", "--json").output)["topics"][name][what]


def test_the_way_from_a_look_to_the_days_that_are_gone(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    at = settings_of(database_url, tmp_path)
    for age in (40, 31, 2):
        chunk(connection, at, ago(age), age, b"body" * age)
    all_passed(connection)
    looked = loom("retention", "set", "device.audio.raw", "30d", "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert "would go: 2 days, 2 rows" in looked.output
    assert "2 bodies of 284 B" in looked.output
    assert "nothing was changed" in looked.output
    assert kept("device.audio.raw") == {"days": 7.0, "from": "contract"}
    assert loom("retention", "set", "device.audio.raw", "30d", answer="n\n").exit_code == 1
    assert kept("device.audio.raw")["from"] == "contract"
    said = loom("retention", "set", "device.audio.raw", "30d", answer="y\n")
    assert "rows and bodies kept 30 days, before 7 days" in said.output
    assert kept("device.audio.raw") == {"days": 30.0, "from": "device.audio.raw"}
    assert kept("device.audio.raw", "kafka") == {"days": 7.0, "from": "contract"}
    assert len(days(connection, AUDIO_RAW)) == 3
    plans = json.loads(loom("retention", "apply", "--dry-run", "--json").output)
    assert [[d["rows"] for d in p["days"]] for p in plans] == [[1, 1]]
    applied = loom("retention", "apply", "--yes")
    assert "device.audio.raw: dropped 2 days, 2 rows, 2 bodies" in applied.output
    assert days(connection, AUDIO_RAW) == [ago(2)]
    assert "nothing is to be dropped" in loom("retention", "apply", "--yes").output
    log = connection.execute("SELECT action, subject FROM audit_log ORDER BY sequence").fetchall()
    assert log == [("retention.set", "table device.audio.raw")]


def test_a_category_is_kept_and_forgotten_again(connection: Connection) -> None:
    assert loom("retention", "keep", "device").exit_code == 0
    assert kept("device.audio.raw") == {"days": None, "from": "device"}
    assert loom("retention", "set", "device.sensor", "1w", "--rollups", "--yes").exit_code == 0
    assert kept("device.sensor.gps.raw", "rollups") == {"days": 7.0, "from": "device.sensor"}
    assert loom("retention", "reset", "device", "--yes").exit_code == 0
    assert kept("device.audio.raw") == {"days": 7.0, "from": "contract"}
    nothing = loom("retention", "reset", "device", "--yes")
    assert nothing.exit_code == 1
    assert "nothing was said" in nothing.output
    assert loom("retention", "set", "dagster.events", "30d", "--yes").exit_code == 0
    assert json.loads(loom("retention", "list", "--json").output)["dagster"]["dagster.events"] == 30.0
    assert "dagster.events" in loom("retention", "list").output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("device.audio.rwa", "30d"), "neither a topic"),
        (("device.audio.raw", "36h"), "no number of whole days"),
        (("device.audio.raw", "soon"), "not a length of time"),
        (("device.audio.raw", "1m", "--kafka"), "too short"),
        (("dagster.everything", "1d"), "dagster.log"),
    ],
)
def test_what_cannot_be_is_refused(connection: Connection, arguments: tuple[str, ...], told: str) -> None:
    refused = loom("retention", "set", *arguments, "--yes")
    assert refused.exit_code != 0
    assert told in " ".join(refused.output.split())
    assert connection.execute("SELECT count(*) FROM retention_rules").fetchone() == (0,)


def test_usage_counts_what_is_there(connection: Connection, database_url: str, tmp_path: Path) -> None:
    chunk(connection, settings_of(database_url, tmp_path), ago(2), 1, b"x" * 50_000)
    found = json.loads(loom("usage", "--json").output)
    assert found["unknown"] == {}
    assert 50_000 <= found["bodies"]["audio"][1] < 60_000
    audio = next(t for t in found["topics"] if t["topic"] == "device.audio.raw")
    (taken,) = connection.execute("SELECT bytes FROM loom_days('device_audio_raw')").fetchone() or (0,)
    assert audio == {"topic": "device.audio.raw", "table": taken, "rollups": 0, "kafka": 0}
    assert found["sums"]["bodies"] == found["bodies"]["audio"][1]
    assert "bodies" in loom("usage", "--all").output
