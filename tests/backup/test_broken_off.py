"""What a restore does when it is killed, and what it refuses to begin with."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from loom_platform.backup import folder
from loom_platform.backup.errors import BackupError, DamagedError
from loom_platform.backup.manifest import NAME
from loom_platform.backup.verify import verify
from tests.backup.home import USED, Home, live

pytestmark = pytest.mark.integration

SETTINGS = (
    *("data_dir", "database_url", "dagster_database_url", "kafka_bootstrap_servers", "kafka_topic_prefix"),
    *("kafka_default_partitions", "blob_url", "spool_dir"),
)


@pytest.mark.fault
def test_a_restore_that_is_killed_leaves_the_platform_and_can_be_begun_again(home: Home, tmp_path: Path) -> None:
    live(home)
    home.backup(tmp_path / "backup")
    home.run(*USED)
    before = home.rows("SELECT message_id, stored_at FROM device_sensor_gps_raw ORDER BY 1")
    told = {name: json.loads(json.dumps(getattr(home.settings, name), default=str)) for name in SETTINGS}
    home.delete_topics()
    for point in ("filled", "resumed"):
        order = json.dumps({"settings": told, "source": str(tmp_path / "backup"), "at": point})
        command = [sys.executable, "-m", "tests.backup.process", order]
        killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert home.rows("SELECT message_id, stored_at FROM device_sensor_gps_raw ORDER BY 1") == before
    home.restore(tmp_path / "backup", replace=True)
    home.run(*USED)
    home.check()
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE current_database() || '\\_%%'"
    assert home.rows(left) == [(0,)]


def test_damage_is_found_and_nothing_is_begun_with_it(home: Home, tmp_path: Path) -> None:
    live(home)
    whole = tmp_path / "backup"
    manifest = home.backup(whole)
    assert verify(whole).faults == []
    assert not (whole / folder.MARKER).exists()
    assert [p for p in (whole, *whole.rglob("*")) if p.stat().st_mode & 0o077] == []
    body = next(p for p in (whole / folder.BLOBS).rglob("*") if p.is_file())
    dump = next(e.path for e in manifest.files if e.path.endswith(".dat.gz"))
    damages: dict[str, Callable[[Path], object]] = {
        "checksum": lambda copy: _flip(copy / dump),
        "No such file": lambda copy: (copy / dump).unlink(),
        "bytes, not": lambda copy: (copy / folder.KEYS).write_text("[]  "),
        "checksum is another": lambda copy: _flip(copy / body.relative_to(whole)),
        "was not there": lambda copy: (copy / folder.DATABASE / "9999.dat.gz").write_bytes(b""),
        f"{folder.BLOB_INDEX}": lambda copy: _cut_last_line(copy / folder.BLOB_INDEX),
    }
    for fault, damage in damages.items():
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy)
        damage(copy)
        faults = verify(copy).faults
        assert any(fault in text for text in faults), (fault, faults)
        with pytest.raises(DamagedError, match="nothing was changed"):
            home.restore(copy, replace=True)
        shutil.rmtree(copy)
    (whole / NAME).rename(whole / "elsewhere")
    with pytest.raises(BackupError, match="not finished"):
        home.restore(whole)


def test_it_waits_for_nobody_who_works_on_the_database(home: Home, tmp_path: Path) -> None:
    home.create()
    home.backup(tmp_path / "backup")
    busy = psycopg.connect(home.settings.database_url, application_name="loom-ingest")
    with busy, pytest.raises(BackupError, match="loom-ingest"):
        home.restore(tmp_path / "backup", replace=True)


def test_a_backup_goes_only_where_there_is_none(home: Home, tmp_path: Path) -> None:
    home.create()
    full = tmp_path / "full"
    full.mkdir()
    (full / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(BackupError, match="other files"):
        home.backup(full)
    assert (full / "photo.jpg").read_bytes() == b"mine"
    target = tmp_path / "backup"
    target.mkdir()
    (target / folder.MARKER).touch()
    (target / "database").mkdir()
    (target / "database" / "left.dat").write_bytes(b"from one that was broken off")
    home.backup(target)
    assert verify(target).faults == []
    with pytest.raises(BackupError, match="a backup already"):
        home.backup(target)


def test_keys_apart_are_needed_and_newer_backups_are_refused(home: Home, tmp_path: Path) -> None:
    live(home)
    source = tmp_path / "backup"
    home.backup(source, keys=tmp_path / "keys.json")
    assert not (source / folder.KEYS).exists()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    with pytest.raises(BackupError, match="--keys"):
        home.restore(source, replace=True)
    manifest = json.loads((source / NAME).read_text())
    (source / NAME).write_text(json.dumps(manifest | {"migrations": ["0001.engine", "9999.future"]}))
    with pytest.raises(BackupError, match="newer Loom"):
        home.restore(source, keys=tmp_path / "keys.json", replace=True)
    (source / NAME).write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(BackupError, match="newer Loom"):
        home.restore(source, replace=True)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
