"""Derived rows outside the scope that were made from rows in it, found by lineage: windows and segments across the
border, the answer for the fix after it.

They are deleted like the others; what stays of their sources is computed again afterwards.
"""

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED
from loom_platform.erasure import ledger
from loom_platform.erasure.rows import again_name
from loom_platform.erasure.scope import Erasure
from loom_platform.lineage.links import HEARD, LINKS, Link
from loom_platform.rollups import forget as forget_rollup

Connection = psycopg.Connection[Any]

_CANDIDATES: Final = """
SELECT d.timestamp, d.message_id::text, d.stage, d.device_id FROM {sink} AS d
WHERE {device} AND {condition}
  AND (d.timestamp >= {before} AND d.timestamp < {first} OR d.timestamp >= {after} AND d.timestamp < {beyond})
"""
_MADE_FROM: Final = "d.computed_at <= {limit} AND EXISTS (SELECT FROM {source} AS r WHERE {up} AND {inside})"
_DURING: Final = "d.computed_at > {asked_at} AND d.computed_at <= {cleared_at}"
_DELETE: Final = """
DELETE FROM {sink} WHERE timestamp = %s AND message_id = %s RETURNING {refs}
"""
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


def find(connection: Connection, erasure: Erasure) -> int:
    """Note the rows outside the scope that came of rows in it, while those are still there; how many."""
    known = _near(connection, erasure)
    ledger.note(connection, erasure, "row", known)
    return len(known)


def near(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """How many rows outside the scope came of rows in it, by table."""
    return dict(Counter(name.partition("/")[0] for name in _near(connection, erasure)))


def _near(connection: Connection, erasure: Erasure) -> dict[str, Any]:
    known: dict[str, Any] = {}
    while True:
        before = len(known)
        for link in (*LINKS, *HEARD):
            known |= _rows(connection, erasure, link.sink, _made_from(erasure, link, known), link.reach)
        if len(known) == before:
            return known


def find_late(connection: Connection, erasure: Erasure) -> int:
    """Note rows next to the scope that were computed while it was erased: they may have been made from half of it."""
    if erasure.cleared_at is None:
        return 0
    during = sql.SQL(_DURING).format(asked_at=sql.Literal(erasure.asked_at), cleared_at=sql.Literal(erasure.cleared_at))
    known: dict[str, Any] = {}
    for link in LINKS:
        known |= _rows(connection, erasure, link.sink, during, link.reach)
    ledger.note(connection, erasure, "row", known)
    return len(known)


def remove(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """Delete what was noted, and note what is to be computed again; how many, by table."""
    gone: dict[str, int] = {}
    by_name = {topic.table.name: topic for topic in DERIVED}
    for name, row in ledger.noted(connection, erasure, "row").items():
        table_name, _, message_id = name.partition("/")
        table = by_name[table_name].table
        refs = [c.name for c in table.columns if c.name.endswith("_ref")] or ["message_id"]
        moment = datetime.fromisoformat(row["timestamp"])
        with connection.transaction():
            query = sql.SQL(_DELETE).format(
                sink=sql.Identifier(table_name), refs=sql.SQL(", ").join(map(sql.Identifier, refs))
            )
            found = connection.execute(query, (moment, message_id)).fetchall()
            if not found:
                continue
            if refs != ["message_id"]:
                ledger.note(connection, erasure, "body", {ref: {} for ref in found[0] if ref is not None})
            forget_rollup(connection, table, row["device"], moment, moment)
            ledger.note(connection, erasure, "again", {again_name(row["stage"], moment, row["device"]): {}})
            ledger.add(connection, erasure, table_name, 1)
        gone[table_name] = gone.get(table_name, 0) + 1
    return gone


def remaining(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """Of what was noted, what is still there, by table."""
    left: dict[str, int] = {}
    for name, row in ledger.noted(connection, erasure, "row").items():
        table, _, message_id = name.partition("/")
        query = sql.SQL("SELECT count(*) FROM {} WHERE timestamp = %s AND message_id = %s").format(
            sql.Identifier(table)
        )
        found = connection.execute(query, (datetime.fromisoformat(row["timestamp"]), message_id)).fetchone()
        left[table] = left.get(table, 0) + (int(found[0]) if found else 0)
    return left


def _made_from(erasure: Erasure, link: Link, known: dict[str, Any]) -> sql.Composed:
    """The condition that a row `d` of the sink was made from one that is erased."""
    up = sql.SQL(_PARAMETER.sub(r'd."\1"', link.touches or link.up))
    inside: sql.Composable = erasure.scope.of_rows("r.")
    if not link.source.table.derived:
        inside = sql.SQL("{} AND r.received_at <= {}").format(inside, sql.Literal(erasure.asked_at))
    else:
        listed = [n.partition("/")[2] for n in known if n.startswith(f"{link.source.table.name}/")]
        inside = sql.SQL("(({}) OR r.message_id = ANY({}::uuid[]))").format(inside, sql.Literal(listed))
    # What was computed since from what stays is right.
    limit = sql.Literal(erasure.cleared_at) if erasure.cleared_at else sql.SQL("'infinity'")
    return sql.SQL(_MADE_FROM).format(limit=limit, source=sql.Identifier(link.source.table.name), up=up, inside=inside)


def _rows(
    connection: Connection, erasure: Erasure, sink: Topic, condition: sql.Composable, reach: timedelta
) -> dict[str, Any]:
    """Rows of `sink` that are no further than `reach` from the scope and meet `condition`."""
    if erasure.scope.since is None and erasure.scope.until is None:
        return {}
    first, after = erasure.scope.bounds
    query = sql.SQL(_CANDIDATES).format(
        sink=sql.Identifier(sink.table.name),
        device=erasure.scope.of_device("d."),
        before=sql.Literal(first - reach if erasure.scope.since else first),
        first=sql.Literal(first),
        after=sql.Literal(after),
        beyond=sql.Literal(after + reach if erasure.scope.until else after),
        condition=condition,
    )
    return {
        f"{sink.table.name}/{message_id}": {"timestamp": moment.isoformat(), "stage": stage, "device": device}
        for moment, message_id, stage, device in connection.execute(query).fetchall()
    }
