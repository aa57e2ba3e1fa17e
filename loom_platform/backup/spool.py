"""What the ingest service's spool holds: records that were acknowledged to a client and that no broker has yet."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loom_ingest.retries import FILE as RETRIES
from loom_ingest.spool.log import POSITION
from loom_ingest.spool.position import acknowledged_up_to
from loom_ingest.spool.record import Damage, scan
from loom_platform.backup.records import Kept

RECORDS: Final = "records.parquet"
# What the broker refuses for good, and segments with a damaged place: nobody reads them again, a person may look.
_ASIDE: Final = (".refused", ".damaged")


def spooled(directory: Path) -> Iterator[Kept]:
    """Every record of the spool, each worker's in order. It may be written to and drained meanwhile."""
    for slot in _slots(directory):
        # Before the segments: what is drained meanwhile is taken twice rather than not at all.
        acknowledged = acknowledged_up_to(slot / POSITION)
        seen = 0
        for segment in sorted(slot.glob("*.segment")):
            try:
                data = segment.read_bytes()
            except FileNotFoundError:  # the broker has all of it now
                continue
            for found in scan(data, seen):
                if isinstance(found, Damage):
                    continue
                seq, accepted_ms, record = found[0]
                seen = seq
                if seq > acknowledged:
                    yield Kept(record.topic, None, None, accepted_ms, record.key, record.value, record.headers)


def copy_out(directory: Path, target: Path) -> None:
    """What is not in records: the times given to messages, without which a client's late retry is a second row."""
    target.mkdir(mode=0o700, exist_ok=True)
    for name, path in _others(directory):
        place = target / name
        place.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(path, place)


def copy_in(source: Path, directory: Path) -> None:
    """The same into an installation's spool, where there is no such file yet."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, path in _others(source):
        place = directory / name
        if not place.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(path, place)
            place.chmod(0o600)


def _slots(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if path.name.isdecimal() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name))


def _others(directory: Path) -> Iterator[tuple[str, Path]]:
    if (directory / RETRIES).exists():
        yield RETRIES, directory / RETRIES
    for slot in _slots(directory):
        for path in sorted(slot.iterdir()):
            if path.suffix in _ASIDE:
                yield f"{slot.name}/{path.name}", path
