"""The spool on disk: segment files that records are appended to, read from in order, and that go when acknowledged.

Everything here blocks and is called from one thread. Segments are `<number>.segment`; `position` says how far the
broker has them. A segment is removed as a whole, when all of it is acknowledged.
"""

import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loom_ingest.logging import log
from loom_ingest.producer import Record
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.position import Position
from loom_ingest.spool.record import Damage, Spooled, announced_size, encode, scan

POSITION: Final = "position"
_NUMBER: Final = re.compile(r"(\d+)\.(?:segment|damaged)")


@dataclass(slots=True, eq=False)
class Segment:
    """One file: `size` bytes of it are durable, those before `head` are acknowledged, `left` records are not."""

    path: Path
    size: int = 0
    head: int = 0
    left: int = 0
    last_seq: int = 0
    damaged_to: int = 0


class SpoolLog:
    """Records on disk between the device and the broker.

    A record counts once `append` returned; it is gone once `acknowledge` was called with its `seq`. After a crash those
    are there again that were not acknowledged, and perhaps the last acknowledged ones.
    """

    def __init__(self, directory: Path, segment_bytes: int, disk: Disk) -> None:
        """Take up what an earlier process left: torn end cut, acknowledged segments removed. Raises OSError."""
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._segments: deque[Segment] = deque()
        self._active: tuple[Segment, int] | None = None
        self._read: deque[tuple[int, int]] = deque()
        self._next_seq = 1
        self._next_number = 1
        self.pending = 0
        self.bytes = 0
        self.damaged = 0
        self.oldest_ms: int | None = None
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._disk.sync_directory(self.directory.parent)
        self._position = Position(self.directory / POSITION, self._disk)
        numbers = {int(m[1]): path for path in self.directory.iterdir() if (m := _NUMBER.fullmatch(path.name))}
        found = sorted((n, path) for n, path in numbers.items() if path.suffix == ".segment")
        self._next_number = max(numbers, default=0) + 1
        seen = 0
        for index, (_, path) in enumerate(found):
            seen = self._recover(path, seen, is_last=index == len(found) - 1)
        self._next_seq = max(seen, self._position.acknowledged) + 1

    def _recover(self, path: Path, seen: int, *, is_last: bool) -> int:
        """Take up one segment; returns the highest `seq` so far."""
        data = path.read_bytes()
        segment = Segment(path, len(data))
        for found in scan(data, seen):
            if isinstance(found, Damage):
                if is_last and found.end == len(data):
                    self._cut(segment, found.start)
                continue
            spooled, end = found
            seen = segment.last_seq = spooled.seq
            if seen <= self._position.acknowledged:
                segment.head = end
            else:
                segment.left += 1
                if self.oldest_ms is None:
                    self.oldest_ms = spooled.accepted_ms
        self.bytes += segment.size
        self.pending += segment.left
        self._segments.append(segment)
        if not segment.left and segment.head == segment.size:
            self._drop(segment)
        return seen

    def _cut(self, segment: Segment, size: int) -> None:
        log.warning("spool_tail_cut", segment=segment.path.name, bytes=segment.size - size)
        fd = os.open(segment.path, os.O_WRONLY)
        try:
            self._disk.truncate(fd, size)
        finally:
            os.close(fd)
        segment.size = size

    def append(self, entries: Sequence[tuple[int, Record]]) -> None:
        """Make the entries (acceptance in Unix ms, record) durable, all of them with one sync. Raises OSError."""
        first = self._next_seq
        # Never used again, whatever happens to this write: a part of it may come back after a crash.
        self._next_seq += len(entries)
        data = b"".join(encode(Spooled(first + n, *entry)) for n, entry in enumerate(entries))
        if self._active is not None and self._active[0].size >= self._segment_bytes:
            os.close(self._active[1])
            self._active = None
        segment, fd = self._active or self._begin()
        try:
            self._disk.write(fd, data)
            self._disk.sync(fd)
        except OSError:
            self._take_back(segment, fd)
            raise
        if not self.pending:
            self.oldest_ms = entries[0][0]
        segment.size += len(data)
        segment.left += len(entries)
        segment.last_seq = self._next_seq - 1
        self.bytes += len(data)
        self.pending += len(entries)

    def _begin(self) -> tuple[Segment, int]:
        segment = Segment(self.directory / f"{self._next_number:012d}.segment")
        self._next_number += 1
        self._active = segment, self._disk.create(segment.path)
        self._segments.append(segment)
        return self._active

    def _take_back(self, segment: Segment, fd: int) -> None:
        """After a failed write or sync: nothing more goes to this file, for what the disk has of it is not known."""
        self._active = None
        try:
            self._disk.truncate(fd, segment.size)
        except OSError as error:
            log.error("spool_cut_failed", segment=segment.path.name, errno=error.errno)
        os.close(fd)
        if not segment.size:
            self._drop(segment)

    def read(self, max_records: int, max_bytes: int) -> list[Spooled]:
        """The oldest records that are not acknowledged, at least one if there is any. Raises OSError."""
        while self._segments:
            segment = self._segments[0]
            records = self._read_head(segment, max_records, max_bytes)
            if records:
                self.oldest_ms = records[0].accepted_ms
                return records
            # Only damage is left of it.
            self._record_position(max(segment.last_seq, self._position.acknowledged))
            self._drop(segment)
        return []

    def _read_head(self, segment: Segment, max_records: int, max_bytes: int) -> list[Spooled]:
        rest = segment.size - segment.head
        if rest <= 0:
            return []
        with segment.path.open("rb") as file:
            file.seek(segment.head)
            data = file.read(min(max_bytes, rest))
            if len(data) < announced_size(data) <= rest:
                data += file.read(announced_size(data) - len(data))
            if not any(not isinstance(f, Damage) for f in scan(data, self._position.acknowledged)):
                data += file.read(rest - len(data))
        records: list[Spooled] = []
        self._read.clear()
        for found in scan(data, self._position.acknowledged):
            if not isinstance(found, Damage):
                records.append(found[0])
                self._read.append((found[0].seq, segment.head + found[1]))
                if len(records) == max_records:
                    break
            elif found.end < len(data) or len(data) == rest:
                self._tell_damage(segment, found)
        return records

    def _tell_damage(self, segment: Segment, damage: Damage) -> None:
        start, end = segment.head + damage.start, segment.head + damage.end
        if start < segment.damaged_to:
            return
        segment.damaged_to = end
        self.damaged += 1
        log.error(
            "spool_damaged",
            segment=segment.path.name,
            start=start,
            end=end,
            remedy="the disk changed what was written; the records around are kept, and so is the file, as .damaged",
        )

    def acknowledge(self, seq: int) -> None:
        """Forget what was read up to `seq`: the broker has it."""
        self._record_position(seq)
        segment = self._segments[0]
        while self._read and self._read[0][0] <= seq:
            segment.head = self._read.popleft()[1]
            segment.left -= 1
            self.pending -= 1
        if segment.last_seq <= seq:
            self._drop(segment)
        if not self.pending:
            self.oldest_ms = None

    def set_aside(self, spooled: Spooled) -> None:
        """Keep a record that the broker refuses for good, out of the way. Raises OSError."""
        path = self.directory / f"{spooled.seq:020d}.refused"
        path.unlink(missing_ok=True)
        fd = self._disk.create(path)
        try:
            self._disk.write(fd, encode(spooled))
            self._disk.sync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of the files."""
        if self._active is not None:
            os.close(self._active[1])
            self._active = None
        self._position.close()

    def _record_position(self, seq: int) -> None:
        try:
            self._position.write(seq)
        except OSError as error:
            # After a crash some records would go to the broker again, with the same message ids.
            log.error("spool_position_failed", errno=error.errno)

    def _drop(self, segment: Segment) -> None:
        if self._active is not None and self._active[0] is segment:
            os.close(self._active[1])
            self._active = None
        if self._segments[0] is segment:
            self._read.clear()
        self._segments.remove(segment)
        self.bytes -= segment.size
        self.pending -= segment.left
        if segment.damaged_to:
            segment.path.rename(segment.path.with_suffix(".damaged"))
        else:
            self._disk.remove(segment.path)
