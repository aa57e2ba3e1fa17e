"""The audit log: what was done to keys and devices, by whom, in rows of which each holds the hash of the one before.

A row's hash is the SHA-256 of the row before's hash and of its own content as a JSON array. Whoever changes, removes
or inserts a row would have to compute all later ones anew; cut off at the end, it is shorter than the head that
`loom audit verify` told before. Rows never hold keys, tokens or what devices sent.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Literal

import psycopg
from psycopg.rows import class_row

LOCK: Final = 0x4C6F_6F6D_0002
"""Advisory lock of whoever appends."""
FIRST: Final = bytes(32)
"""What stands for the hash before the first row."""
LONGEST_TEXT: Final = 200

Connection = psycopg.AsyncConnection[Any]
Outcome = Literal["done", "refused"]

_COLUMNS: Final = "sequence, occurred_at, actor, action, subject, outcome, details, previous, hash"
_APPEND: Final = f"INSERT INTO audit_log ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be written down: who (`key:ID`, `cli:USER`, `anyone`) did what to which key or device."""

    actor: str
    action: str
    subject: str
    outcome: Outcome = "done"
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the log; `details` is JSON text, exactly as it was hashed."""

    sequence: int
    occurred_at: datetime
    actor: str
    action: str
    subject: str
    outcome: str
    details: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found: how many rows hold, the hash of the last of them, and the first that does not."""

    rows: int
    head: bytes
    broken: int | None = None
    reason: str = ""


async def append(connection: Connection, entry: Entry) -> Row:
    """Write `entry` as the next row, in the caller's transaction or one of its own."""
    async with connection.transaction():
        # Held until the transaction ends: the next writer sees this row, and never the same predecessor.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        async with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            await cursor.execute("SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1")
            last = await cursor.fetchone()
        sequence, previous = (1, FIRST) if last is None else (last[0] + 1, bytes(last[1]))
        row = _row(sequence, previous, entry, datetime.now(UTC))
        values = (row.sequence, row.occurred_at, row.actor, row.action, row.subject, row.outcome, row.details)
        await connection.execute(_APPEND, (*values, row.previous, row.hash))
    return row


async def rows(connection: Connection, *, limit: int | None = None) -> AsyncGenerator[Row, None]:
    """The last `limit` rows or all of them, oldest first, without holding them all in memory."""
    query = f"SELECT {_COLUMNS} FROM audit_log ORDER BY sequence"
    if limit is not None:
        query = f"SELECT * FROM (SELECT {_COLUMNS} FROM audit_log ORDER BY sequence DESC LIMIT %s) AS l ORDER BY 1"
    async with connection.transaction(), connection.cursor("audit", row_factory=class_row(Row)) as cursor:
        await cursor.execute(query.encode(), None if limit is None else (limit,))
        async for row in cursor:
            yield row


async def verify(found: AsyncGenerator[Row, None], head: tuple[int, bytes] | None = None) -> Verdict:
    """Compute every hash of `found` again, oldest row first.

    With `head`, the sequence and hash of a row that was told earlier, that row must be there, with this hash.
    """
    count, previous = 0, FIRST
    async with aclosing(found):
        async for row in found:
            reason = _fault(row, count + 1, previous)
            if not reason and head is not None and row.sequence == head[0] and row.hash != head[1]:
                reason = "it has another hash than was told of it before"
            if reason:
                return Verdict(count, previous, count + 1, reason)
            count, previous = row.sequence, row.hash
    if head is not None and count < head[0]:
        return Verdict(count, previous, count + 1, f"the log ends with row {count}, and had {head[0]} before")
    return Verdict(count, previous)


def hash_of(row: Row) -> bytes:
    """The hash that `row` must have after the row whose hash is its `previous`."""
    moment = row.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    content = [row.sequence, moment, row.actor, row.action, row.subject, row.outcome, row.details]
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return sha256(row.previous + text.encode()).digest()


def _row(sequence: int, previous: bytes, entry: Entry, now: datetime) -> Row:
    details = json.dumps(dict(entry.details or {}), ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    actor, action, subject = _text(entry.actor), _text(entry.action), _text(entry.subject)
    row = Row(sequence, now, actor, action, subject, entry.outcome, details, previous, b"")
    return replace(row, hash=hash_of(row))


def _text(value: str) -> str:
    """`value` as PostgreSQL can keep it."""
    return value.encode("utf-8", "replace").decode().replace("\x00", "")[:LONGEST_TEXT]


def _fault(row: Row, sequence: int, previous: bytes) -> str:
    if row.sequence != sequence:
        return "it is missing"
    if row.previous != previous:
        return "it does not follow the row before it"
    if row.hash != hash_of(row):
        return "its content is not what was written"
    return ""
