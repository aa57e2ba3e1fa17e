"""What makes a retry harmless: the same request gives the same `message_id` and `timestamp`, so the same row."""

import mmap
import os
import struct
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from loom_contracts.topic import Topic
from loom_ingest.errors import ApiError, Code
from loom_ingest.logging import log

LONGEST_KEY: Final = 255
FILE: Final = "retries-1"
"""Below `LOOM_SPOOL_DIR`."""
BUCKETS: Final = 8_192
WAYS: Final = 8
"""Entries of one bucket; when it is full the oldest gives way."""
_NAMESPACE: Final = UUID("6b3f4d8e-3c0f-5b53-9d5c-6d1f0b0c7a11")
ENTRY: Final = struct.Struct("<16sqI4x")
"""A message's identity, the time that it was given (Unix microseconds), and a check over both; zeros are a free place.
"""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BUCKET_BYTES: Final = WAYS * ENTRY.size
_BYTES: Final = BUCKETS * _BUCKET_BYTES


class Retries:
    """The times given to messages that came with an identity and without a time, about the newest 65,000 of them.

    They are in a file below `directory`, mapped into memory: all workers see it, and it outlives a killed process (the
    kernel has what was written; only a power failure may take the last seconds). Without one they are in memory alone.
    A client that sends its own `timestamp` needs none of this: its retry is the same row by itself.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._map = mmap.mmap(-1, _BYTES)

    def start(self) -> None:
        """Open the file; a disk that has none to give costs only that a restart forgets."""
        if self._directory is None:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._directory / FILE, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.truncate(fd, _BYTES)
                self._map = mmap.mmap(fd, _BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            log.warning("retries_not_remembered", reason=error.strerror, remedy="check LOOM_SPOOL_DIR")

    def time_of(self, message_id: UUID, now: datetime) -> datetime:
        """The time given to this message when it first came; `now` when it is new."""
        name = message_id.bytes
        start = zlib.crc32(name) % BUCKETS * _BUCKET_BYTES
        free, oldest = start, None
        for offset in range(start, start + _BUCKET_BYTES, ENTRY.size):
            known, microseconds, check = ENTRY.unpack_from(self._map, offset)
            if known == name and check == _check(known, microseconds):
                return _EPOCH + timedelta(microseconds=microseconds)
            if oldest is None or microseconds < oldest:
                free, oldest = offset, microseconds
        microseconds = (now - _EPOCH) // _MICROSECOND
        ENTRY.pack_into(self._map, free, name, microseconds, _check(name, microseconds))
        return now


def _check(name: bytes, microseconds: int) -> int:
    """Of one entry: two workers may write to the same place, and one may be killed there."""
    return zlib.crc32(name, microseconds & 0xFFFFFFFF)


def known_key(key: bytes) -> bytes:
    """`key`, when it can be an Idempotency-Key; raises the 400."""
    if not 0 < len(key) <= LONGEST_KEY:
        raise ApiError(
            400,
            Code.INVALID_IDEMPOTENCY_KEY,
            f"Idempotency-Key has {len(key)} characters: it must be of 1 to {LONGEST_KEY}, such as a UUID",
        )
    return key


def identity(topic: Topic, device_id: str, key: bytes, index: int | None = None) -> UUID:
    """The `message_id` of what `device_id` sends with the header `Idempotency-Key: key`; `index` is its place in a
    batch.
    """
    return uuid5(_NAMESPACE, "\0".join((topic.name, device_id, key.decode("latin-1"), str(index))))
