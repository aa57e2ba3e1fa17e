"""A file that is not what was exported is named, with both checksums, and nothing of the export is imported."""

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from loom_platform.cli.main import app
from loom_platform.export.errors import DamagedError, ExportError, ImportDataError
from loom_platform.export.selection import Selection
from loom_platform.export.write import export
from tests.export.conftest import Side
from tests.export.filling import content

pytestmark = pytest.mark.integration

GPS = "tables/device_sensor_gps_raw/2026-11-20.parquet"


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def flip(place: Path) -> None:
    """Change one bit in the middle."""
    body = bytearray(place.read_bytes())
    body[len(body) // 2] ^= 1
    place.write_bytes(body)


def a_body(folder: Path) -> Path:
    return next((folder / "blobs").rglob("*.wav"))


@pytest.mark.parametrize(
    "choose",
    [
        lambda f: f / GPS,
        lambda f: f / "tables/georegions.parquet",
        lambda f: f / "README.md",
        lambda f: f / "blobs.parquet",
        lambda f: f / "manifest.json",
        a_body,
    ],
    ids=["day", "table", "readme", "index", "manifest", "body"],
)
def test_a_changed_file_is_refused(copy: Path, fresh: Side, choose: Callable[[Path], Path]) -> None:
    place = choose(copy)
    before, was = content(fresh.connection), sha256(place.read_bytes()).hexdigest()
    flip(place)
    now = sha256(place.read_bytes()).hexdigest()
    with pytest.raises(DamagedError) as caught:
        fresh.load(copy)
    message = str(caught.value)
    assert place.relative_to(copy).as_posix() in message
    assert now in message
    assert was in message
    assert content(fresh.connection) == before


def test_a_missing_and_a_strange_file_are_told(copy: Path) -> None:
    (copy / GPS).unlink()
    (copy / "tables/device_sensor_gps_raw/2026-11-25.parquet").write_bytes(b"")
    a_body(copy).unlink()
    (copy / "blobs/00").mkdir(exist_ok=True)
    (copy / "blobs/00/stranger").write_bytes(b"")
    done = CliRunner().invoke(app, ["export", "verify", str(copy)])
    assert done.exit_code == 1
    assert f"{GPS}: is missing" in done.output
    assert "2026-11-25.parquet: is not part of the export" in done.output
    assert ".wav: is missing" in done.output
    assert "blobs/00/stranger: is not part of the export" in done.output


def test_what_is_no_export_is_not_imported(fresh: Side, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportDataError, match=r"no manifest\.json, so it is not an export"):
        fresh.load(tmp_path / "nothing")
    fresh.connection.execute("ALTER TABLE device_sensor_gps_raw DROP COLUMN heading CASCADE")
    before = content(fresh.connection)
    with pytest.raises(ImportDataError, match="table device_sensor_gps_raw has no column heading here"):
        fresh.load(copy)
    assert content(fresh.connection) == before


def test_other_peoples_directories_are_left_alone(full: Side, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is an export already"):
        full.export(copy)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds other files"):
        full.export(tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    with pytest.raises(ExportError, match="is not a directory"):
        full.export(tmp_path / "full/mine.txt")


def test_a_body_that_is_gone_is_told_and_the_rest_exported(full: Side, exported: Path, tmp_path: Path) -> None:
    class Lossy:
        def get(self, ref: str) -> bytes:
            if ref == lost:
                raise KeyError(ref)
            return full.store.get(ref) if ref != spoilt else b"other"

    (lost,), (spoilt,) = full.connection.execute(
        "SELECT DISTINCT audio_ref FROM device_audio_raw ORDER BY 1 LIMIT 2"
    ).fetchall()
    done = export(full.url, Lossy(), tmp_path / "out", Selection(topics=("device.audio.raw",)))
    assert done.blobs.missing == 2
    problems = pl.read_parquet(tmp_path / "out/blobs.parquet").filter(pl.col("path").is_null())
    assert dict(problems.select("ref", "problem").iter_rows()) == {
        lost: "object storage has it no more",
        spoilt: f"its SHA-256 is {sha256(b'other').hexdigest()}",
    }
