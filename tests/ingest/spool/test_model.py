"""Random appends, acknowledgements, failures and crashes of a SpoolLog, held against lists.

What was acknowledged to a device and not damaged on the disk comes out, per key in its order, and nothing that was
never put in. A crash of the machine keeps of each file what was synced and any part of the rest, and may bring back
files that were removed.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loom_ingest.producer import Record
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.log import SpoolLog
from loom_ingest.spool.record import Damage, Spooled, scan

SEGMENT_BYTES = 600


class CrashingDisk(Disk):
    """Remembers what is durable of each file, and what was removed since the names were last synced."""

    def __init__(self) -> None:
        self.durable: dict[str, int] = {}
        self.removed: dict[Path, bytes] = {}
        self.fail_write: int | None = None
        self.fail_sync = False
        self.fail_truncate = False

    def write(self, fd: int, data: bytes) -> None:
        if self.fail_write is not None:
            super().write(fd, data[: self.fail_write])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        if self.fail_sync:
            raise OSError(errno.EIO, "Input/output error")
        self.durable[name_of(fd)] = os.fstat(fd).st_size

    def truncate(self, fd: int, size: int) -> None:
        if self.fail_truncate:
            raise OSError(errno.EIO, "Input/output error")
        os.ftruncate(fd, size)
        self.durable[name_of(fd)] = size

    def remove(self, path: Path) -> None:
        if path.exists():
            self.removed[path] = path.read_bytes()
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self.removed.clear()


def name_of(fd: int) -> str:
    return Path(f"/proc/self/fd/{fd}").readlink().name


class SpoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="loom-spool-"))
        self.disk = CrashingDisk()
        self.count = 0
        self.acknowledged: list[Record] = []
        self.excused: set[bytes] = set()
        self.disturbed = False
        self.put_in: dict[bytes, Record] = {}
        self.delivered: list[Record] = []

    @initialize()
    def begin(self) -> None:
        self.log = SpoolLog(self.root, SEGMENT_BYTES, self.disk)
        self.batch: list[Spooled] = []

    def entries(self, keys: list[int]) -> list[tuple[int, Record]]:
        made = []
        for key in keys:
            self.count += 1
            value = b"%d" % self.count + b"." * (self.count * 37 % 150)
            record = Record("topic", b"key-%d" % key, value, [("traceparent", b"00-1")])
            self.put_in[value] = record
            made.append((self.count, record))
        return made

    @rule(keys=st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def append(self, keys: list[int]) -> None:
        entries = self.entries(keys)
        self.log.append(entries)
        self.acknowledged += [record for _, record in entries]

    @rule(keys=st.lists(st.integers(0, 2), min_size=1, max_size=4), written=st.integers(0, 400), cut=st.booleans())
    def append_to_a_full_disk(self, keys: list[int], written: int, cut: bool) -> None:
        self.disk.fail_write, self.disk.fail_truncate = written, not cut
        self.disturbed |= not cut
        self.append_in_vain(keys)

    @rule(keys=st.lists(st.integers(0, 2), min_size=1, max_size=4), cut=st.booleans())
    def append_to_a_failing_disk(self, keys: list[int], cut: bool) -> None:
        self.disk.fail_sync, self.disk.fail_truncate = True, not cut
        self.disturbed |= not cut
        self.append_in_vain(keys)

    def append_in_vain(self, keys: list[int]) -> None:
        pending = self.log.pending
        try:
            self.log.append(self.entries(keys))
        except OSError:
            pass
        else:
            raise AssertionError("it was taken")
        finally:
            self.disk.fail_write, self.disk.fail_sync, self.disk.fail_truncate = None, False, False
        assert self.log.pending == pending

    @rule(take=st.integers(1, 8), size=st.integers(1, 800))
    def read(self, take: int, size: int) -> None:
        """The broker gets up to `take` records."""
        self.batch = self.log.read(take, size)
        assert bool(self.batch) == bool(self.log.pending)
        self.delivered += [spooled.record for spooled in self.batch]

    @rule(note=st.integers(1, 8))
    def acknowledge(self, note: int) -> None:
        """The spool is told of the first `note` of them."""
        if noted := self.batch[:note]:
            self.log.acknowledge(noted[-1].seq)
        self.batch = self.batch[note:]

    @rule()
    def kill(self) -> None:
        self.log.close()
        self.begin()

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.log.close()
        for path, content in self.disk.removed.items():
            if data.draw(st.booleans()):
                path.write_bytes(content)
                self.disk.durable[path.name] = len(content)
        for path in self.root.glob("*.segment"):
            size, durable = path.stat().st_size, self.disk.durable.get(path.name, 0)
            if size > durable:
                with path.open("r+b") as file:
                    file.truncate(data.draw(st.integers(durable, size)))
        self.disk.removed.clear()
        self.begin()

    @rule(junk=st.binary(min_size=1, max_size=80).filter(lambda junk: b"\x01" not in junk))
    def torn_tail(self, junk: bytes) -> None:
        self.log.close()
        if segments := sorted(self.root.glob("*.segment")):
            with segments[-1].open("ab") as file:
                file.write(junk)
        self.begin()

    @precondition(lambda self: any(self.root.glob("*.segment")))
    @rule(data=st.data(), bit=st.integers(0, 7), restart=st.booleans())
    def flip(self, data: st.DataObject, bit: int, restart: bool) -> None:
        path = data.draw(st.sampled_from(sorted(self.root.glob("*.segment"))))
        content = bytearray(path.read_bytes())
        if not content:
            return
        at = data.draw(st.integers(0, len(content) - 1))
        begin = 0
        for found in scan(bytes(content)):
            end = found.end if isinstance(found, Damage) else found[1]
            if begin <= at < end and not isinstance(found, Damage):
                self.excused.add(found[0].record.value)
            begin = end
        self.disturbed = True
        content[at] ^= 1 << bit
        with path.open("r+b") as file:
            file.write(content)
        if restart:
            self.kill()

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "log"):
            assert self.log.pending >= 0
            assert self.log.bytes >= 0
            assert (self.log.oldest_ms is None) <= (self.log.pending == 0)
            assert self.disturbed or not self.log.damaged

    def teardown(self) -> None:
        try:
            if hasattr(self, "log"):
                self.check()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def check(self) -> None:
        self.kill()
        while batch := self.log.read(100, 10_000):
            self.delivered += [spooled.record for spooled in batch]
            self.log.acknowledge(batch[-1].seq)
        assert (self.log.pending, self.log.bytes) == (0, 0)
        self.log.close()
        assert {path.suffix for path in self.root.iterdir()} <= {"", ".damaged"}
        assert all(self.put_in[record.value] == record for record in self.delivered)
        first_time = list({record.value: record for record in self.delivered}.values())
        must = {record.value for record in self.acknowledged} - self.excused
        assert must <= {record.value for record in first_time}
        for key in {record.key for record in self.acknowledged}:
            expected = [r.value for r in self.acknowledged if r.key == key and r.value in must]
            assert [r.value for r in first_time if r.key == key and r.value in must] == expected


def _steps(examples: int, steps: int) -> settings:
    checks: list[Any] = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = _steps(60, 25)
