"""What the person had erased while it waited in the spool: the drain drops it instead of giving it to the broker.

`loom erase` writes `erasures.json` below LOOM_SPOOL_DIR, whole and in one step: a list of objects with `devices` (none:
all), `since`, `until` (event times as Unix microseconds, or null) and `asked_ms`. A service whose spool lies on another
machine never sees it; then the stages drop the record.
"""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from loom_ingest.spool.record import Spooled

FILE: Final = "erasures.json"
_TIME: Final = re.compile(rb'"timestamp"\s*:\s*"([^"]{1,64})"')


class Tombstone(NamedTuple):
    """One erasure: its devices (none: all), event times in Unix microseconds, and when it was asked for."""

    devices: tuple[str, ...]
    since: int | None
    until: int | None
    asked_ms: int

    def covers(self, spooled: Spooled) -> bool:
        """Whether the record is part of it. One whose time cannot be read counts by its acceptance."""
        if spooled.accepted_ms > self.asked_ms:
            return False
        if self.devices and spooled.record.key.decode(errors="replace") not in self.devices:
            return False
        if self.since is None and self.until is None:
            return True
        moment = event_time(spooled)
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


class Tombstones:
    """The erasures in the file, read again when it has changed."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._seen: tuple[int, int] | None = None
        self._known: tuple[Tombstone, ...] = ()

    def now(self) -> tuple[Tombstone, ...]:
        """Those that are to be heeded; a file that cannot be read has none."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        if (found.st_mtime_ns, found.st_ino) != self._seen:
            self._known = read(self._path)
            self._seen = found.st_mtime_ns, found.st_ino
        return self._known


def covered(tombstones: tuple[Tombstone, ...], spooled: Spooled) -> bool:
    """Whether the record was erased."""
    return any(tombstone.covers(spooled) for tombstone in tombstones)


def read(path: Path) -> tuple[Tombstone, ...]:
    """What was written last; nothing when there is no file, or it cannot be used."""
    try:
        items = json.loads(path.read_bytes())
        return tuple(Tombstone(tuple(i["devices"]), i["since"], i["until"], int(i["asked_ms"])) for i in items)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def write(root: Path, tombstones: list[Tombstone]) -> None:
    """Put `tombstones` in place of what was there, in one step; raises OSError."""
    building = root / f".{FILE}.{os.getpid()}"
    descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    items: list[dict[str, Any]] = [{**t._asdict(), "devices": list(t.devices)} for t in tombstones]
    with os.fdopen(descriptor, "w") as file:
        json.dump(items, file)
        file.flush()
        os.fsync(file.fileno())
    owner = root.stat()
    if (os.geteuid(), os.getegid()) != (owner.st_uid, owner.st_gid):
        # by an administrator: the service must be able to read it
        os.chown(building, owner.st_uid, owner.st_gid)
    building.replace(root / FILE)


def event_time(spooled: Spooled) -> int:
    """When the record was sensed, in Unix microseconds."""
    accepted = spooled.accepted_ms * 1000
    found = _TIME.search(spooled.record.value)
    if found is None:
        return accepted
    try:
        told = datetime.fromisoformat(found[1].decode())
    except ValueError:
        return accepted
    return int((told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp() * 1_000_000)
