"""`loom backup verify`: whether a backup is still what it was when it was made."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loom_platform.backup import blobs, folder, postgres
from loom_platform.backup.errors import DamagedError
from loom_platform.backup.manifest import NAME, Manifest, read
from loom_platform.backup.progress import Progress, silent


@dataclass(slots=True)
class Verified:
    """What was looked at, and each fault as a sentence."""

    manifest: Manifest
    files: int = 0
    bodies: int = 0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)


def verify(target: Path, progress: Progress = silent) -> Verified:
    """Read every byte of the backup in `target` and compare. Raises BackupError when there is none."""
    done = Verified(read(target))
    for number, entry in enumerate(done.manifest.files, 1):
        done.faults += _file_faults(target, entry.path, entry.bytes, entry.sha256)
        done.files += 1
        done.bytes += entry.bytes
        progress("files", number, len(done.manifest.files), "files")
    try:
        for listed in blobs.index_of(target):
            if listed.sha256 is None:
                continue
            done.faults += _body_faults(target, listed)
            done.bodies += 1
            done.bytes += listed.bytes
            progress("large bodies", done.bodies, done.manifest.blobs.count, "bodies")
    except (DamagedError, FileNotFoundError) as error:
        done.faults.append(str(error))
    if done.bodies != done.manifest.blobs.count:
        done.faults.append(f"{folder.BLOB_INDEX}: {done.bodies} bodies, the manifest says {done.manifest.blobs.count}")
    done.faults += [f"{name}: was not there when the backup was made" for name in _strangers(target, done.manifest)]
    if not done.faults:
        dumps = (folder.DATABASE, *((folder.DAGSTER,) if done.manifest.dagster else ()))
        done.faults += [f"{name}: pg_restore cannot read it" for name in dumps if not postgres.readable(target / name)]
    return done


def _file_faults(target: Path, name: str, size: int, digest: str) -> Iterator[str]:
    try:
        found = folder.checksum(target / name)
    except OSError as error:
        yield f"{name}: {error.strerror or 'cannot be read'}"
        return
    if found != (size, digest):
        what = f"has {found[0]} bytes, not {size}" if found[0] != size else "its checksum is another one"
        yield f"{name}: {what}"


def _body_faults(target: Path, listed: blobs.Listed) -> Iterator[str]:
    try:
        body = blobs.place_of(target, listed.ref).read_bytes()
    except OSError as error:
        yield f"{folder.BLOBS}/{listed.ref}: {error.strerror or 'cannot be read'}"
        return
    if hashlib.sha256(body).hexdigest() != listed.sha256:
        yield f"{folder.BLOBS}/{listed.ref}: its checksum is another one"


def _strangers(target: Path, manifest: Manifest) -> Iterator[str]:
    """Files of the dumps that nobody listed: pg_restore would take them for its own."""
    known = {entry.path for entry in manifest.files} | {NAME}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in known and not name.startswith(f"{folder.BLOBS}/"):
            yield name
