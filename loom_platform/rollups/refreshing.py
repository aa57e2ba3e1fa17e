"""Brings what is kept of the roll-ups up to date: counts exactly the marked stretches anew, in bounded steps."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from loom_contracts.rollups import ROLLUPS, UNITS, Rollup, rollup_of
from loom_contracts.table import Table
from loom_platform.errors import PlatformError
from loom_platform.rollups.marks import Connection, store

MARKS: Final = 5_000
"""Marks taken in one step."""

FIRST_STEP: Final = timedelta(hours=6)
"""What is counted in the first step, over all devices; the next ones are as long as they are quick."""

LONGEST_STEP: Final = timedelta(days=3_650)
_SHORTEST_STEP: Final = timedelta(hours=1)
_STEP_SECONDS: Final = 2.0
_LONG: Final = timedelta(days=7)
_WINDOWS: Final = 50
_TAKE = """
SELECT id, device_id, lower(span), upper(span) FROM rollup_marks WHERE table_name = %s ORDER BY id LIMIT %s
"""
_LEFT = """
INSERT INTO rollup_marks (table_name, device_id, span)
SELECT %s, device_id, tstzrange(first, upto) FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[])
AS pieces (device_id, first, upto)
"""
_RECOUNT = """
SELECT loom_recount(%s, array_agg(device_id), array_agg(tstzrange(first, upto)))
FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS pieces (device_id, first, upto)
"""
_KIND = """
SELECT kind, nullif(greatest(frozen_before, kept_from), '-infinity') FROM rollup_tables WHERE table_name = %s
"""
_KEEP_FROM = "UPDATE rollup_tables SET kept_from = greatest(kept_from, %s) WHERE table_name = %s"
_MARK_ALL = """
INSERT INTO rollup_marks (table_name, device_id, span)
SELECT %s, device_id, tstzrange(min(loom_bucket(interval '1 minute', first)),
                                max(loom_bucket(interval '1 minute', last)) + interval '1 minute')
FROM (SELECT device_id, min(timestamp) AS first, max(timestamp) AS last FROM {table} GROUP BY device_id
      UNION ALL SELECT device_id, min(bucket), max(bucket) FROM {kept} GROUP BY device_id) AS devices
GROUP BY device_id
"""
_EXTENT = """
SELECT least((SELECT min(timestamp) FROM {table} WHERE device_id = %(device)s),
             (SELECT min(bucket) FROM {kept} WHERE device_id = %(device)s)),
       greatest((SELECT max(timestamp) FROM {table} WHERE device_id = %(device)s),
                (SELECT max(bucket) FROM {kept} WHERE device_id = %(device)s))
"""


class Piece(NamedTuple):
    """A stretch of one device; `upto` is not part of it."""

    device_id: str
    first: datetime
    upto: datetime


@dataclass(slots=True)
class Refreshed:
    """What a refresh of one roll-up did: marks taken, time counted anew over all devices, rows written by minute.

    On TimescaleDB the rows are not told.
    """

    table: str
    marks: int = 0
    counted: timedelta = timedelta()
    rows: int = 0
    seconds: float = 0.0


OnProgress = Callable[[Refreshed], None]


def refresh(
    connection: Connection,
    tables: Sequence[Table | str] = (),
    *,
    on_progress: OnProgress = lambda _: None,
    stop: threading.Event | None = None,
) -> list[Refreshed]:
    """Bring the roll-ups of `tables`, or all, up to date with what was committed before; what was done, of each.

    `connection` is the owner's, in autocommit mode: every step commits by itself, so a refresh that is killed goes on
    where it was. Two of one table follow each other.
    """
    if not connection.autocommit or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise PlatformError("a refresh of roll-ups commits its own steps: give it a connection in autocommit mode")
    chosen = [r for r in map(rollup_of, tables) if r is not None] if tables else ROLLUPS
    return [_refresh(connection, rollup, on_progress, stop or threading.Event()) for rollup in chosen]


def freeze(connection: Connection, table: Table | str, before: datetime) -> None:
    """Let the roll-ups before `before` (a whole UTC day) outlive their rows; call it before those days are dropped.

    What is pending is counted first. Later a row before `before` is counted only where it makes no bucket smaller.
    """
    rollup = rollup_of(table)
    if rollup is None:
        return
    if before != before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0):
        raise PlatformError(f"{rollup.table.name}: {before.isoformat()} is not the beginning of a UTC day; give one")
    refresh(connection, [rollup.table])
    connection.execute(
        "UPDATE rollup_tables SET frozen_before = greatest(frozen_before, %s) WHERE table_name = %s",
        (before, rollup.table.name),
    )


def mark_all(connection: Connection, table: Table | str) -> None:
    """Have everything that is there of a table's roll-up counted anew by the next refresh."""
    rollup = rollup_of(table)
    if rollup is not None:
        names = {"table": rollup.table.name, "kept": f"{rollup.view('minute')}_kept"}
        query = sql.SQL(_MARK_ALL).format(**{k: sql.Identifier(v) for k, v in names.items()})
        connection.execute(query, (rollup.table.name,))


