"""The ledger: when an erasure begins, what it has done, and its end; each with its row of the audit log."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from loom_ingest.access.audit import FIRST, LOCK, Row, hash_of
from loom_platform.erasure.errors import ErasureError
from loom_platform.erasure.scope import Erasure, Scope

Connection = psycopg.Connection[Any]

_COLUMNS: Final = "id, devices, since, until, forget, asked_by, asked_at, cleared_at, finished_at, counts, proof"
_WAIT_SECONDS: Final = 120.0
# Batches that are being written end first; those that come wait no longer than this for them.
_PATIENCE: Final = "SET LOCAL lock_timeout = '3s'"
_GATE: Final = "SELECT pg_advisory_xact_lock(hashtext('loom-erasure'), 0)"
_BEGIN: Final = f"""
INSERT INTO erasures (devices, since, until, forget, asked_by, asked_at)
VALUES (%s, %s, %s, %s, %s, clock_timestamp()) RETURNING {_COLUMNS}
"""
_SAME: Final = f"""
SELECT {_COLUMNS} FROM erasures WHERE finished_at IS NULL AND devices = %s AND since IS NOT DISTINCT FROM %s
  AND until IS NOT DISTINCT FROM %s AND forget = %s ORDER BY asked_at LIMIT 1
"""
_ALL: Final = f"SELECT {_COLUMNS} FROM erasures ORDER BY asked_at"
_LAST_ROW: Final = "SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1"
_APPEND: Final = """
INSERT INTO audit_log (sequence, occurred_at, actor, action, subject, outcome, details, previous, hash)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_ADD: Final = """
UPDATE erasures SET counts = counts || jsonb_build_object(%(name)s::text,
    coalesce((counts ->> %(name)s)::bigint, 0) + %(count)s) WHERE id = %(id)s
"""
_WORK: Final = """
INSERT INTO erasure_work (erasure_id, kind, name, value) SELECT %s, %s, * FROM unnest(%s::text[], %s::jsonb[])
ON CONFLICT DO NOTHING
"""


def begin(
    connection: Connection, scope: Scope, asked_by: str, at_once: Callable[[Connection, Erasure], None]
) -> Erasure:
    """The erasure of `scope`: one that was broken off, or a new one, which from then on every stage heeds.

    `at_once` is called in the transaction that begins it, while no stage writes anything. Raises ErasureError when
    that moment does not come.
    """
    scope = Scope(tuple(sorted(set(scope.devices))), scope.since, scope.until, scope.forget)
    asked = (list(scope.devices), scope.since, scope.until, scope.forget)
    row = connection.execute(_SAME.encode(), asked).fetchone()
    if row is not None:
        return _erasure(row)
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(_PATIENCE)
                connection.execute(_GATE)
                erasure = _erasure(connection.execute(_BEGIN.encode(), (*asked, asked_by)).fetchone())
                at_once(connection, erasure)
                audit(connection, asked_by, "erasure.begin", str(erasure.id))
                return erasure
        except psycopg.errors.LockNotAvailable as error:
            if time.monotonic() > deadline:
                raise ErasureError(
                    f"a stage has been writing one batch for {_WAIT_SECONDS:g} s, so the erasure could not begin; "
                    "`loom lag` shows the stages; try again"
                ) from error
            time.sleep(0.2)


def all_erasures(connection: Connection) -> list[Erasure]:
    """Every erasure, the oldest first."""
    return [_erasure(row) for row in connection.execute(_ALL.encode()).fetchall()]


def find(connection: Connection, beginning: str) -> Erasure:
    """The erasure whose id begins so; raises ErasureError."""
    found = [e for e in all_erasures(connection) if str(e.id).startswith(beginning.lower())]
    if len(found) != 1:
        what = "no erasure" if not found else "more than one erasure"
        raise ErasureError(f"{beginning!r}: {what} has an id that begins so; `loom erase list` shows them")
    return found[0]


def again(connection: Connection, erasure: Erasure) -> Erasure:
    """The erasure as it is now."""
    return find(connection, str(erasure.id))


def clear(connection: Connection, erasure: Erasure) -> None:
    """Its last landed row is gone."""
    connection.execute("UPDATE erasures SET cleared_at = clock_timestamp() WHERE id = %s", (erasure.id,))


def add(connection: Connection, erasure: Erasure, name: str, count: int) -> None:
    """Count what was erased, in the transaction that does it."""
    if count:
        connection.execute(_ADD, {"name": name, "count": count, "id": erasure.id})


def note(connection: Connection, erasure: Erasure, kind: str, work: dict[str, Any]) -> None:
    """Write down what is still to be done; what is there already stays."""
    if work:
        values = [Jsonb(value) for value in work.values()]
        connection.execute(_WORK, (erasure.id, kind, list(work), values))


def noted(connection: Connection, erasure: Erasure, kind: str) -> dict[str, Any]:
    """What is still to be done of one kind."""
    query = "SELECT name, value FROM erasure_work WHERE erasure_id = %s AND kind = %s ORDER BY name"
    return dict(connection.execute(query, (erasure.id, kind)).fetchall())


def done(connection: Connection, erasure: Erasure, kind: str, names: Sequence[str] | None = None) -> None:
    """Of what is still to be done, these are done; all of the kind without names."""
    connection.execute(
        "DELETE FROM erasure_work WHERE erasure_id = %s AND kind = %s AND (%s::text[] IS NULL OR name = ANY(%s))",
        (erasure.id, kind, names, names),
    )


def finish(connection: Connection, erasure: Erasure, proof: dict[str, Any]) -> None:
    """Nothing of it is left; the proof."""
    with connection.transaction():
        connection.execute(
            "DELETE FROM erasure_work WHERE erasure_id = %s AND kind NOT IN ('again', 'day')", (erasure.id,)
        )
        query = "UPDATE erasures SET finished_at = clock_timestamp(), proof = %s WHERE id = %s"
        connection.execute(query, (Jsonb(proof), erasure.id))
        audit(connection, erasure.asked_by, "erasure.finish", str(erasure.id))


def amend(connection: Connection, erasure: Erasure, proof: dict[str, Any]) -> None:
    """Put a newer proof in place of the one that is there."""
    connection.execute("UPDATE erasures SET proof = %s WHERE id = %s", (Jsonb(proof), erasure.id))


def audit(connection: Connection, actor: str, action: str, subject: str) -> None:
    """Append to the audit log, in the caller's transaction: that it happened and its number, not what it was."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    last = connection.execute(_LAST_ROW).fetchone()
    sequence, previous = (1, FIRST) if last is None else (last[0] + 1, bytes(last[1]))
    row = Row(sequence, datetime.now(UTC), actor, action, subject, "done", "{}", previous, b"")
    connection.execute(_APPEND, (*_content(row), previous, hash_of(row)))


def _content(row: Row) -> tuple[Any, ...]:
    return row.sequence, row.occurred_at, row.actor, row.action, row.subject, row.outcome, row.details


def _erasure(row: Any) -> Erasure:
    identity, devices, since, until, forget, asked_by, asked_at, cleared_at, finished_at, counts, proof = row
    scope = Scope(tuple(devices), _utc(since), _utc(until), forget)
    return Erasure(UUID(str(identity)), scope, asked_by, asked_at, cleared_at, finished_at, counts, proof)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
