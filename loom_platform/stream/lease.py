"""One live run owns a (stage, shard). The fence keeps the data right; the lease keeps two runs from racing for it."""

from datetime import timedelta
from typing import Any

import psycopg

from loom_platform.stream.errors import LeaseHeldError, LeaseLostError

# A lease can be taken when there is none, when it has run out, or when its owner's database session is gone, which
# is what a killed process leaves behind.
_ACQUIRE = """
INSERT INTO stream_leases AS l (stage, shard, holder, run_id, backend_pid, backend_start, expires_at)
SELECT %(stage)s, %(shard)s, %(holder)s, %(run_id)s, pid, backend_start, now() + %(duration)s
FROM pg_stat_activity WHERE pid = pg_backend_pid()
ON CONFLICT (stage, shard) DO UPDATE SET
    holder = EXCLUDED.holder, run_id = EXCLUDED.run_id, backend_pid = EXCLUDED.backend_pid,
    backend_start = EXCLUDED.backend_start, acquired_at = now(), expires_at = EXCLUDED.expires_at
WHERE l.holder = EXCLUDED.holder OR l.expires_at < now() OR NOT EXISTS (
    SELECT 1 FROM pg_stat_activity a WHERE a.pid = l.backend_pid AND a.backend_start = l.backend_start)
RETURNING holder
"""
_RENEW = """
UPDATE stream_leases SET expires_at = now() + %(duration)s
WHERE stage = %(stage)s AND shard = %(shard)s AND holder = %(holder)s
"""
_RELEASE = "DELETE FROM stream_leases WHERE stage = %(stage)s AND shard = %(shard)s AND holder = %(holder)s"
_HOLDER = "SELECT holder FROM stream_leases WHERE stage = %(stage)s AND shard = %(shard)s"
# The owner of a lease that has run out is stopped, and may hold locks in the middle of a batch: without its session
# they are free, and its batch is rolled back.
_END_SESSION = """
SELECT pg_terminate_backend(a.pid, 2000) FROM stream_leases l
JOIN pg_stat_activity a ON a.pid = l.backend_pid AND a.backend_start = l.backend_start
WHERE l.stage = %(stage)s AND l.shard = %(shard)s AND l.expires_at < now() AND l.holder <> %(holder)s
"""
_CONFIRM = "SELECT 1 FROM stream_leases WHERE stage = %s AND shard = %s AND holder = %s FOR SHARE"
LIVE = """
SELECT l.stage FROM stream_leases l WHERE l.expires_at >= now() AND EXISTS (
    SELECT 1 FROM pg_stat_activity a WHERE a.pid = l.backend_pid AND a.backend_start = l.backend_start)
"""


def confirm(connection: psycopg.Connection[Any], stage: str, shard: int, holder: str) -> None:
    """Hold the lease's row until the transaction ends; raises LeaseLostError when `holder` has it no more."""
    if connection.execute(_CONFIRM, (stage, shard, holder)).fetchone() is None:
        raise LeaseLostError(stage, shard)


class Lease:
    """A lease of `holder` on (stage, shard), held by the session of `connection`."""

    def __init__(self, stage: str, shard: int, holder: str, run_id: str, duration: timedelta) -> None:
        self._stage, self._shard = stage, shard
        self._values = {"stage": stage, "shard": shard, "holder": holder, "run_id": run_id, "duration": duration}

    def acquire(self, connection: psycopg.Connection[Any]) -> None:
        """Take it, or move one's own to this session; raises LeaseHeldError when another live run has it."""
        connection.execute(_END_SESSION, self._values)
        if connection.execute(_ACQUIRE, self._values).fetchone() is None:
            row = connection.execute(_HOLDER, self._values).fetchone()
            raise LeaseHeldError(self._stage, self._shard, row[0] if row else "another run")

    def renew(self, connection: psycopg.Connection[Any]) -> None:
        """Keep it for another duration; raises LeaseLostError when another run has taken it meanwhile."""
        if connection.execute(_RENEW, self._values).rowcount != 1:
            raise LeaseLostError(self._stage, self._shard)

    def release(self, connection: psycopg.Connection[Any]) -> None:
        """Give it back, if it is still ours."""
        connection.execute(_RELEASE, self._values)
