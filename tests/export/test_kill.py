"""Killed at any point, an export is no export and an import is half of one; run again, both come out whole."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from loom_platform.export import manifest, verify
from loom_platform.export.errors import ExportError, ImportDataError
from loom_platform.export.selection import Selection
from loom_platform.export.write import export
from tests.export.conftest import Side
from tests.export.filling import content

pytestmark = [pytest.mark.integration, pytest.mark.fault]

ROOT = Path(__file__).parents[2]


def killed(what: str, side: Side, folder: Path, point: str) -> None:
    command = [sys.executable, "-m", "tests.export.process", what, side.url, str(side.blobs), str(folder), point]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


class Counted:
    """A store that counts what is fetched."""

    def __init__(self, side: Side) -> None:
        self._store, self.fetched = side.store, 0

    def get(self, ref: str) -> bytes:
        self.fetched += 1
        return self._store.get(ref)


@pytest.mark.parametrize("point", ["device_sensor_gps_raw", "bodies", "manifest"])
def test_an_export_that_was_killed_is_none_and_is_run_again(
    full: Side, exported: Path, tmp_path: Path, point: str
) -> None:
    out = tmp_path / "out"
    killed("export", full, out, point)
    with pytest.raises(ImportDataError, match="not finished"):
        manifest.read(out)
    left = len(list((out / "blobs").rglob("*.wav")))
    assert (left > 0) == (point != "device_sensor_gps_raw")
    stale = out / "blobs/00" / f"{'0' * 64}.wav"
    stale.parent.mkdir(exist_ok=True)
    stale.write_bytes(b"")
    store = Counted(full)
    done = export(full.url, store, out, Selection(audit=True))
    assert store.fetched <= done.blobs.count - left
    assert not stale.exists()
    assert done.tables == manifest.read(exported).tables
    verify.check(out)


def test_two_exports_do_not_share_a_directory(full: Side, tmp_path: Path) -> None:
    tried: list[str] = []

    def progress(what: str, rows: int, size: int) -> None:
        if not tried:
            tried.append(what)
            with pytest.raises(ExportError, match="another export is being written there"):
                full.export(tmp_path / "out")

    export(full.url, full.store, tmp_path / "out", Selection(), progress=progress)
    assert tried


@pytest.mark.parametrize("point", ["bodies:3", "device_sensor_gps_raw:8"])
def test_an_import_that_was_killed_is_run_again(full: Side, fresh: Side, exported: Path, point: str) -> None:
    killed("import", fresh, exported, point)
    fresh.load(exported)
    after, before = content(fresh.connection), content(full.connection)
    assert {n: v for n, v in after.items() if n != "audit_log"} == {n: v for n, v in before.items() if n != "audit_log"}


def test_rows_that_come_meanwhile_are_not_in_it(full: Side, tmp_path: Path) -> None:
    """All tables are as of one moment: what is written while the first are read is in none of them."""
    before = content(full.connection)
    with psycopg.connect(full.url) as other:

        def progress(what: str, rows: int, size: int) -> None:
            if what == "device_sensor_gps_raw":
                other.execute("DELETE FROM device_sensor_humidity_raw")
                other.execute("DELETE FROM georegions")
                other.commit()

        done = export(full.url, full.store, tmp_path / "out", Selection(), progress=progress)
    assert content(full.connection)["device_sensor_humidity_raw"][0] == 0
    assert {n: t.rows for n, t in done.tables.items()} == {n: before[n][0] for n in done.tables}
