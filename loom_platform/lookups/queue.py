"""What waits for a service, and what services have said: SQL over the pending rows and the table `lookups`.

The pending rows are the queue, so nothing can be forgotten, and what is erased is asked about no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from loom_contracts.topic import Topic
from loom_models.services.base import Address, Found, Service, UnbelievableError
from loom_models.services.choice import NOBODY, Choice, Kind
from loom_models.stage import Stage
from loom_models.stages.business import BUSINESS_MATCHER
from loom_models.stages.geocoder import GEOCODER
from loom_models.wakes import WAKE

Connection = psycopg.Connection[Any]
STAGES: Final[Mapping[Kind, Stage]] = {"address": GEOCODER, "business": BUSINESS_MATCHER}

FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
"""A service that does not answer is left alone for 30 s, then for twice as long each time, up to an hour."""

FIRST_DOUBT: Final = timedelta(hours=1)
LONGEST_DOUBT: Final = timedelta(days=30)
"""As long is a cell left alone about which a service says what cannot be."""

_CHOOSE: Final = """
INSERT INTO lookup_services (kind, provider) VALUES (%(kind)s, %(provider)s)
ON CONFLICT (kind) DO UPDATE SET provider = EXCLUDED.provider, changed_at = now(), asked_at = NULL, failures = 0,
    paused_until = NULL, error = NULL
WHERE lookup_services.provider <> EXCLUDED.provider
"""
_PENDING: Final = "loom_pending('{table}', %(version)s)"
_ANY: Final = "EXISTS (SELECT FROM loom_pending('{table}', %(version)s, %(cell)s))"
_SETTLED: Final = """
EXISTS (SELECT FROM lookups l WHERE (l.kind, l.provider, l.cell) = (%(kind)s, r.provider, r.cell)
        AND coalesce(l.retry_at, l.expires_at) > now())
