"""Bodies go when the last row that refers to them is gone. Rows are asked, not counted: a count could drift."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_platform.blobs import locks
from loom_platform.blobs.objects import Objects
from loom_platform.blobs.references import Reference, parsed

Connection = psycopg.Connection[Any]

_AT_ONCE: Final = 200
"""Bodies removed under one lock: those who store wait for no more."""
_TAKEN: Final = 10_000
_REFERRING: Final = """
SELECT c.relname, a.attname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname LIKE '%\\_ref' AND a.atttypid = 'text'::regtype
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND EXISTS (SELECT FROM pg_attribute s WHERE s.attrelid = c.oid
              AND s.attname = regexp_replace(a.attname, '_ref$', '_sha256'))
ORDER BY 1, 2
"""
"""Asked of the database, so that a body of a table that this version does not know is never taken for an orphan."""


@dataclass(slots=True)
class Removed:
    """What a removal did: bodies removed, and bodies that other rows still refer to."""

    removed: int = 0
    kept: int = 0


def no_point(_: str) -> None:
    """The default of `on_point`: do nothing."""


def referring(connection: Connection) -> list[tuple[str, str]]:
    """Table and column of every reference there can be."""
    return [(table, column) for table, column in connection.execute(_REFERRING).fetchall()]


def remove_unreferenced(
    objects: Objects,
    connection: Connection,
    refs: Iterable[str],
    on_point: Callable[[str], None] = no_point,
    *,
    written_before: datetime | None = None,
) -> Removed:
    """As Blobs.remove_unreferenced; with `written_before`, only bodies that were not stored since.

    `on_point` is called with `locked`, `asked` and `removed` for each few bodies.
    """
    done = Removed()
    for device, some in by_device(refs):
        with locks.alone(connection, device):
            on_point("locked")
            free = unreferenced(connection, device, [r.ref for r in some])
            if written_before is not None:
                free = [ref for ref in free if (it := objects.find(ref)) and it.written_at < written_before]
            on_point("asked")
            objects.delete(free)
            on_point("removed")
        done.removed += len(free)
        done.kept += len(some) - len(free)
    return done


def unreferenced(connection: Connection, device_id: str, refs: list[str]) -> list[str]:
    """Those of a device's `refs` that no row has; "" is the device of references that are older than the keys."""
    tables = referring(connection)
    if not tables:
        return refs
    # A row's body is its own device's, which is how compressed days are found.
    own = sql.SQL(" AND t.device_id = {}").format(sql.Literal(device_id)) if device_id else sql.SQL("")
    query = sql.SQL("SELECT r FROM unnest({}::text[]) AS r WHERE {}").format(
        sql.Placeholder(),
        sql.SQL(" AND ").join(
            sql.SQL("NOT EXISTS (SELECT FROM {} AS t WHERE t.{} = r{})").format(
                sql.Identifier(table), sql.Identifier(column), own
            )
            for table, column in tables
        ),
    )
    return [ref for (ref,) in connection.execute(query, (refs,)).fetchall()]


def by_device(refs: Iterable[str]) -> Iterator[tuple[str, list[Reference]]]:
    """The references that Loom gives, each once, a few of one device at a time; older ones are of the device ""."""
    waiting = iter(refs)
    while taken := list(islice(waiting, _TAKEN)):
        known = {r.ref: r for ref in taken if (r := parsed(ref)) is not None}
        ordered = sorted(known.values(), key=lambda r: (r.device_id or "", r.ref))
        for device, own in groupby(ordered, key=lambda r: r.device_id or ""):
            while some := list(islice(own, _AT_ONCE)):
                yield device, some
