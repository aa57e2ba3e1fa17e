"""The directory of a backup: private, held by one process while it is written, complete once its manifest is there."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loom_platform.backup.errors import BackupError
from loom_platform.backup.manifest import NAME, FileEntry

MARKER: Final = ".unfinished"
DATABASE: Final = "database"
DAGSTER: Final = "dagster"
KAFKA: Final = "kafka"
SPOOL: Final = "spool"
BLOBS: Final = "blobs"
BLOB_INDEX: Final = "blobs.jsonl"
KEYS: Final = "keys.json"
_CHUNK: Final = 4 * 1024 * 1024


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Hold `folder`, empty, for one backup; what an unfinished one left in it is removed.

    Raises BackupError when it holds anything else, or another process is writing a backup there.
    """
    check_free(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        marker = (folder / MARKER).open("a")
    except OSError as error:
        raise BackupError(f"{folder}: cannot be written ({error.strerror}); give another directory") from None
    with marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{folder}: another backup is being written there; wait for it") from None
        for path in folder.iterdir():
            if path.name != MARKER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield


def check_free(folder: Path) -> None:
    """Raise BackupError unless a backup may be written to `folder`: it is new, empty, or holds an unfinished one."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BackupError(f"{folder}: is not a directory; give another one")
    if (folder / NAME).exists():
        raise BackupError(f"{folder}: there is a backup already; give another directory, or remove it")
    if any(folder.iterdir()) and not (folder / MARKER).exists():
        raise BackupError(f"{folder}: holds other files; give a directory that is empty or not there yet")


def finish(folder: Path, manifest: str) -> None:
    """Write the manifest, after everything else is on the disk; from here on the backup is complete."""
    building = folder / f"{NAME}.new"
    write(building, manifest.encode())
    for place in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        sync(place)
    building.replace(folder / NAME)
    (folder / MARKER).unlink()
    sync(folder)


def write(path: Path, body: bytes) -> None:
    """A small private file, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def entry(folder: Path, path: Path) -> FileEntry:
    """A file as the manifest lists it; it is on the disk when this returns."""
    size, digest = checksum(path)
    sync(path)
    return FileEntry(path=path.relative_to(folder).as_posix(), bytes=size, sha256=digest)


def checksum(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def size_of(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # it is being written
            continue
    return total


def sync(path: Path) -> None:
    """A file or directory onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
