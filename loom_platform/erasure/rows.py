"""Rows of topics' tables: deleted piece by piece along the index of device and time, so the work is that of the rows.

Each piece is one transaction with all that must not be forgotten about it: what it counts, the bodies it referred to,
where its records lie in Kafka, and the roll-ups that it had a share in. So an erasure may be killed at any time.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_contracts.table import Table
from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.erasure import ledger
from loom_platform.erasure.scope import Erasure
from loom_platform.rollups import forget as forget_rollup
from loom_platform.stream.batch import LOCK_STAGE

Connection = psycopg.Connection[Any]
Progress = Callable[[str, int], None]
"""Called with what is being erased and how much of it."""

RETRIES: Final = "erasure_retries"
"""Temporary table of the session: the messages that the retries file knows."""
_FIRST_SPAN: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_FEW, _MANY = 20_000, 200_000
_FIRST: Final = """
SELECT timestamp FROM {table} WHERE {device} AND timestamp >= %(at)s AND timestamp < %(after)s AND {made}
ORDER BY timestamp LIMIT 1
"""
_DELETE: Final = """
WITH gone AS (
    DELETE FROM {table} WHERE {device} AND timestamp >= %(at)s AND timestamp < %(upto)s AND {made} RETURNING {columns}
), bodies AS (
    INSERT INTO erasure_work (erasure_id, kind, name)
    SELECT %(id)s, 'body', ref FROM gone CROSS JOIN LATERAL unnest(ARRAY[{refs}]::text[]) AS ref WHERE ref IS NOT NULL
    ON CONFLICT DO NOTHING
), retried AS (
    INSERT INTO erasure_work (erasure_id, kind, name)
    SELECT %(id)s, 'retry', message_id::text FROM gone JOIN erasure_retries USING (message_id) ON CONFLICT DO NOTHING
)
SELECT {groups}, count(*), min(timestamp), max(timestamp), {facts} FROM gone GROUP BY {groups}
"""
_KAFKA: Final = """
INSERT INTO erasure_work AS w (erasure_id, kind, name, value)
VALUES (%(id)s, 'kafka', %(name)s, jsonb_build_object('first', %(first)s::bigint, 'last', %(last)s::bigint,
                                                      'at', %(at)s::timestamptz))
ON CONFLICT (erasure_id, kind, name) DO UPDATE SET value = jsonb_build_object(
    'first', least((w.value ->> 'first')::bigint, %(first)s), 'last', greatest((w.value ->> 'last')::bigint, %(last)s),
    'at', greatest((w.value ->> 'at')::timestamptz, %(at)s::timestamptz))
"""


def erase_landed(
    connection: Connection, erasure: Erasure, topic: Topic, progress: Progress, on_point: Callable[[str], None]
) -> int:
    """Delete the rows of a landed topic that were accepted before the erasure was asked for; how many."""
    table = topic.table
    facts = "min(kafka_offset), max(kafka_offset), max(received_at)"

    def piece(values: dict[str, Any]) -> int:
        query = _delete(table, values["device"], "received_at", ("device_id", "kafka_partition"), facts)
        found = connection.execute(query, values).fetchall()
        for _, partition, _, _, _, first, last, moment in found:
            where = {"id": erasure.id, "name": f"{topic.name}/{partition}", "at": moment}
            connection.execute(_KAFKA, where | {"first": first, "last": last})
        gone = _told(connection, erasure, table, [(row[0], row[2], row[3], row[4]) for row in found])
        on_point("landed")
        return gone

    return _in_pieces(connection, erasure, table, "received_at", erasure.asked_at, piece, progress)


def erase_derived(
    connection: Connection, erasure: Erasure, topic: Topic, progress: Progress, on_point: Callable[[str], None]
) -> int:
    """Delete the rows of a derived topic in the scope that were computed while its sources were there; how many.

    Days of which rows were computed during the erasure are noted: those may have been made from what stays.
    """
    table = topic.table
    facts = "coalesce(bool_or(computed_at > %(asked_at)s), false)"

    def piece(values: dict[str, Any]) -> int:
        query = _delete(table, values["device"], "computed_at", ("device_id", "stage"), facts)
        found = connection.execute(query, values).fetchall()
        again: dict[str, Any] = {
            again_name(stage, values["at"], device): {} for device, stage, _, _, _, late in found if late
        }
        ledger.note(connection, erasure, "again", again)
        gone = _told(connection, erasure, table, [(row[0], row[2], row[3], row[4]) for row in found])
        on_point("derived")
        return gone

    return _in_pieces(connection, erasure, table, "computed_at", erasure.cleared_at, piece, progress)


def again_name(stage: str, moment: datetime, device: str) -> str:
    """What is to be computed again, as the list of work has it."""
    return f"{stage}\t{moment.astimezone(UTC):%Y-%m-%d}\t{device}"


def clear(connection: Connection, erasure: Erasure, stages: tuple[str, ...]) -> None:
    """Now that the landed rows are gone: whatever a stage had read of them is written, and counts as made before."""
    with connection.transaction():
        for name in sorted(stages):
            connection.execute(LOCK_STAGE, (name,))
        ledger.clear(connection, erasure)


def remaining(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """Of each topic's table, the rows in the scope that should be gone."""
    left = {}
    for topic in (*LANDED, *DERIVED):
        made = "computed_at" if topic.table.derived else "received_at"
        limit = erasure.cleared_at if topic.table.derived else erasure.asked_at
        left[topic.table.name] = count(connection, erasure, topic.table, made, limit)
    return left


