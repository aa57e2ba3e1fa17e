"""Telling roll-ups that rows came, changed or went."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from loom_contracts.rollups import ROLLUPS, UNITS, Rollup, rollup_of
from loom_contracts.table import Table

Connection = psycopg.Connection[Any]

_FEW = 200
_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARK = """
INSERT INTO rollup_marks (table_name, device_id, span)
SELECT %s, device_id, tstzrange(loom_bucket(interval '1 minute', first),
                                loom_bucket(interval '1 minute', last) + interval '1 minute')
FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS rows (device_id, first, last)
"""
_FORGET = """
DELETE FROM {store} WHERE {whose} bucket > %(first)s::timestamptz - %(size)s::interval AND bucket <= %(last)s
"""
_FROZEN = """
SELECT min(bucket), max(bucket) + interval '59 seconds' FROM {store}
WHERE {whose} bucket < (SELECT frozen_before FROM rollup_tables WHERE table_name = %(table)s)
"""
_OF_DEVICE = sql.SQL("device_id = %(device)s AND")


def mark(connection: Connection, table: Table | str, device_id: str | None, first: datetime, last: datetime) -> None:
    """Rows of `device_id` from `first` to `last` (both included) were written, changed or removed in this transaction.

    Without a device it is every one that has a roll-up there, which does for rows that were removed. Does nothing for
    a table that has no roll-up, so a caller need not know which have.
    """
    rollup = rollup_of(table)
    if rollup is None:
        return
    devices = _devices(connection, rollup, first, last) if device_id is None else [device_id]
    count = len(devices)
    connection.execute(_MARK, (rollup.table.name, devices, [first] * count, [last] * count))


def mark_rows(connection: Connection, table: Table, rows: pl.DataFrame) -> None:
    """`rows` (`device_id`, `timestamp`) were written or changed in this transaction: a mark for each device, hour."""
    if rollup_of(table) is None or rows.is_empty():
        return
    connection.execute(_MARK, (table.name, *(_few_spans(rows) if rows.height <= _FEW else _spans(rows))))


def _spans(rows: pl.DataFrame) -> tuple[list[str], list[datetime], list[datetime]]:
    """Device, first and last time of the rows of each device and hour."""
    spans = rows.group_by("device_id", pl.col("timestamp").dt.truncate("1h").alias("hour")).agg(
        pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")
    )
    return spans["device_id"].to_list(), spans["first"].to_list(), spans["last"].to_list()


def _few_spans(rows: pl.DataFrame) -> tuple[list[str], list[datetime], list[datetime]]:
    """As `_spans`; a live batch is told in a tenth of the time that a frame's grouping takes."""
    spans: dict[tuple[str, int], tuple[int, int]] = {}
    times = rows["timestamp"].to_physical().to_list()
    for device, at in zip(rows["device_id"].to_list(), times, strict=True):
        first, last = spans.get((device, at // _HOUR_US), (at, at))
        spans[device, at // _HOUR_US] = min(first, at), max(last, at)
    firsts, lasts = ([_EPOCH + timedelta(microseconds=span[end]) for span in spans.values()] for end in (0, 1))
    return [device for device, _ in spans], firsts, lasts


def forget(connection: Connection, table: Table | str, device_id: str | None, first: datetime, last: datetime) -> int:
    """Remove what is kept of these roll-ups, also where the rows are gone already, and mark it; how many minutes.

    For an erasure, in its transaction: what is left there is counted anew, and what is frozen is gone for good.
    Without a device it is that of every one.
    """
    rollup = rollup_of(table)
    if rollup is None:
        return 0
    name = rollup.table.name
    connection.execute("SELECT loom_lock_rollup(%s)", (name,))
    mark(connection, name, device_id, first, last)
    removed = 0
    for unit in UNITS:
        values = {"device": device_id, "first": first, "last": last, "size": f"1 {unit}"}
        whose = sql.SQL("") if device_id is None else _OF_DEVICE
        query = sql.SQL(_FORGET).format(store=sql.SQL(store(connection, rollup, unit)), whose=whose)
        found = connection.execute(query, values).rowcount
        removed += found if unit == "minute" else 0
    return removed


def forget_frozen(
    connection: Connection, device_id: str | None, first: datetime | None, last: datetime | None
) -> dict[str, int]:
    """Remove the roll-ups that have outlived their rows, in the caller's transaction; the minutes of each table.

    For an erasure: nothing else would find them, since no row is left there. Without a device it is of every one,
    without a bound there is none on that side; both bounds are included.
    """
    removed: dict[str, int] = {}
    whose = sql.SQL("") if device_id is None else _OF_DEVICE
    for rollup in ROLLUPS:
        query = sql.SQL(_FROZEN).format(store=sql.SQL(store(connection, rollup, "minute")), whose=whose)
        row = connection.execute(query, {"table": rollup.table.name, "device": device_id}).fetchone()
        if row is None or row[0] is None:
            continue
        begins, ends = max(row[0], first or row[0]), min(row[1], last or row[1])
        if begins <= ends and (gone := forget(connection, rollup.table, device_id, begins, ends)):
            removed[rollup.table.name] = gone
    return removed


def store(connection: Connection, rollup: Rollup, unit: str) -> str:
    """The quoted name of the table that holds what is kept of a roll-up."""
    row = connection.execute("SELECT loom_rollup_store(%s, %s)", (rollup.table.name, unit)).fetchone()
    return str(row[0]) if row else ""


def _devices(connection: Connection, rollup: Rollup, first: datetime, last: datetime) -> list[str]:
    query = sql.SQL(
        "SELECT DISTINCT device_id FROM {} WHERE bucket > %s::timestamptz - interval '1 hour' AND bucket <= %s"
    ).format(sql.Identifier(f"{rollup.view('hour')}_kept"))
    return [row[0] for row in connection.execute(query, (first, last)).fetchall()]
