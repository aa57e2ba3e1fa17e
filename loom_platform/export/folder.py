"""The directory that an export is written into: private, and complete only when its manifest is there."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loom_platform.export.errors import ExportError
from loom_platform.export.manifest import NAME

MARKER: Final = ".unfinished"
BLOBS: Final = "blobs"
_WRITTEN: Final = ("tables", "schemas", "README.md", "blobs.parquet", "SHA256SUMS", f"{NAME}.new")


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Hold `folder` for one export; what an earlier, unfinished one wrote is removed, but for the bodies.

    A body's name is its checksum, so one that is there need not be fetched again. Raises ExportError when the folder
    holds something else, an export that is complete, or one that is being written.
    """
    if (folder / NAME).exists():
        raise ExportError(f"{folder}: there is an export already; give another --out, or remove it")
    ours = (folder / MARKER).exists()
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder}: is not a directory; give another --out")
    if folder.is_dir() and not ours and any(folder.iterdir()):
        raise ExportError(f"{folder}: holds other files; give an --out that is empty or not there yet")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        marker = (folder / MARKER).open("a")
    except OSError as error:
        raise ExportError(f"{folder}: cannot be written ({error.strerror}); give another --out") from None
    with marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(f"{folder}: another export is being written there; wait for it") from None
        for name in _WRITTEN:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (folder / BLOBS).mkdir(exist_ok=True)
        for left in (folder / BLOBS).rglob("*.new"):
            left.unlink()
        yield


def finish(folder: Path, manifest: str) -> None:
    """Write the manifest, after everything else is on the disk; from here on the export is complete."""
    building = folder / f"{NAME}.new"
    with building.open("w", encoding="utf-8") as file:
        file.write(manifest)
        file.flush()
        os.fsync(file.fileno())
    for place in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        sync(place)
    building.replace(folder / NAME)
    (folder / MARKER).unlink()
    sync(folder)


def sync(path: Path) -> None:
    """A file or directory onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
