"""The ledger again: after a restore or an import, what was erased once and has come back is erased once more."""

from typing import Any

import psycopg

from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.blobs import Blobs
from loom_platform.erasure import border, ledger, others, rows, spool
from loom_platform.erasure.rows import Progress


def reapply(
    connection: psycopg.Connection[Any],
    *,
    blobs: Blobs | None = None,
    progress: Progress = lambda _what, _count: None,
) -> int:
    """Apply every erasure of the ledger to what the tables hold now; how many rows went.

    `connection` is the owner's, in autocommit mode: each piece commits by itself, so this may be killed and run again.
    `blobs` is the object store that the rows' bodies are in; without it the bodies are left to the sweep.
    """
    gone = 0
    for erasure in ledger.all_erasures(connection):
        if erasure.cleared_at is None:
            continue  # it was broken off: `loom erase` finishes it
        before = dict(erasure.counts)
        spool.know_retries(connection, None)
        border.find(connection, erasure)
        for topic in LANDED:
            rows.erase_landed(connection, erasure, topic, progress, _no_point)
        for topic in DERIVED:
            rows.erase_derived(connection, erasure, topic, progress, _no_point)
        border.remove(connection, erasure)
        others.erase_at_once(connection, erasure)
        others.erase_others(connection, erasure)
        others.erase_places(connection, erasure, progress)
        refs = list(ledger.noted(connection, erasure, "body"))
        if blobs is not None and refs:
            blobs.remove_unreferenced(connection, refs)
        after = ledger.again(connection, erasure).counts
        gone += sum(after.values()) - sum(before.values())
        connection.execute("DELETE FROM erasure_work WHERE erasure_id = %s", (erasure.id,))
    return gone


def _no_point(_: str) -> None:
    return
