"""The lock that keeps a removal from a body that a transaction is about to refer to.

Whoever stores a body holds its device's lock, shared, until the row that refers to it is committed. A removal holds it
alone: it sees every row there will be. One removal waits at a time, or two and two writers could wait in a ring.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from loom_platform.blobs.errors import BlobError

Connection = psycopg.Connection[Any]

_SHARED: Final = """
SELECT pg_advisory_xact_lock_shared(hashtext('loom-blobs'), hashtext(d)) FROM unnest(%s::text[]) d
"""
_SHARED_BY_SESSION: Final = """
SELECT pg_advisory_lock_shared(hashtext('loom-blobs'), hashtext(d)) FROM unnest(%s::text[]) d
"""
_REMOVAL: Final = "SELECT pg_advisory_xact_lock(hashtext('loom-blobs-removal'))"
_ALONE: Final = "SELECT pg_advisory_xact_lock(hashtext('loom-blobs'), hashtext(%s))"
_WRITERS_WAIT_MS: Final = 200
_PATIENCE_SECONDS: Final = 60.0


class InTransactionError(BlobError):
    """A removal has its own transactions: the rows' removal must be committed before a body goes."""


def share(connection: Connection, devices: Iterable[str], *, session: bool = False) -> None:
    """Keep removals from the bodies of `devices` until the transaction ends; with `session`, the connection."""
    if not session and connection.info.transaction_status == TransactionStatus.IDLE:
        raise BlobError("bodies are stored within the transaction that writes their rows: begin it first")
    connection.execute(_SHARED_BY_SESSION if session else _SHARED, (sorted(set(devices)),))


def take_alone(connection: Connection, device_id: str) -> None:
    """Wait for those who store bodies of `device_id`, and keep them out until the caller's transaction ends."""
    connection.execute(_REMOVAL)
    connection.execute(_ALONE, (device_id,))


@contextmanager
def alone(connection: Connection, device_id: str) -> Iterator[None]:
    """A transaction that nobody stores bodies of `device_id` beside.

    It waits in short turns: a writer that comes meanwhile is held up for 200 ms at most. Raises InTransactionError, and
    LockNotAvailable after a minute.
    """
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise InTransactionError("bodies are removed after their rows: commit that transaction first")
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with connection.transaction():
            # An older snapshot than the lock would not see the last writer's row.
            connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            connection.execute(_REMOVAL)
            connection.execute(f"SET LOCAL lock_timeout = {_WRITERS_WAIT_MS}")
            try:
                with connection.transaction():
                    connection.execute(_ALONE, (device_id,))
            except pg.LockNotAvailable:
                if time.monotonic() > until:
                    raise
            else:
                yield
                return
        time.sleep(_WRITERS_WAIT_MS / 1000)