def drop_before(connection: Connection, table: Table | str, before: datetime) -> int:
    """Remove the roll-ups of a table before `before` (a whole hour), and keep none there from now on; how many rows."""
    rollup = rollup_of(table)
    if rollup is None:
        return 0
    if before != before.astimezone(UTC).replace(minute=0, second=0, microsecond=0):
        raise PlatformError(f"{rollup.table.name}: {before.isoformat()} is not the beginning of an hour; give one")
    removed = 0
    with connection.transaction():
        connection.execute("SELECT loom_lock_rollup(%s)", (rollup.table.name,))
        for unit in UNITS:
            query = sql.SQL("DELETE FROM {} WHERE bucket < %s").format(sql.SQL(store(connection, rollup, unit)))
            removed += connection.execute(query, (before,)).rowcount
        connection.execute(_KEEP_FROM, (before, rollup.table.name))
    return removed


def _refresh(connection: Connection, rollup: Rollup, on_progress: OnProgress, stop: threading.Event) -> Refreshed:
    done = Refreshed(rollup.table.name)
    step = FIRST_STEP
    started = time.monotonic()
    while not stop.is_set():
        began = time.monotonic()
        with _locked(connection, rollup):
            marks = connection.execute(_TAKE, (rollup.table.name, MARKS)).fetchall()
            if not marks:
                break
            whole = merged(Piece(*row[1:]) for row in marks)
            pieces, left = split([p for w in whole if (p := _clipped(connection, rollup, w)) is not None], step)
            try:
                done.rows += _count(connection, rollup, pieces)
            except psycopg.errors.QueryCanceled:
                if step <= _SHORTEST_STEP:
                    raise
                step /= 4
                continue
            with connection.transaction():
                connection.execute("DELETE FROM rollup_marks WHERE id = ANY(%s)", ([row[0] for row in marks],))
                if left:
                    connection.execute(_LEFT, (rollup.table.name, *_columns(left)))
        done.marks += len(marks)
        done.counted += sum((p.upto - p.first for p in pieces), timedelta())
        done.seconds = time.monotonic() - started
        on_progress(done)
        elapsed = time.monotonic() - began
        step = min(2 * step, LONGEST_STEP) if elapsed < _STEP_SECONDS else max(step / 2, _SHORTEST_STEP)
    return done


def merged(pieces: Iterator[Piece]) -> list[Piece]:
    """Pieces that overlap or touch as one, in order of device and time."""
    whole: list[Piece] = []
    for piece in sorted(pieces):
        if whole and whole[-1].device_id == piece.device_id and piece.first <= whole[-1].upto:
            whole[-1] = whole[-1]._replace(upto=max(whole[-1].upto, piece.upto))
        else:
            whole.append(piece)
    return whole