def count(connection: Connection, erasure: Erasure, table: Table, made: str, limit: datetime | None) -> int:
    """Rows of the scope in `table`, made up to `limit`."""
    query = sql.SQL("SELECT count(*) FROM {} WHERE {} AND (%s::timestamptz IS NULL OR {} <= %s)").format(
        sql.Identifier(table.name), erasure.scope.of_rows(), sql.Identifier(made)
    )
    row = connection.execute(query, (limit, limit)).fetchone()
    return int(row[0]) if row else 0


def _in_pieces(
    connection: Connection,
    erasure: Erasure,
    table: Table,
    made: str,
    limit: datetime | None,
    piece: Callable[[dict[str, Any]], int],
    progress: Progress,
) -> int:
    """Call `piece` for stretches of time that have rows, each in a transaction; none is over midnight (UTC), so that
    each is of one partition.
    """
    first, after = erasure.scope.bounds
    rows = 0
    for device in erasure.scope.devices or (None,):
        query = sql.SQL(_FIRST).format(table=sql.Identifier(table.name), device=_of(device), made=_made(made))
        values = {**erasure.values, "device": device, "made": limit}
        at, span = first, _FIRST_SPAN
        while (row := connection.execute(query, values | {"at": at}).fetchone()) is not None:
            at = row[0].astimezone(UTC)
            midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
            upto = min(at + span, midnight, after)
            with connection.transaction():
                gone = piece(values | {"at": at, "upto": upto})
            rows += gone
            progress(table.name, rows)
            span = min(2 * span, _DAY) if gone < _FEW else span / 2 if gone > _MANY else span
            at = upto
    return rows


def _delete(table: Table, device: str | None, made: str, groups: tuple[str, ...], facts: str) -> sql.Composed:
    refs = [c.name for c in table.columns if c.name.endswith("_ref")]
    columns = ["timestamp", "message_id", *groups, made, *refs]
    columns += ["kafka_offset"] if not table.derived else []
    return sql.SQL(_DELETE).format(
        table=sql.Identifier(table.name),
        device=_of(device),
        made=_made(made),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        refs=sql.SQL(", ").join(map(sql.Identifier, refs)),
        groups=sql.SQL(", ").join(map(sql.Identifier, groups)),
        facts=sql.SQL(facts),
    )


def _of(device: str | None) -> sql.SQL:
    return sql.SQL("true") if device is None else sql.SQL("device_id = %(device)s")


def _made(column: str) -> sql.Composed:
    return sql.SQL("{} <= %(made)s").format(sql.Identifier(column))


def _told(
    connection: Connection, erasure: Erasure, table: Table, found: list[tuple[str, int, datetime, datetime]]
) -> int:
    """Count these groups of deleted rows, and take their share out of the roll-ups."""
    for device, _, first, last in found:
        forget_rollup(connection, table, device, first, last)
        ledger.note(connection, erasure, "day", {f"{table.name}/{first.astimezone(UTC):%Y-%m-%d}": {}})
    gone = sum(rows for _, rows, _, _ in found)
    ledger.add(connection, erasure, table.name, gone)
    return gone
