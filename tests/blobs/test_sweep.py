import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from loom_models.stage import BlobRef, Body
from loom_platform.blobs.sweep import Swept
from loom_platform.blobs.usage import Usage
from tests.blobs import rows
from tests.blobs.conftest import Store

ROOT = Path(__file__).parents[2]
NOW = timedelta(0)


@pytest.fixture(autouse=True)
def _days(store: Store) -> None:
    rows.days(store.connection)


def fill(store: Store, count: int, *, landed: int, device: str = "phone") -> list[BlobRef]:
    """Bodies, of which the first have rows."""
    with store.connection.transaction():
        writer = store.blobs.within(store.connection)
        found = writer.put_all([Body(b"%d" % n, device, "audio", ".wav") for n in range(count)])
        for blob in found[:landed]:
            rows.land(store.connection, blob, device)
    return found


def test_what_no_row_refers_to_is_found_and_removed(store: Store) -> None:
    kept = fill(store, 5, landed=3)[:3]
    orphans = sum((store.root / f).stat().st_size for f in store.files() - {b.ref for b in kept})
    found = Swept(seen=5, orphans=2, orphan_bytes=orphans)
    assert store.blobs.sweep(store.connection, older_than=NOW, dry_run=True) == found
    assert len(store.files()) == 5
    assert store.blobs.sweep(store.connection, older_than=NOW) == found
    assert store.files() == {b.ref for b in kept}
    assert store.blobs.sweep(store.connection, older_than=NOW) == Swept(seen=3)


def test_what_was_stored_just_now_may_get_its_row_yet(store: Store) -> None:
    (blob,) = fill(store, 1, landed=0)
    assert store.blobs.sweep(store.connection).orphans == 0
    long_ago = (store.root / blob.ref).stat().st_mtime - 7_200
    os.utime(store.root / blob.ref, (long_ago, long_ago))
    # An import that meets the body of an earlier one needs it for as long as one that brings it.
    assert store.blobs.put(b"0", device_id="phone", kind="audio", suffix=".wav") == blob
    assert store.blobs.sweep(store.connection).orphans == 0
    os.utime(store.root / blob.ref, (long_ago, long_ago))
    assert store.blobs.sweep(store.connection).orphans == 1
    assert store.files() == set()


def test_files_that_are_none_of_looms_stay_and_half_written_ones_go(store: Store) -> None:
    (blob,) = fill(store, 1, landed=1)
    (store.root / "notes.txt").write_text("mine")
    (store.root / f"{blob.ref}#17").write_bytes(b"torn")
    assert store.blobs.sweep(store.connection, older_than=NOW) == Swept(2, 0, 4, 1, 1)
    assert store.files() == {blob.ref, "notes.txt"}
    assert store.blobs.get(blob.ref) == b"0"


def test_what_the_bodies_take_is_told_by_kind_and_device(store: Store) -> None:
    fill(store, 3, landed=0)
    fill(store, 1, landed=0, device="laptop")
    store.blobs.objects.write(f"image/ab/ab{'0' * 62}.png", b"picture")
    store.blobs.objects.write("notes.txt", b"mine")
    size = 1 + 64
    assert store.blobs.usage() == [
        Usage("", "", 1, 4),
        Usage("audio", "laptop", 1, size),
        Usage("audio", "phone", 3, 3 * size),
        Usage("image", "", 1, 7),
    ]


@pytest.mark.fault
@pytest.mark.parametrize(("what", "point", "times"), [("remove", "asked", 1), ("sweep", "removed", 0)])
def test_a_removal_that_was_killed_halfway_is_finished_by_a_sweep(
    store: Store, what: str, point: str, times: int
) -> None:
    fill(store, 300, landed=0 if what == "sweep" else 300)
    kept = fill(store, 2, landed=0, device="laptop")
    for blob in kept:
        rows.segment(store.connection, blob, "laptop")
    command = [sys.executable, "-m", "tests.blobs.process", what, store.url, str(store.root), point, str(times)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(store.files()) > 2
    assert {b.ref for b in kept} <= store.files()
    store.blobs.sweep(store.connection, older_than=NOW)
    assert store.files() == {b.ref for b in kept}
