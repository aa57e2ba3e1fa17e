"""Large bodies out of the object storage and into it again, as they lie there: encrypted ones stay encrypted.

`blobs/<reference>` are the bodies and `blobs.jsonl` lists them with size and SHA-256 of what is stored.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, TypeVar

from loom_platform.backup.errors import DamagedError
from loom_platform.backup.folder import BLOB_INDEX, BLOBS
from loom_platform.backup.manifest import BlobsEntry
from loom_platform.backup.progress import Progress
from loom_platform.blobs.objects import Objects

_WORKERS: Final = 4
_AHEAD: Final = 16
_T = TypeVar("_T")
_R = TypeVar("_R")


class Listed(NamedTuple):
    """One line of the index; `sha256` is None for a body that the storage did not have."""

    ref: str
    bytes: int
    sha256: str | None


def copy_out(url: str, references: Iterable[str], folder: Path, progress: Progress) -> BlobsEntry:
    """Copy the bodies of `references` into `folder`; raises DependencyError when the storage is away."""
    objects = Objects(url)
    count = size = missing = 0
    with (folder / BLOB_INDEX).open("w", encoding="utf-8") as index:
        for listed in _each(references, lambda ref: _fetch(objects, ref, folder)):
            index.write(json.dumps(listed._asdict()) + "\n")
            missing += listed.sha256 is None
            count += listed.sha256 is not None
            size += listed.bytes
            progress("large bodies", count, None, "bodies")
    return BlobsEntry(count=count, bytes=size, missing=missing)


def copy_in(url: str, folder: Path, progress: Progress, total: int) -> int:
    """Copy the bodies of a backup into the object storage at `url`, where they are not there already; how many.

    Raises DamagedError for one that is not what the index says, DependencyError when the storage is away.
    """
    objects = Objects(url)
    bodies = (listed for listed in index_of(folder) if listed.sha256 is not None)
    count = 0
    for _ in _each(bodies, lambda listed: _store(objects, folder, listed)):
        count += 1
        progress("large bodies", count, total, "bodies")
    return count


def index_of(folder: Path) -> Iterator[Listed]:
    """The lines of the index; raises DamagedError."""
    with (folder / BLOB_INDEX).open(encoding="utf-8") as index:
        for number, line in enumerate(index, 1):
            try:
                yield Listed(**json.loads(line))
            except (ValueError, TypeError):
                raise DamagedError(f"{BLOB_INDEX}, line {number}: cannot be read") from None


def place_of(folder: Path, ref: str) -> Path:
    """Where a body lies in a backup; raises DamagedError for a reference that would lie outside it."""
    parts = PurePosixPath(ref)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise DamagedError(f"{ref!r} is not a reference to a body")
    return folder / BLOBS / parts


def _fetch(objects: Objects, ref: str, folder: Path) -> Listed:
    body = objects.read(ref)
    if body is None:
        return Listed(ref, 0, None)
    path = place_of(folder, ref)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(body)
    return Listed(ref, len(body), hashlib.sha256(body).hexdigest())


def _store(objects: Objects, folder: Path, listed: Listed) -> None:
    try:
        body = place_of(folder, listed.ref).read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{BLOBS}/{listed.ref}: is not there") from None
    if hashlib.sha256(body).hexdigest() != listed.sha256:
        raise DamagedError(f"{BLOBS}/{listed.ref}: its checksum is another one")
    objects.write(listed.ref, body)


def _each(items: Iterable[_T], work: Callable[[_T], _R]) -> Iterator[_R]:
    """`work` of each item, some at once, in order."""
    waiting: deque[Future[_R]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
