"""Which device each foreign client's identity is, in PostgreSQL. A person's change writes its row of the audit log."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import class_row, tuple_row

from loom_ingest.access.audit import Entry, append

Connection = psycopg.AsyncConnection[Any]
Key = tuple[str, str]
"""A client, and what calls itself so to its endpoint."""

_COLUMNS: Final = "client, identity, device_id, linked_at, seen_device_id, first_seen_at, last_seen_at"
_LINKS: Final = "SELECT client, identity, device_id FROM client_identities WHERE device_id IS NOT NULL"
_ALL: Final = f"SELECT {_COLUMNS} FROM client_identities ORDER BY last_seen_at DESC NULLS LAST, client, identity"
_LINK: Final = f"""
INSERT INTO client_identities AS i (client, identity, device_id, linked_at)
VALUES (%(client)s, %(identity)s, %(device_id)s, now())
ON CONFLICT (client, identity) DO UPDATE SET device_id = EXCLUDED.device_id, linked_at = now()
RETURNING {_COLUMNS}
"""
_UNLINK: Final = f"""
UPDATE client_identities SET device_id = NULL, linked_at = NULL
WHERE client = %(client)s AND identity = %(identity)s AND device_id IS NOT NULL
RETURNING {_COLUMNS}
"""
# In the order of the key, so that two writers never wait for each other in a circle.
_SEEN: Final = """
INSERT INTO client_identities AS i (client, identity, seen_device_id, first_seen_at, last_seen_at)
SELECT * FROM unnest(%(clients)s::text[], %(identities)s::text[], %(devices)s::text[], %(firsts)s::timestamptz[],
                     %(lasts)s::timestamptz[]) AS s (client, identity, device_id, first_at, last_at)
ORDER BY 1, 2
ON CONFLICT (client, identity) DO UPDATE SET
    seen_device_id = EXCLUDED.seen_device_id,
    first_seen_at = least(i.first_seen_at, EXCLUDED.first_seen_at),
    last_seen_at = greatest(i.last_seen_at, EXCLUDED.last_seen_at)
"""


class Seen(NamedTuple):
    """An identity that was seen since this was last written down, and the device that it was taken for."""

    client: str
    identity: str
    device_id: str
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """An identity: the device that the person linked it to, and the one that it was last taken for."""

    client: str
    identity: str
    device_id: str | None
    linked_at: datetime | None
    seen_device_id: str | None
    first_seen_at: datetime | None
    last_seen_at: datetime | None


async def all_links(connection: Connection) -> dict[Key, str]:
    """The devices that a person linked identities to."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_LINKS)
        return {(client, identity): device_id for client, identity, device_id in await cursor.fetchall()}


async def all_identities(connection: Connection) -> list[IdentityRow]:
    """Every identity that was seen or linked, those seen last first."""
    async with connection.cursor(row_factory=class_row(IdentityRow)) as cursor:
        await cursor.execute(_ALL)
        return await cursor.fetchall()


async def record(connection: Connection, seen: Iterable[Seen]) -> None:
    """Write down what was seen."""
    columns = list(zip(*seen, strict=True))
    names = ("clients", "identities", "devices", "firsts", "lasts")
    await connection.execute(_SEEN, {name: list(column) for name, column in zip(names, columns, strict=True)})


async def link(connection: Connection, actor: str, client: str, identity: str, device_id: str) -> IdentityRow:
    """The identity, which is `device_id` from now on."""
    entry = Entry(actor, "identity.link", device_id, details={"client": client, "identity": identity})
    values = {"client": client, "identity": identity, "device_id": device_id}
    (row,) = await _change(connection, _LINK, values, entry)
    return row


async def unlink(connection: Connection, actor: str, client: str, identity: str) -> IdentityRow | None:
    """The identity, now without its link; None when it had none."""
    entry = Entry(actor, "identity.unlink", identity, details={"client": client})
    rows = await _change(connection, _UNLINK, {"client": client, "identity": identity}, entry)
    return rows[0] if rows else None


async def _change(connection: Connection, query: str, values: dict[str, str], entry: Entry) -> list[IdentityRow]:
    async with connection.transaction():
        async with connection.cursor(row_factory=class_row(IdentityRow)) as cursor:
            await cursor.execute(query.encode(), values)
            rows = await cursor.fetchall()
        if rows:
            await append(connection, entry)
    return rows
