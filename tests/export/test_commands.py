"""`loom export` and `loom import` as a person types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loom_platform.cli.main import app
from tests.export.conftest import Side
from tests.export.filling import content

pytestmark = pytest.mark.integration


def loom(side: Side, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("LOOM_DATABASE_URL", side.url)
    monkeypatch.setenv("LOOM_BLOB_URL", str(side.blobs))
    return CliRunner().invoke(app, arguments)


def test_out_of_one_platform_and_into_another(
    full: Side, fresh: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")
    dry = loom(full, monkeypatch, "export", "--device=phone-001", "--dry-run", "--json")
    counted = json.loads(dry.stdout)
    assert counted["rows"]["device_audio_raw"] == 12
    assert not Path(out).exists()
    done = loom(full, monkeypatch, "export", "--out", out, "--device=phone-001", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rows"] == {n: rows for n, rows in counted["rows"].items() if rows}
    assert told["bodies"]["count"] == counted["bodies"]
    assert "whole: " in loom(full, monkeypatch, "export", "verify", out).output

    before = content(fresh.connection)
    dry = loom(fresh, monkeypatch, "import", out, "--dry-run")
    assert "nothing was written" in dry.output
    assert content(fresh.connection) == before
    done = loom(fresh, monkeypatch, "import", out, "--json")
    assert done.exit_code == 0, done.output
    again = json.loads(loom(fresh, monkeypatch, "import", out, "--json").stdout)
    assert sum(again["new"].values()) == 0
    # the ledger of an export is for an empty platform
    assert again["known"] == {n: rows for n, rows in json.loads(done.stdout)["new"].items() if n != "erasures"}
    log = "SELECT action, subject FROM audit_log WHERE action LIKE 'data.%' ORDER BY sequence"
    assert full.connection.execute(log).fetchall() == [("data.export", out)]
    assert fresh.connection.execute(log).fetchall() == [("data.import", out)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from=2026-11-20", "--to=2026-11-19"), "is not before --to"),
        (("--topic=device.sensor.gps",), "did you mean device.sensor.gps.raw"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    full: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    done = loom(full, monkeypatch, "export", f"--out={tmp_path}/out", *arguments)
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_to_a_day_means_all_of_it(full: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = loom(full, monkeypatch, "export", f"--out={tmp_path}/out", "--from=2026-11-20", "--to=2026-11-20")
    assert done.exit_code == 0, done.output
    days = {p.stem for p in (tmp_path / "out/tables").rglob("*/*.parquet")}
    assert days == {"2026-11-20"}
