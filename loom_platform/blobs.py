"""Content-addressed object storage by obstore: a local directory, S3, GCS, Azure, or memory for tests."""

import os
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from loom_models.errors import DependencyError
from loom_models.stage import BlobRef
from loom_platform.errors import PlatformError

SCHEMES = ("file", "s3", "gs", "az", "memory")


class BlobUrlError(PlatformError):
    """The URL of the object store is not one that Loom can use."""


class ObstoreBlobs:
    """The BlobStore of `loom_models.stage` at `url`, such as `file:///var/lib/loom/blobs` or `s3://bucket/prefix`.

    An absolute path is a local directory. A body's key is `<kind>/<first two digits>/<sha256><suffix>`; that key is
    its reference, so a store can be moved. A local body is on the disk (fsync) before `put` returns. Raises
    BlobUrlError for a URL it can't use.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store, self._root = _open(url)

    def put(self, body: bytes, *, kind: str, suffix: str = "") -> BlobRef:
        """Store `body`; when it is there already, nothing is written. Raises DependencyError when it can't be."""
        digest = sha256(body).hexdigest()
        key = f"{kind}/{digest[:2]}/{digest}{suffix}"
        try:
            try:
                obstore.put(self._store, key, body, mode="create")
            except (AlreadyExistsError, FileExistsError):
                # A crash of the machine can leave a short file under the right name.
                if obstore.head(self._store, key)["size"] == len(body):
                    return BlobRef(key, digest, len(body))
                obstore.put(self._store, key, body, mode="overwrite")
            if self._root is not None:
                _sync(self._root / key, self._root)
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not take {key}: {_short(error)}") from error
        return BlobRef(key, digest, len(body))

    def get(self, ref: str) -> bytes:
        """The body at `ref`; raises KeyError when there is none, DependencyError when the store is away."""
        try:
            return bytes(obstore.get(self._store, ref).bytes())
        except (FileNotFoundError, NotFoundError) as error:
            raise KeyError(f"object store {self.url} has no {ref!r}") from error
        except ValueError as error:
            raise KeyError(f"{ref!r} is not a reference to a body: {_short(error)}") from error
        except (BaseError, OSError) as error:
            raise DependencyError(f"object store {self.url} did not give {ref}: {_short(error)}") from error


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
        return from_url(url), None
    except (BaseError, ValueError) as error:
        raise BlobUrlError(f"object store URL {url!r}: {_short(error)}") from error


def _sync(path: Path, root: Path) -> None:
    """The file, and the directories between it and `root`, onto the disk."""
    for place in (path, *(p for p in path.parents if p.is_relative_to(root))):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0]
