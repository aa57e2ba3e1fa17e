"""What the ingest service keeps on this machine: records that wait for the broker, and the file of retries.

The spool is the running service's own, so records in it are not removed from here: the service is told, and drops
them as it drains. What it put aside for a person is nobody's, and is removed.
"""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg

from loom_ingest.errors import SettingsError as IngestSettingsError
from loom_ingest.retries import ENTRY, FILE
from loom_ingest.settings import load_settings as load_ingest
from loom_ingest.spool.erased import Tombstone, write
from loom_ingest.spool.log import POSITION
from loom_ingest.spool.record import Damage, Spooled, scan
from loom_platform.erasure import ledger
from loom_platform.erasure.errors import ErasureError
from loom_platform.erasure.rows import RETRIES
from loom_platform.erasure.scope import Erasure
from loom_platform.settings import Settings

Connection = psycopg.Connection[Any]
_EMPTY: Final = bytes(ENTRY.size)


def directory(settings: Settings) -> Path | None:
    """Where the spool of this installation is; None when there is none on this machine."""
    try:
        named = load_ingest().spool_dir
    except IngestSettingsError:
        named = None
    root = named or settings.data_dir / "spool"
    return root if root.is_dir() else None


def tell(connection: Connection, root: Path | None) -> None:
    """Have the service heed every erasure of the ledger; raises ErasureError where it cannot be told."""
    if root is None:
        return
    try:
        write(root, [_tombstone(e) for e in ledger.all_erasures(connection)])
    except OSError as error:
        raise ErasureError(
            f"LOOM_SPOOL_DIR={root} cannot be written to ({error.strerror}): run this as the ingest service's user, "
            "or as root"
        ) from error


def erase_aside(erasure: Erasure, root: Path | None) -> int:
    """Remove what lies beside the spool: records that the broker refused, segments that the disk had changed.

    Of a damaged segment nothing but the damage is still needed: it goes if a record of the scope is in it, or the name
    of a device. How many files went.
    """
    gone = 0
    for path in _files(root, (".refused", ".damaged")):
        data = path.read_bytes()
        found = _records(data)
        named = any(d.encode() in data for d in erasure.scope.devices) or (path.suffix == ".damaged" and not found)
        if any(_tombstone(erasure).covers(s) for s in found) or (named and path.suffix == ".damaged"):
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def waiting(erasure: Erasure, root: Path | None) -> int:
    """How many records of the scope are in the spool still, which the drain will drop."""
    tombstone, held = _tombstone(erasure), 0
    for path in _files(root, (".segment",)):
        try:
            held += sum(1 for s in _records(path.read_bytes()) if tombstone.covers(s))
        except FileNotFoundError:
            continue  # it was drained
    return held


def know_retries(connection: Connection, root: Path | None) -> None:
    """The messages that the file of retries knows, into a temporary table that the deletion of rows looks into."""
    connection.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {RETRIES} (message_id uuid PRIMARY KEY)")
    connection.execute(f"TRUNCATE {RETRIES}")
    found = {str(UUID(bytes=name)) for _, name, _ in _entries(root)}
    connection.execute(f"INSERT INTO {RETRIES} SELECT unnest(%s::uuid[])", (list(found),))
    connection.execute(f"ANALYZE {RETRIES}")


def forget_retries(connection: Connection, erasure: Erasure, root: Path | None) -> int:
    """Take the erased messages out of the file of retries; how many. Each entry has a check of its own, so a service
    that writes beside this loses nothing but that one.
    """
    wanted = {UUID(name).bytes for name in ledger.noted(connection, erasure, "retry")}
    path = None if root is None else root / FILE
    gone = 0
    if wanted and path is not None and path.exists():
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            for offset, name, _ in _entries(root):
                if name in wanted and mapped[offset : offset + len(name)] == name:
                    mapped[offset : offset + ENTRY.size] = _EMPTY
                    gone += 1
            mapped.flush()
    with connection.transaction():
        ledger.add(connection, erasure, "retries", gone)
        ledger.done(connection, erasure, "retry")
    return gone


def _entries(root: Path | None) -> Iterator[tuple[int, bytes, int]]:
    path = None if root is None else root / FILE
    if path is None or not path.exists():
        return
    data = path.read_bytes()
    for offset in range(0, len(data) - ENTRY.size + 1, ENTRY.size):
        name, microseconds, _ = ENTRY.unpack_from(data, offset)
        if microseconds:
            yield offset, name, microseconds


def _files(root: Path | None, suffixes: tuple[str, ...]) -> Iterable[Path]:
    if root is None:
        return []
    return [p for p in sorted(root.glob("*/*")) if p.suffix in suffixes and p.name != POSITION]


def _records(data: bytes) -> list[Spooled]:
    return [found[0] for found in scan(data) if not isinstance(found, Damage)]


def _tombstone(erasure: Erasure) -> Tombstone:
    scope = erasure.scope
    return Tombstone(
        scope.devices,
        None if scope.since is None else int(scope.since.timestamp() * 1_000_000),
        None if scope.until is None else int(scope.until.timestamp() * 1_000_000),
        int(erasure.asked_at.timestamp() * 1000),
    )
