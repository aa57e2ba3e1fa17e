"""How far the spool is drained, in a file of two slots written in turn: a torn write costs only one of them."""

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from loom_ingest.spool.disk import Disk

_SLOT: Final = struct.Struct(">4sQQI")
_MAGIC: Final = b"LSP\x01"
_SLOT_BYTES: Final = 4096
"""Apart by a page, so that no write touches both."""


class Position:
    """The `seq` up to which the broker has every record."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        disk.sync_directory(path.parent)
        if os.fstat(self._fd).st_size < 2 * _SLOT_BYTES:
            # Both have their place before the disk is full.
            disk.write_position(self._fd, bytes(2 * _SLOT_BYTES), 0)
        self._turn = 0
        self.acknowledged = 0
        for slot in range(2):
            found = _read(os.pread(self._fd, _SLOT.size, slot * _SLOT_BYTES))
            if found is not None and found[0] > self._turn:
                self._turn, self.acknowledged = found

    def write(self, acknowledged: int) -> None:
        """Make `acknowledged` durable; it counts for this process even when that raises OSError."""
        self._turn = turn = self._turn + 1
        self.acknowledged = acknowledged
        head = _SLOT.pack(_MAGIC, turn, acknowledged, 0)[:-4]
        self._disk.write_position(self._fd, head + struct.pack(">I", zlib.crc32(head)), turn % 2 * _SLOT_BYTES)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def acknowledged_up_to(path: Path) -> int:
    """What the file at `path` says, for someone who only looks; 0 when there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    found = [_read(data[slot * _SLOT_BYTES :][: _SLOT.size]) for slot in range(2)]
    return max((slot for slot in found if slot is not None), default=(0, 0))[1]


def _read(data: bytes) -> tuple[int, int] | None:
    if len(data) < _SLOT.size:
        return None
    magic, turn, acknowledged, crc = _SLOT.unpack(data)
    return (turn, acknowledged) if magic == _MAGIC and zlib.crc32(data[:-4]) == crc else None
