"""Objects under keys, by obstore: a local directory, S3, GCS, Azure, or memory for tests. Here they are just bytes."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from loom_models.errors import DependencyError
from loom_platform.blobs.errors import BlobUrlError

if TYPE_CHECKING:
    from obstore.store import RetryConfig

SCHEMES: Final = ("file", "s3", "gs", "az", "memory")
_LISTED: Final = 1_000
_AT_ONCE: Final = 8
_LASTING_DEPTH: Final = 1
"""A directory of a kind of body is never removed, so it is synced once; a device's may go, and come again."""
_GONE: Final = (FileNotFoundError, NotFoundError)
# The default is to try for three minutes, and a batch's transaction waits for it. The stage itself tries again.
_RETRIES: "Final[RetryConfig]" = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there: its key, its size in bytes, when it was written."""

    key: str
    size_bytes: int
    written_at: datetime


class Objects:
    """The object store at `url`, such as `file:///var/lib/loom/blobs` or `s3://bucket/prefix`; a path is a directory.

    A local object is on the disk (fsync) before `write` returns. Each method raises DependencyError when the store is
    away. Raises BlobUrlError for a URL it can't use.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store, self._root = _open(url)
        self._lasting: set[PurePosixPath] = set()

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Threads for what is done with several objects at once."""
        return ThreadPoolExecutor(_AT_ONCE, "blobs")

    def write(self, key: str, data: bytes, *, afresh: bool = False) -> None:
        """Have `data` under `key`. What is there already is left alone if it is the same, unless `afresh`."""
        self._put(key, data, afresh)
        self._sync_directories([key])

    def write_all(self, items: Sequence[tuple[str, bytes]], *, afresh: bool = False) -> None:
        """Have each of the data under its own key: several at a time, and with one look at the directories."""
        if len(items) == 1:
            self.write(*items[0], afresh=afresh)
            return
        for _ in self.pool.map(lambda item: self._put(item[0], item[1], afresh), items):
            pass
        self._sync_directories(key for key, _ in items)

    def read(self, key: str) -> bytes | None:
        """What is under `key`; None when nothing is."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except (*_GONE, ValueError) as error:
            self._require_store(error)
            return None
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not give {key}: {_short(error)}") from error

    def find(self, key: str) -> Found | None:
        """What `key` is, without its bytes; None when nothing is there."""
        try:
            meta = obstore.head(self._store, key)
        except (*_GONE, ValueError) as error:
            self._require_store(error)
            return None
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not tell of {key}: {_short(error)}") from error
        return Found(key, meta["size"], meta["last_modified"])

    def list(self, prefix: str = "") -> Iterator[Sequence[Found]]:
        """All objects below `prefix` (whole directories), some at a time."""
        if self._root is not None and not self._root.exists():
            raise DependencyError(f"object store {self.url} is not there: no such directory")
        try:
            for batch in obstore.list(self._store, prefix or None, chunk_size=_LISTED):
                yield [Found(m["path"], m["size"], m["last_modified"]) for m in batch]
        except _GONE as error:
            self._require_store(error)
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not list {prefix}/: {_short(error)}") from error

    def leftovers(self) -> Iterator[Found]:
        """What a killed `write` left half written; only a local directory has such files."""
        if self._root is None:
            return
        for place in self._root.rglob("*#*"):
            with suppress(FileNotFoundError):
                told = place.stat()
                written_at = datetime.fromtimestamp(told.st_mtime, UTC)
                yield Found(str(place.relative_to(self._root)), told.st_size, written_at)

    def _require_store(self, error: Exception) -> None:
        """Raise DependencyError when not only an object is missing, but the whole store: a disk not mounted, say."""
        if (self._root is not None and not self._root.exists()) or "NoSuchBucket" in str(error):
            raise DependencyError(f"object store {self.url} is not there: {_short(error)}") from error

    def _put(self, key: str, data: bytes, afresh: bool) -> None:
        try:
            if afresh:
                obstore.put(self._store, key, data, mode="overwrite")
            else:
                try:
                    obstore.put(self._store, key, data, mode="create")
                except (AlreadyExistsError, FileExistsError):
                    # A crash of the machine can leave a torn file under the right name.
                    if self.read(key) != data:
                        obstore.put(self._store, key, data, mode="overwrite")
            if self._root is not None:
                _sync(self._root / key)
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not take {key}: {_short(error)}") from error

    def _sync_directories(self, keys: Iterable[str]) -> None:
        """The directories of `keys` onto the disk, each once: a file without its name is no file."""
        if self._root is None:
            return
        parents = {parent for key in keys for parent in PurePosixPath(key).parents}
        try:
            for parent in sorted(parents - self._lasting, key=lambda p: len(p.parts), reverse=True):
                _sync(self._root / parent)
                if len(parent.parts) <= _LASTING_DEPTH:
                    self._lasting.add(parent)
        except OSError as error:
            raise DependencyError(f"object store {self.url}: {_short(error)}") from error

    def delete(self, keys: Sequence[str]) -> None:
        """Have nothing under `keys`; those that are gone already are no error."""
        try:
            if self._root is None:
                if keys:
                    obstore.delete(self._store, list(keys))
                return
            for key in keys:
                _unlink(self._root, key)
        except _GONE as error:
            self._require_store(error)
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not remove {keys[0]}..: {_short(error)}") from error


def _open(url: str) -> tuple[ObjectStore, Path | None]:
    if url.startswith("/"):
        return LocalStore(url, mkdir=True), Path(url)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise BlobUrlError(f"object store URL {url!r}: its scheme must be one of {', '.join(SCHEMES)}")
    if parts.scheme == "memory":
        return MemoryStore(), None
    if parts.scheme == "file":
        root = Path(unquote(parts.path))
        if parts.netloc or not root.is_absolute():
            raise BlobUrlError(f"object store URL {url!r}: write an absolute path, as in file:///var/lib/loom/blobs")
        return LocalStore(root, mkdir=True), root
    try:
        return from_url(url, retry_config=_RETRIES), None
    except (BaseError, ValueError) as error:
        raise BlobUrlError(f"object store URL {url!r}: {_short(error)}") from error


def _unlink(root: Path, key: str) -> None:
    """Remove a file for good, and the directories that it leaves empty: their names tell of a device."""
    place = root / key
    place.unlink(missing_ok=True)
    for directory in place.parents:
        if len(directory.relative_to(root).parts) <= _LASTING_DEPTH:
            _sync(directory)
            return
        try:
            directory.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            _sync(directory)
            return


def _sync(path: Path) -> None:
    """A file, or a directory's names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0]
