"""Dead letters as a person sees them: what is there, why, and which of them a command means."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import psycopg

Connection = psycopg.Connection[Any]
State = Literal["open", "replayed", "discarded", "all"]

_COLUMNS = (
    'stage, topic, partition, "offset", stage_version, error_type, reason, device_id, received_at, occurred_at, '
    "run_id, attempts, resolved_at, resolution, octet_length(value)"
)
# In the order of the log, so that a replay gives a device's records in the order in which they came.
_ORDER = 'ORDER BY stage, topic, partition, "offset"'
_WANTED = """
(%(stage)s::text IS NULL OR stage = %(stage)s)
AND (%(reason)s::text IS NULL OR strpos(lower(error_type || ': ' || reason), lower(%(reason)s)) > 0)
AND (%(since)s::timestamptz IS NULL OR occurred_at >= %(since)s)
AND (%(until)s::timestamptz IS NULL OR occurred_at < %(until)s)
AND (%(partition)s::int IS NULL OR partition = %(partition)s)
AND (%(offset)s::bigint IS NULL OR "offset" = %(offset)s)
AND (%(state)s = 'all' OR coalesce(resolution, 'open') = %(state)s)
"""
_GROUPS = f"""
SELECT stage, error_type, mode() WITHIN GROUP (ORDER BY reason), count(*), min(occurred_at), max(occurred_at)
FROM processing_errors WHERE {_WANTED} GROUP BY stage, error_type, left(reason, 60)
ORDER BY max(occurred_at) DESC
"""
_RESOLVE = f"""
UPDATE processing_errors SET resolved_at = now(), resolution = 'discarded' WHERE resolved_at IS NULL AND {_WANTED}
"""
_REOPEN = f"""
UPDATE processing_errors SET resolved_at = NULL, resolution = NULL WHERE resolution = 'discarded' AND {_WANTED}
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; None means any. `reason` is a part of "error_type: reason", in any case."""

    stage: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    offset: int | None = None
    state: State = "open"

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of this module's queries."""
        names = ("stage", "reason", "since", "until", "partition", "offset", "state")
        return {name: getattr(self, name) for name in names}


class Letter(NamedTuple):
    """One dead letter, without its bytes; `size` is their number, None when the record had no value."""

    stage: str
    topic: str
    partition: int
    offset: int
    stage_version: str
    error_type: str
    reason: str
    device_id: str | None
    received_at: datetime
    occurred_at: datetime
    run_id: str | None
    attempts: int
    resolved_at: datetime | None
    resolution: str | None
    size: int | None

    @property
    def state(self) -> str:
        """open, replayed or discarded."""
        return self.resolution or "open"


class LetterGroup(NamedTuple):
    """Letters of one stage that are much alike; `reason` is the most frequent of theirs."""

    stage: str
    error_type: str
    reason: str
    letters: int
    first_at: datetime
    last_at: datetime


def groups(connection: Connection, wanted: Wanted) -> list[LetterGroup]:
    """The letters, those alike together, the newest first."""
    return [LetterGroup(*row) for row in connection.execute(_GROUPS.encode(), wanted.values).fetchall()]


def letters(connection: Connection, wanted: Wanted, limit: int) -> list[Letter]:
    """Up to `limit` letters, in the order of their topics."""
    query = f"SELECT {_COLUMNS} FROM processing_errors WHERE {_WANTED} {_ORDER} LIMIT %(limit)s"
    return [Letter(*row) for row in connection.execute(query.encode(), {**wanted.values, "limit": limit}).fetchall()]


def count(connection: Connection, wanted: Wanted) -> dict[str, int]:
    """How many letters there are, by stage."""
    query = f"SELECT stage, count(*) FROM processing_errors WHERE {_WANTED} GROUP BY stage ORDER BY stage"
    return dict(connection.execute(query.encode(), wanted.values).fetchall())


def value_of(connection: Connection, letter: Letter) -> bytes | None:
    """The record's bytes as they came."""
    query = 'SELECT value FROM processing_errors WHERE stage = %s AND topic = %s AND partition = %s AND "offset" = %s'
    row = connection.execute(query, letter[:4]).fetchone()
    return None if row is None else row[0]


def discard(connection: Connection, wanted: Wanted) -> int:
    """Put the open ones aside, and say how many; nothing is deleted."""
    return connection.execute(_RESOLVE.encode(), wanted.values).rowcount


def reopen(connection: Connection, wanted: Wanted) -> int:
    """Take back a discard, and say of how many."""
    return connection.execute(_REOPEN.encode(), wanted.values | {"state": "discarded"}).rowcount


def stages_with_letters(connection: Connection, wanted: Wanted) -> Sequence[str]:
    """Names of the stages that have such letters."""
    return list(count(connection, wanted))
