"""The object storage of a test's platform."""

from pathlib import Path
from typing import Protocol

from loom_models.stage import BlobRef
from loom_platform.blobs import ObstoreBlobs


class Store(Protocol):
    def put(self, body: bytes, *, device_id: str, kind: str, suffix: str = "") -> BlobRef: ...

    def get(self, ref: str) -> bytes: ...


class _Plain:
    def __init__(self, folder: Path) -> None:
        self._blobs = ObstoreBlobs(str(folder))

    def put(self, body: bytes, *, device_id: str, kind: str, suffix: str = "") -> BlobRef:
        return self._blobs.put(body, kind=kind, suffix=suffix)

    def get(self, ref: str) -> bytes:
        return self._blobs.get(ref)


def open_store(folder: Path, database_url: str) -> Store:
    return _Plain(folder)
