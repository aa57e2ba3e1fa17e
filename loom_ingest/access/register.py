"""The keys in PostgreSQL: made, replaced, revoked and listed; each change writes its row of the audit log with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from loom_ingest.access.audit import Entry, append
from loom_ingest.access.keys import NewKey, make_key
from loom_ingest.access.principal import Scope
from loom_ingest.errors import IngestError

Connection = psycopg.AsyncConnection[Any]

_COLUMNS: Final = "key_id, name, sha256, scopes, devices, created_at, expires_at, last_used_at, revoked_at, replaced_by"
_ALL: Final = f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, key_id"
_ONE: Final = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = %s FOR UPDATE"
_ADD: Final = f"""
INSERT INTO api_keys (key_id, name, sha256, scopes, devices, expires_at)
VALUES (%(key_id)s, %(name)s, %(sha256)s, %(scopes)s, %(devices)s, %(expires_at)s) RETURNING {_COLUMNS}
"""
_REPLACE: Final = f"""
UPDATE api_keys SET replaced_by = %(by)s, expires_at = least(expires_at, %(until)s) WHERE key_id = %(key_id)s
RETURNING {_COLUMNS}
"""
_REVOKE: Final = f"UPDATE api_keys SET revoked_at = now() WHERE key_id = %s RETURNING {_COLUMNS}"
# In the order of the key, so that two writers never wait for each other in a circle.
_USED: Final = """
WITH used AS (SELECT * FROM unnest(%(ids)s::text[], %(times)s::timestamptz[]) AS u (key_id, at)),
locked AS (SELECT key_id FROM api_keys JOIN used USING (key_id) ORDER BY key_id FOR UPDATE OF api_keys)
UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, used.at)
FROM used JOIN locked USING (key_id) WHERE k.key_id = used.key_id
"""


class KeyRefusedError(IngestError):
    """What was asked of a key cannot be done; the message says why, and what can."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as the database has it; its text is in nobody's hands but its bearer's."""

    key_id: str
    name: str
    sha256: bytes
    scopes: list[str]
    devices: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None

    def state(self, now: datetime) -> str:
        """`active`, `revoked`, `expired`, or `replaced`: it works until its end, and another has its place."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.replaced_by is None else "replaced"


async def all_keys(connection: Connection) -> list[KeyRow]:
    """Every key, the oldest first."""
    return await _rows(connection, _ALL, ())


async def create(
    connection: Connection,
    actor: str,
    *,
    name: str,
    scopes: Iterable[Scope],
    devices: Iterable[str] | None,
    expires_at: datetime | None,
) -> tuple[NewKey, KeyRow]:
    """Make a key; its text is in the answer and nowhere else."""
    async with connection.transaction():
        key, row = await _add(connection, name, sorted(scopes), _sorted(devices), expires_at)
        details = {"scopes": row.scopes, "devices": row.devices, "expires_at": _moment(row.expires_at)}
        await append(connection, Entry(actor, "key.create", row.key_id, details=details))
    return key, row


async def find(connection: Connection, key_id: str) -> KeyRow:
    """The key with this id, its row locked; raises KeyRefusedError."""
    rows = await _rows(connection, _ONE, (key_id,))
    if not rows:
        raise KeyRefusedError(f"there is no key {key_id!r}; `loom keys list` shows them")
    return rows[0]


async def rotate(
    connection: Connection, actor: str, key_id: str, *, overlap: timedelta, expires_at: datetime | None
) -> tuple[NewKey, KeyRow, KeyRow]:
    """Make a key with the same name, scopes and devices; the old one works until `overlap` has passed.

    Answers the new key, its row, and the old one's. Raises KeyRefusedError when it was revoked or replaced already.
    """
    now = datetime.now(UTC)
    async with connection.transaction():
        old = await find(connection, key_id)
        check_rotation(old)
        lifetime = None if old.expires_at is None else now + (old.expires_at - old.created_at)
        key, row = await _add(connection, old.name, old.scopes, old.devices, expires_at or lifetime)
        values = {"by": row.key_id, "until": now + overlap, "key_id": key_id}
        (old,) = await _rows(connection, _REPLACE, values)
        details = {
            "replaced_by": row.key_id,
            "old_expires_at": _moment(old.expires_at),
            "expires_at": _moment(row.expires_at),
        }
        await append(connection, Entry(actor, "key.rotate", key_id, details=details))
    return key, row, old


def check_rotation(old: KeyRow) -> None:
    """Return when `old` can be replaced; raises KeyRefusedError."""
    if old.revoked_at is not None:
        raise KeyRefusedError(f"key {old.key_id} is revoked; make another with `loom keys create`")
    if old.replaced_by is not None:
        raise KeyRefusedError(f"key {old.key_id} was replaced by {old.replaced_by} already; rotate that one")


async def revoke(connection: Connection, actor: str, key_id: str) -> tuple[KeyRow, bool]:
    """Revoke a key; answers it, and whether it was this call that did it. Raises KeyRefusedError."""
    async with connection.transaction():
        row = await find(connection, key_id)
        if row.revoked_at is not None:
            return row, False
        (row,) = await _rows(connection, _REVOKE, (key_id,))
        await append(connection, Entry(actor, "key.revoke", key_id))
    return row, True


async def record_uses(connection: Connection, uses: Mapping[str, datetime]) -> None:
    """Write down when keys were last used, by their id."""
    await connection.execute(_USED, {"ids": list(uses), "times": list(uses.values())})


async def _add(
    connection: Connection, name: str, scopes: list[str], devices: list[str] | None, expires_at: datetime | None
) -> tuple[NewKey, KeyRow]:
    key = make_key()
    values = {"name": name, "scopes": scopes, "devices": devices, "expires_at": expires_at}
    (row,) = await _rows(connection, _ADD, {"key_id": key.key_id, "sha256": key.sha256, **values})
    return key, row


async def _rows(connection: Connection, query: str, values: Any) -> list[KeyRow]:
    async with connection.cursor(row_factory=class_row(KeyRow)) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()


def _sorted(devices: Iterable[str] | None) -> list[str] | None:
    return None if devices is None else sorted(set(devices))


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
