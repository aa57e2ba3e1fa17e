"""Days that are old enough: what they hold, and dropping them with their bodies. Roll-ups of them stay."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.blobs import Blobs
from loom_platform.blobs.removal import referring
from loom_platform.retention.drops import note
from loom_platform.retention.holds import Hold, Work, holds_of
from loom_platform.rollups import freeze

Connection = psycopg.Connection[Any]

_TRIES: Final = 5
_TRY_AGAIN_SECONDS: Final = 1.0
_DAYS = "SELECT day, part::text, bytes FROM loom_days(%s) WHERE day < %s ORDER BY day"
_FREED = """
SELECT count(*), coalesce(sum(g.size), 0)::bigint FROM (
    SELECT DISTINCT {ref} AS ref, {size} AS size, device_id FROM {table} WHERE timestamp < %(until)s
) g WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.{ref} = g.ref AND t.device_id = g.device_id
                      AND t.timestamp >= %(until)s){others}
"""
_ELSEWHERE = " AND NOT EXISTS (SELECT FROM {other} o WHERE o.{column} = g.ref AND o.device_id = g.device_id)"
OnPoint = Callable[[str], None]


def no_point(_: str) -> None:
    """The default of `on_point`: do nothing."""


@dataclass(frozen=True, slots=True)
class OldDay:
    """A day that is old enough. `bytes` is what it takes with its indexes."""

    day: date
    rows: int
    bytes: int
    held: bool


@dataclass(slots=True)
class Plan:
    """What would go of one topic's table; `bodies` and `body_bytes` are those that no row would have any more."""

    topic: str
    table: str
    cut: date
    days: list[OldDay] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    bodies: int = 0
    body_bytes: int = 0

    @property
    def going(self) -> list[OldDay]:
        """The days that would go now."""
        return [d for d in self.days if not d.held]


@dataclass(slots=True)
class Dropped:
    """What went of one topic's table, and why the rest stayed."""

    topic: str
    table: str
    days: list[OldDay] = field(default_factory=list)
    bodies: int = 0
    holds: list[Hold] = field(default_factory=list)
    busy: bool = False


def plan(connection: Connection, topic: Topic, cut: date, stages: Sequence[Stage], work: Sequence[Work]) -> Plan:
    """What of `topic` lies before the day `cut`, and what of it would go. It only reads."""
    table = topic.table.name
    made = Plan(topic.name, table, cut)
    found = connection.execute(_DAYS, (table, cut)).fetchall()
    if not found:
        return made
    made.holds = holds_of(connection, topic, stages, work, found[0][0], cut)
    until = min([h.first for h in made.holds] + [cut])
    for day, part, size in found:
        row = connection.execute(f"SELECT count(*) FROM {part}".encode()).fetchone()
        made.days.append(OldDay(day, row[0] if row else 0, size, day >= until))
    if topic.table.body is not None and made.going:
        made.bodies, made.body_bytes = _freed(connection, topic, until)
    return made


def drop(
    connection: Connection,
    topic: Topic,
    cut: date,
    stages: Sequence[Stage],
    work: Sequence[Work],
    blobs: Blobs,
    on_point: OnPoint = no_point,
) -> Dropped:
    """Drop the days of `topic` before `cut` that nothing holds, oldest first, each in a transaction of its own.

    `connection` is the owner's, in autocommit mode. The roll-ups of the days are brought up to date before, and stay;
    bodies go after the commit (a sweep finds those that a crash leaves). A table that others keep locked is left for
    the next time. `on_point` is called with `dropped` before each commit and `committed` after it.
    """
    table = topic.table.name
    done = Dropped(topic.name, table)
    found = connection.execute(_DAYS, (table, cut)).fetchall()
    if not found:
        return done
    done.holds = holds_of(connection, topic, stages, work, found[0][0], cut)
    until = min([h.first for h in done.holds] + [cut])
    going = [row for row in found if row[0] < until]
    if going:
        freeze(connection, topic.table, _midnight(going[-1][0] + timedelta(days=1)))
    for day, _, _ in going:
        dropped = _patiently(partial(_drop_day, connection, topic, day, stages, work, done, on_point))
        if dropped is None:
            done.busy = True
            break
        refs, gone = dropped
        if not gone:
            break
        on_point("committed")
        if refs:
            done.bodies += blobs.remove_unreferenced(connection, refs).removed
    return done


def _drop_day(
    connection: Connection,
    topic: Topic,
    day: date,
    stages: Sequence[Stage],
    work: Sequence[Work],
    done: Dropped,
    on_point: OnPoint,
) -> tuple[list[str], bool]:
    """The bodies of the day's rows, and whether it went: it stays when a stage was taken back to it meanwhile."""
    table, body = topic.table.name, topic.table.body
    refs: list[str] = []
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '2s'")
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
        if holds := holds_of(connection, topic, stages, work, day, day + timedelta(days=1)):
            done.holds += holds
            return [], False
        if body is not None:
            query = sql.SQL("SELECT DISTINCT {} FROM {} WHERE timestamp >= %s AND timestamp < %s").format(
                sql.Identifier(f"{body.name}_ref"), sql.Identifier(table)
            )
            span = (_midnight(day), _midnight(day + timedelta(days=1)))
            refs = [ref for (ref,) in connection.execute(query, span).fetchall()]
        rows = connection.execute(
            "SELECT * FROM loom_drop_days(%s, %s, 1)", (table, day + timedelta(days=1))
        ).fetchall()
        for gone, count, size in rows:
            note(connection, table, gone, count, size)
            done.days.append(OldDay(gone, count, size, False))
        on_point("dropped")
    return refs, True


def _patiently(attempt: Callable[[], tuple[list[str], bool]]) -> tuple[list[str], bool] | None:
    for tried in range(_TRIES):
        try:
            return attempt()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(_TRY_AGAIN_SECONDS if tried + 1 < _TRIES else 0)
    return None


def _freed(connection: Connection, topic: Topic, until: date) -> tuple[int, int]:
    body = topic.table.body
    if body is None:
        return 0, 0
    table = topic.table.name
    others = sql.SQL("").join(
        sql.SQL(_ELSEWHERE).format(other=sql.Identifier(other), column=sql.Identifier(column))
        for other, column in referring(connection)
        if other != table
    )
    query = sql.SQL(_FREED).format(
        ref=sql.Identifier(f"{body.name}_ref"),
        size=sql.Identifier(f"{body.name}_size_bytes"),
        table=sql.Identifier(table),
        others=others,
    )
    row = connection.execute(query, {"until": _midnight(until)}).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