def split(pieces: Sequence[Piece], step: timedelta) -> tuple[list[Piece], list[Piece]]:
    """The first of `pieces` that last `step` together, cut at a whole hour, and those left; the first has an hour."""
    now: list[Piece] = []
    later: list[Piece] = []
    left = step
    for piece in pieces:
        if left <= timedelta():
            later.append(piece)
        elif piece.upto - piece.first <= left:
            now.append(piece)
        else:
            cut = (piece.first + max(left, timedelta(hours=1))).replace(minute=0, second=0, microsecond=0)
            if cut <= piece.first:
                cut += timedelta(hours=1)
            now.append(piece._replace(upto=min(cut, piece.upto)))
            if cut < piece.upto:
                later.append(piece._replace(first=cut))
        left -= piece.upto - piece.first
    return now, later


def _clipped(connection: Connection, rollup: Rollup, piece: Piece) -> Piece | None:
    """A long piece cut down to where the device has rows or roll-ups; None where it has none."""
    if piece.upto - piece.first <= _LONG:
        return piece
    names = {"table": rollup.table.name, "kept": f"{rollup.view('minute')}_kept"}
    query = sql.SQL(_EXTENT).format(**{k: sql.Identifier(v) for k, v in names.items()})
    row = connection.execute(query, {"device": piece.device_id}).fetchone()
    if row is None or row[0] is None:
        return None
    minute = timedelta(minutes=1)
    first = max(piece.first, row[0].astimezone(UTC).replace(second=0, microsecond=0))
    upto = min(piece.upto, row[1].astimezone(UTC).replace(second=0, microsecond=0) + minute)
    return piece._replace(first=first, upto=upto) if first < upto else None


def _count(connection: Connection, rollup: Rollup, pieces: Sequence[Piece]) -> int:
    if not pieces:
        return 0
    name = rollup.table.name
    row = connection.execute(_KIND, (name,)).fetchone()
    if row is None:
        raise PlatformError(f"the database has no roll-up of {name}; run `loom db migrate`")
    kind, frozen = row
    counted = connection.execute(_RECOUNT, (name, *_columns(pieces))).fetchone()
    if kind == "aggregate":
        _refresh_aggregates(connection, rollup, pieces, frozen)
    return int(counted[0]) if counted else 0


def _refresh_aggregates(
    connection: Connection, rollup: Rollup, pieces: Sequence[Piece], frozen: datetime | None
) -> None:
    """Refresh the continuous aggregates in these stretches. It is forced: the marks say what is to be counted anew."""
    # The buckets are of all devices.
    windows = merged(Piece("", p.first, p.upto) for p in pieces)
    hours = merged(Piece("", *_in_hours(w)) for w in windows)
    if len(windows) > _WINDOWS:
        windows = hours
    for unit, spans in (("minute", windows), ("hour", hours)):
        for _, first, upto in spans:
            start = max(first, frozen) if frozen is not None and unit == "minute" else first
            if start < upto:
                connection.execute(
                    "CALL refresh_continuous_aggregate(%s::regclass, %s::timestamptz, %s::timestamptz, force => true)",
                    (f"{rollup.view('minute' if unit == 'minute' else 'hour')}_kept", start, upto),
                )


def _in_hours(piece: Piece) -> tuple[datetime, datetime]:
    hour = timedelta(hours=1)
    first = piece.first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    upto = (piece.upto.astimezone(UTC) - timedelta(microseconds=1)).replace(minute=0, second=0, microsecond=0) + hour
    return first, upto


def _columns(pieces: Sequence[Piece]) -> tuple[list[Any], list[Any], list[Any]]:
    return [p.device_id for p in pieces], [p.first for p in pieces], [p.upto for p in pieces]


@contextmanager
def _locked(connection: Connection, rollup: Rollup) -> Iterator[None]:
    """Hold the lock of `loom_lock_rollup` for one step of several transactions."""
    key = ("loom-rollup", rollup.table.name)
    connection.execute("SELECT pg_advisory_lock(hashtext(%s), hashtext(%s))", key)
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(hashtext(%s), hashtext(%s))", key)