"""
_NEXT: Final = """
SELECT r.cell FROM {pending} r WHERE r.provider = %(provider)s AND NOT {settled}
GROUP BY r.cell ORDER BY max(r.timestamp) DESC LIMIT %(limit)s
"""
# Rows whose cell has an answer that holds for them, and those that wait for a service that is not asked any more.
_WAKE: Final = """
INSERT INTO stream_timers (stage, stage_version, device_id, key, due_at)
SELECT DISTINCT r.stage, r.stage_version, r.device_id,
       %(wake)s || to_char(r.timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'), clock_timestamp()
FROM {pending} r LEFT JOIN lookup_services s ON s.kind = %(kind)s
WHERE r.provider IS DISTINCT FROM s.provider OR EXISTS (
    SELECT FROM lookups l WHERE (l.kind, l.provider, l.cell) = (%(kind)s, r.provider, r.cell)
    AND l.state <> 'failed' AND l.expires_at > r.timestamp)
ORDER BY 1, 2, 3, 4
ON CONFLICT (stage, stage_version, device_id, key) DO NOTHING
"""
# What was erased while the service was asked has no pending row any more, and its answer is not kept.
_ANSWERED: Final = """
INSERT INTO lookups (kind, provider, cell, state, answer, asked_at, expires_at)
SELECT %(kind)s, %(provider)s, %(cell)s, %(state)s, %(answer)s, now(), now() + %(fresh)s
WHERE {any}
ON CONFLICT (kind, provider, cell) DO UPDATE SET state = EXCLUDED.state, answer = EXCLUDED.answer,
    asked_at = EXCLUDED.asked_at, expires_at = EXCLUDED.expires_at, attempts = 0, retry_at = NULL, error = NULL
"""
_DOUBTED: Final = """
INSERT INTO lookups AS l (kind, provider, cell, state, asked_at, attempts, retry_at, error)
SELECT %(kind)s, %(provider)s, %(cell)s, 'failed', now(), 1, now() + %(first)s, %(error)s
WHERE {any}
ON CONFLICT (kind, provider, cell) DO UPDATE SET asked_at = now(), attempts = l.attempts + 1, error = EXCLUDED.error,
    retry_at = now() + least(%(longest)s, %(first)s * power(2, least(l.attempts, 20)))
"""
_PAUSE: Final = """
UPDATE lookup_services SET failures = failures + 1, error = %(error)s,
    paused_until = now() + greatest(%(told)s, least(%(longest)s, %(first)s * power(2, least(failures, 20))))
WHERE kind = %(kind)s AND provider = %(provider)s
"""
_ASKING: Final = "UPDATE lookup_services SET asked_at = now() WHERE kind = %s AND provider = %s"
_WELL: Final = """
UPDATE lookup_services SET failures = 0, error = NULL, paused_until = NULL WHERE kind = %s AND provider = %s
"""
_STATE: Final = "SELECT provider, asked_at, failures, paused_until, error FROM lookup_services WHERE kind = %s"
_ALONE: Final = "SELECT pg_try_advisory_lock(hashtext('loom-lookups'))"
_DONE: Final = "SELECT pg_advisory_unlock(hashtext('loom-lookups'))"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How a service is doing: `failures` in a row, and why."""

    provider: str
    asked_at: datetime | None
    failures: int
    paused_until: datetime | None
    error: str | None

    @property
    def paused(self) -> bool:
        """Whether it is left alone for now."""
        return self.paused_until is not None and self.paused_until > datetime.now(UTC)


def choose(connection: Connection, choices: Sequence[Choice]) -> None:
    """Let the stages see which services are chosen."""
    for choice in choices:
        connection.execute(_CHOOSE, {"kind": choice.kind, "provider": choice.name})


def state_of(connection: Connection, kind: Kind) -> ServiceState:
    """How the chosen service of `kind` is doing."""
    row = connection.execute(_STATE, (kind,)).fetchone()
    return ServiceState(*row) if row else ServiceState(NOBODY[kind], None, 0, None, None)


def next_cells(connection: Connection, kind: Kind, provider: str, limit: int) -> list[str]:
    """Cells to ask `provider` about, the latest fixes' first."""
    values = {**_values(kind), "provider": provider, "limit": limit}
    return [row[0] for row in connection.execute(_of(kind, _NEXT), values).fetchall()]


def waiting(connection: Connection, kind: Kind) -> tuple[int, int]:
    """How many rows of `kind` are pending, and of how many cells."""
    query = "SELECT count(*), count(DISTINCT r.cell) FROM {pending} r"
    row = connection.execute(_of(kind, query), _values(kind)).fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def wake(connection: Connection, kind: Kind) -> int:
    """Wake the stage of `kind` for the rows that can be answered now; of how many minutes."""
    return connection.execute(_of(kind, _WAKE), {**_values(kind), "wake": WAKE}).rowcount


def asking(connection: Connection, service: Service) -> None:
    """Note that `service` is asked now: the next request keeps its distance, also after a crash."""
    connection.execute(_ASKING, (service.kind, service.name))


def store(
    connection: Connection, service: Service, answers: Mapping[str, Found | UnbelievableError | None]
) -> dict[str, int]:
    """Keep what `service` said, and wake its stage, in one transaction; how many cells came to which state."""
    told = {"found": 0, "none": 0, "failed": 0}
    with connection.transaction():
        for cell, answer in answers.items():
            values = {**_values(service.kind), "provider": service.name, "cell": cell}
            if isinstance(answer, UnbelievableError):
                doubt = {"error": str(answer)[:200], "first": FIRST_DOUBT, "longest": LONGEST_DOUBT}
                connection.execute(_of(service.kind, _DOUBTED), values | doubt)
                told["failed"] += 1
                continue
            state = "none" if answer is None else "found"
            said = {"state": state, "answer": _json(answer), "fresh": service.fresh}
            connection.execute(_of(service.kind, _ANSWERED), values | said)
            told[state] += 1
        connection.execute(_WELL, (service.kind, service.name))
        wake(connection, service.kind)
    return told


def pause(connection: Connection, service: Service, error: str, told: timedelta | None) -> None:
    """Leave `service` alone for a while, and for as long as it has told at least."""
    values = {"kind": service.kind, "provider": service.name, "error": error[:200], "told": told or timedelta(0)}
    connection.execute(_PAUSE, values | {"first": FIRST_PAUSE, "longest": LONGEST_PAUSE})


def kept(connection: Connection) -> int:
    """Of how many cells services have been asked."""
    row = connection.execute("SELECT count(*) FROM lookups").fetchone()
    return 0 if row is None else int(row[0])


def forget(connection: Connection) -> int:
    """Remove every answer; how many there were."""
    return connection.execute("DELETE FROM lookups").rowcount


def take(connection: Connection) -> bool:
    """Whether this session alone may ask now; until it ends or `leave`s."""
    row = connection.execute(_ALONE).fetchone()
    return bool(row and row[0])


def leave(connection: Connection) -> None:
    """Let another session ask."""
    connection.execute(_DONE)


def _json(answer: Found | None) -> Jsonb | None:
    if answer is None:
        return None
    if isinstance(answer, Address):
        return Jsonb(answer.model_dump(exclude_none=True))
    return Jsonb([business.model_dump(exclude_none=True) for business in answer])


def _topic(kind: Kind) -> Topic:
    return STAGES[kind].sinks[0]


def _of(kind: Kind, query: str) -> bytes:
    table = _topic(kind).table.name
    return query.format(pending=_PENDING.format(table=table), any=_ANY.format(table=table), settled=_SETTLED).encode()


def _values(kind: Kind) -> dict[str, object]:
    return {"kind": kind, "version": STAGES[kind].version}
