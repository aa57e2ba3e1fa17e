"""Bodies that no row refers to: what a killed stage, removal or import left, and days that were dropped whole."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from loom_platform.blobs.objects import Objects
from loom_platform.blobs.references import parsed
from loom_platform.blobs.removal import by_device, no_point, remove_unreferenced, unreferenced

Connection = psycopg.Connection[Any]

FRESH: Final = timedelta(hours=1)
"""So long an import may take from a body to its row."""


@dataclass(slots=True)
class Swept:
    """What a sweep found: all bodies, those without a row and their stored bytes, files half written, and objects that
    are none of Loom's, which it leaves alone.
    """

    seen: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    leftovers: int = 0
    strangers: int = 0


def silent(_: Swept) -> None:
    """No progress."""


def sweep(
    objects: Objects,
    connection: Connection,
    *,
    older_than: timedelta = FRESH,
    dry_run: bool = False,
    progress: Callable[[Swept], None] = silent,
    on_point: Callable[[str], None] = no_point,
) -> Swept:
    """As Blobs.sweep. A body that gets a row meanwhile stays: each is asked for again, alone, before it goes."""
    found = Swept()
    before = datetime.now(UTC) - older_than
    for listed in objects.list():
        sizes = {each.key: each.size_bytes for each in listed if each.written_at < before}
        found.seen += len(listed)
        found.strangers += sum(1 for each in listed if parsed(each.key) is None)
        for device, some in by_device(sizes):
            free = unreferenced(connection, device, [r.ref for r in some])
            if free and not dry_run:
                kept = remove_unreferenced(objects, connection, free, on_point, written_before=before).kept
                if kept:
                    free = [ref for ref in free if objects.find(ref) is None]
            found.orphans += len(free)
            found.orphan_bytes += sum(sizes[ref] for ref in free)
        progress(found)
    for left in objects.leftovers():
        if left.written_at < before:
            found.leftovers += 1
            found.orphan_bytes += left.size_bytes
            if not dry_run:
                objects.delete([left.key])
    progress(found)
    return found
