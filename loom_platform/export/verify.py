"""Whether an export is what was written: every file there, with its checksum, and no other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from loom_platform.export import bodies, manifest
from loom_platform.export.errors import DamagedError
from loom_platform.export.folder import BLOBS, MARKER
from loom_platform.export.manifest import FileEntry, Manifest
from loom_platform.export.progress import Progress, silent

_UNLISTED: Final = frozenset({manifest.NAME, manifest.SUMS, MARKER})


def check(folder: Path, *, progress: Progress = silent) -> Manifest:
    """The manifest of the export in `folder`, when all of it is as it was written; reads every byte.

    Raises DamagedError that names the first file that is not, with both checksums; ImportDataError when it is no
    export.
    """
    found = manifest.read(folder)
    for problem in problems(folder, found, progress=progress):
        raise DamagedError(problem)
    return found


def problems(folder: Path, found: Manifest, *, progress: Progress = silent) -> Iterator[str]:
    """What is wrong with the export in `folder`, a sentence for each file."""
    size = 0
    damaged_index = False
    for number, entry in enumerate(found.files, 1):
        problem = _wrong(folder, entry)
        if problem is not None:
            damaged_index = damaged_index or entry is found.blobs.index
            yield problem
        size += entry.bytes
        progress("files", number, size)
    if damaged_index:
        return
    count = size = 0
    for path in bodies.paths(folder):
        count += 1
        place = folder / path
        if not manifest.inside(path) or not place.is_file():
            yield f"{path}: is missing"
            continue
        size += place.stat().st_size
        sha256 = manifest.sha256_of(place)
        if sha256 != place.name[:64]:
            yield f"{path}: its SHA-256 is {sha256}, its name says {place.name[:64]}"
        progress("bodies", count, size)
    yield from _strangers(folder, found)


def _wrong(folder: Path, entry: FileEntry) -> str | None:
    place = folder / entry.path
    if not place.is_file():
        return f"{entry.path}: is missing"
    if (sha256 := manifest.sha256_of(place)) != entry.sha256:
        return f"{entry.path}: its SHA-256 is {sha256}, the manifest says {entry.sha256}"
    if entry.rows is not None and (rows := pq.ParquetFile(place).metadata.num_rows) != entry.rows:
        return f"{entry.path}: has {rows:,} rows, the manifest says {entry.rows:,}"
    return None


def _strangers(folder: Path, found: Manifest) -> Iterator[str]:
    """Files that belong to no export: an import would not look at them, and a person may think that it did."""
    listed = {entry.path for entry in found.files} | _UNLISTED
    for place in sorted(folder.rglob("*")):
        path = place.relative_to(folder).as_posix()
        if place.is_file() and not path.startswith(f"{BLOBS}/") and path not in listed:
            yield f"{path}: is not part of the export; remove it"
    for path in bodies.strangers(folder):
        yield f"{path}: is not part of the export; remove it"
