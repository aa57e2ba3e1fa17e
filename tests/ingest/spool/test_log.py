"""The log on disk: what is there after a restart."""

import errno
from pathlib import Path

import pytest

from loom_ingest.producer import Record
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.log import POSITION, SpoolLog
from loom_ingest.spool.spool import READ_BYTES


def opened(root: Path, segment_bytes: int = 10_000) -> SpoolLog:
    return SpoolLog(root, segment_bytes, Disk())


def entry(number: int, size: int = 0) -> tuple[int, Record]:
    return number, Record("t", b"k", b"%d" % number + b"." * size, [])


def numbers(log: SpoolLog) -> list[int]:
    return [spooled.accepted_ms for spooled in log.read(1_000, READ_BYTES)]


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([entry(n) for n in range(10)])
    log.acknowledge(log.read(4, READ_BYTES)[-1].seq)
    log.close()
    again = opened(tmp_path)
    assert (again.pending, again.oldest_ms, numbers(again), again.damaged) == (6, 4, list(range(4, 10)), 0)
    again.append([entry(10)])
    again.acknowledge(again.read(100, READ_BYTES)[-1].seq)
    assert numbers(again) == [10]
    again.close()


def test_without_its_position_it_repeats_and_loses_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([entry(n) for n in range(10)])
    log.acknowledge(log.read(4, READ_BYTES)[-1].seq)
    log.close()
    (tmp_path / POSITION).unlink()
    again = opened(tmp_path)
    assert numbers(again) == list(range(10))
    again.close()


def test_a_torn_end_is_cut(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([entry(n) for n in range(3)])
    log.close()
    (segment,) = tmp_path.glob("*.segment")
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(segment.read_bytes()[:30])
    again = opened(tmp_path)
    assert segment.stat().st_size == size
    assert numbers(again) == [0, 1, 2]
    again.close()


def test_a_damaged_record_costs_itself_and_its_file_is_kept(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([entry(n, size=50) for n in range(5)])
    (segment,) = tmp_path.glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    with segment.open("r+b") as file:
        file.write(content)
    assert numbers(log) == [0, 1, 3, 4]
    assert numbers(log) == [0, 1, 3, 4]
    assert log.damaged == 1
    log.acknowledge(log.read(100, READ_BYTES)[-1].seq)
    assert (log.pending, log.bytes) == (0, 0)
    assert [path.suffix for path in tmp_path.iterdir() if path.name != POSITION] == [".damaged"]
    log.append([entry(9)])
    assert numbers(log) == [9]
    log.close()


def test_segments_go_one_by_one_and_large_records_are_read_whole(tmp_path: Path) -> None:
    log = opened(tmp_path)
    sizes = (100, READ_BYTES * 2, 100, 9_000, 9_000, 100)
    for number, size in enumerate(sizes):
        log.append([entry(number, size)])
    # One is left for the next when it is full, never in the middle of an append.
    assert len(list(tmp_path.glob("*.segment"))) == 3
    seen = []
    while batch := log.read(1_000, READ_BYTES):
        seen += batch
        log.acknowledge(batch[-1].seq)
    assert [(s.accepted_ms, len(s.record.value) - 1) for s in seen] == list(enumerate(sizes))
    assert not list(tmp_path.glob("*.segment"))
    log.close()


def test_only_its_owner_may_look(tmp_path: Path) -> None:
    log = opened(tmp_path / "spool")
    log.append([entry(1)])
    log.close()
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "spool").iterdir())


def test_a_failed_append_between_reading_and_acknowledging_changes_nothing(tmp_path: Path) -> None:
    class FailingDisk(Disk):
        failing = False

        def write(self, fd: int, data: bytes) -> None:
            if self.failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(fd, data)

    disk = FailingDisk()
    log = SpoolLog(tmp_path, 1, disk)
    log.append([entry(1), entry(2)])
    batch = log.read(1, READ_BYTES)
    disk.failing = True
    with pytest.raises(OSError, match="No space"):
        log.append([entry(3)])
    log.acknowledge(batch[-1].seq)
    assert (log.pending, numbers(log), log.damaged) == (1, [2], 0)
    log.close()
