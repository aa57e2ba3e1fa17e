"""Why days stay although they are old enough: a stage has still to pass them, or something else still needs them.

Days are dropped oldest first, so what is asked is the first day that is needed; it and all later ones stay.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.blobs.removal import referring
from loom_platform.orchestration.maintenance import BACKFILL_ENDED, FINISHED

Connection = psycopg.Connection[Any]

EARLIEST: Final = date.min
_OVERDUE: Final = timedelta(minutes=1)
"""A timer that waits for longer is one of a stage that stands still."""

_BEHIND = """
SELECT landed.partition, coalesce(reads.next_offset, 0), landed.next_offset FROM stream_offsets landed
LEFT JOIN stream_offsets reads ON reads.stage = %s AND (reads.topic, reads.partition) = (landed.topic, landed.partition)
WHERE landed.stage = %s AND coalesce(reads.next_offset, 0) < landed.next_offset
"""
_UNPASSED = """
SELECT (min(t.timestamp) AT TIME ZONE 'UTC')::date, count(*) FROM {table} t
JOIN unnest(%(partitions)s::int[], %(from)s::bigint[], %(to)s::bigint[]) AS left_over (partition, first, upto)
  ON t.kafka_partition = left_over.partition AND t.kafka_offset >= left_over.first AND t.kafka_offset < left_over.upto
WHERE t.timestamp >= %(since)s AND t.timestamp < %(until)s
"""
_TIMERS = "SELECT count(*) FROM stream_timers WHERE stage = %s AND stage_version = %s AND due_at < now() - %s"
# A job is called by its first and last day. Whoever broke off a recompute may go on with it for a day.
_RECOMPUTES = """
SELECT stage, min(split_part(job, '/', 1))::date, max(split_part(job, '/', 2))::date FROM recompute_progress
WHERE stage = ANY(%s) AND updated_at > now() - interval '24 hours' GROUP BY stage
"""
_REFERRED = """
SELECT (min(t.timestamp) AT TIME ZONE 'UTC')::date, count(*) FROM {table} t
WHERE t.timestamp >= %(since)s AND t.timestamp < %(until)s AND ({referred})
"""
_REFERS = "EXISTS (SELECT FROM {other} o WHERE o.device_id = t.device_id AND o.{column} = t.{ref})"
_BACKFILLS = "SELECT key, body FROM bulk_actions WHERE status <> ALL(%s)"
# As dagster 1.13 writes a stretch of partitions, whose `end` is not part of it.
_WINDOW: Final = re.compile(
    r'"TimeWindow", "end": \{[^{}]*"timestamp": ([\d.]+)[^{}]*\}, "start": \{[^{}]*"timestamp": ([\d.]+)'
)
_PARTITIONED_RUNS = """
SELECT r.run_id, min(t.value), max(t.value) FROM runs r JOIN run_tags t ON t.run_id = r.run_id
WHERE r.status <> ALL(%s)
  AND t.key IN ('dagster/partition', 'dagster/asset_partition_range_start', 'dagster/asset_partition_range_end')
GROUP BY r.run_id
"""


@dataclass(frozen=True, slots=True)
class Hold:
    """Days from `first` on stay, because of `reason`."""

    first: date
    reason: str


@dataclass(frozen=True, slots=True)
class Work:
    """A recompute of days that Dagster has open: from `first` to `last`, None where it is not told."""

    what: str
    first: date | None
    last: date | None
    names: str = ""


def holds_of(
    connection: Connection, topic: Topic, stages: Sequence[Stage], work: Sequence[Work], since: date, until: date
) -> list[Hold]:
    """Why days of `topic`'s table from `since` to before `until` stay; `stages` are all that there are."""
    span = {"since": _midnight(since), "until": _midnight(until)}
    readers = [s for s in stages if s.source is topic and not s.landing]
    holds = [*_unpassed(connection, topic, stages, readers, span), *_waiting(connection, readers)]
    near = [s for s in stages if s in readers or topic in s.sinks]
    # A recompute reads some of the day before and after, too.
    for stage, first, last in connection.execute(_RECOMPUTES, ([s.name for s in near],)).fetchall():
        if last >= since:
            holds.append(Hold(first - timedelta(days=1), f"stage {stage} is recomputing {first} to {last}"))
    for open_work in work:
        if near and open_work.last is not None and open_work.last < since - timedelta(days=1):
            continue
        if near and (not open_work.names or '", "'.join(topic.parts) in open_work.names or _touches(near, open_work)):
            first = EARLIEST if open_work.first is None else open_work.first - timedelta(days=1)
            holds.append(Hold(first, f"{open_work.what} is open in Dagster"))
    if topic.table.body is not None and not topic.table.derived:
        holds += _referred(connection, topic, span)
    return [h for h in holds if h.first < until]


def open_work(dagster: Connection) -> list[Work]:
    """What Dagster has open over days of tables: backfills that have not ended, runs of one day or of some."""
    found = []
    for key, body in dagster.execute(_BACKFILLS, (list(BACKFILL_ENDED),)).fetchall():
        plain = body.replace("\\", "")
        windows = [(_utc_day(first), _utc_day(upto)) for upto, first in _WINDOW.findall(plain)]
        # Where it tells no days that are understood, every day may be meant.
        first = min((w[0] for w in windows), default=None)
        last = max((w[1] for w in windows), default=None)
        found.append(Work(f"backfill {key}", first, last, plain if '"path"' in plain else ""))
    for run_id, first_key, last_key in dagster.execute(_PARTITIONED_RUNS, (list(FINISHED),)).fetchall():
        found.append(Work(f"run {run_id}", _day(first_key), _day(last_key)))
    return found


def _unpassed(
    connection: Connection, topic: Topic, stages: Sequence[Stage], readers: Sequence[Stage], span: dict[str, datetime]
) -> list[Hold]:
    """Rows that a stage has not read yet: those it has before it, up to where landing stands."""
    landing = next((s for s in stages if s.source is topic and s.landing), None)
    holds = []
    for reader in readers:
        if landing is None:
            holds += _unread(connection, reader)
            continue
        behind = connection.execute(_BEHIND, (reader.name, landing.name)).fetchall()
        if not behind:
            continue
        values = {name: [row[n] for row in behind] for n, name in enumerate(("partitions", "from", "to"))}
        query = sql.SQL(_UNPASSED).format(table=sql.Identifier(topic.table.name))
        row = connection.execute(query, {**values, **span}).fetchone()
        if row is not None and row[0] is not None:
            holds.append(Hold(row[0], f"stage {reader.name} has {row[1]:,} records to pass yet"))
    return holds


def _unread(connection: Connection, reader: Stage) -> list[Hold]:
    """A derived row does not tell its offset: its reader has passed it when it has moved since the row was written."""
    row = connection.execute(
        sql.SQL(
            "SELECT (min(t.timestamp) AT TIME ZONE 'UTC')::date, count(*) FROM {} t WHERE t.computed_at > coalesce("
            "(SELECT min(updated_at) FROM stream_offsets WHERE stage = %s), '-infinity')"
        ).format(sql.Identifier(reader.source.table.name)),
        (reader.name,),
    ).fetchone()
    if row is None or row[0] is None:
        return []
    return [Hold(row[0], f"stage {reader.name} may have {row[1]:,} records to pass yet")]


def _waiting(connection: Connection, readers: Sequence[Stage]) -> list[Hold]:
    holds = []
    for reader in readers:
        row = connection.execute(_TIMERS, (reader.name, reader.version, _OVERDUE)).fetchone()
        if row is not None and row[0]:
            holds.append(Hold(EARLIEST, f"stage {reader.name} has {row[0]:,} answers to give that are overdue"))
    return holds


def _referred(connection: Connection, topic: Topic, span: dict[str, datetime]) -> list[Hold]:
    """Rows whose body another table's rows refer to as well."""
    table, body = topic.table.name, topic.table.body
    if body is None:
        return []
    others = [
        sql.SQL(_REFERS).format(
            other=sql.Identifier(other), column=sql.Identifier(column), ref=sql.Identifier(f"{body.name}_ref")
        )
        for other, column in referring(connection)
        if other != table
    ]
    if not others:
        return []
    query = sql.SQL(_REFERRED).format(table=sql.Identifier(table), referred=sql.SQL(" OR ").join(others))
    row = connection.execute(query, span).fetchone()
    if row is None or row[0] is None:
        return []
    return [Hold(row[0], f"bodies of {row[1]:,} rows belong to rows of other tables too")]


def _touches(near: Sequence[Stage], work: Work) -> bool:
    return any('", "'.join(t.parts) in work.names for s in near for t in (s.source, *s.sinks))


def _day(key: str) -> date | None:
    try:
        return date.fromisoformat(key)
    except ValueError:
        return None


def _utc_day(timestamp: str) -> date:
    return datetime.fromtimestamp(float(timestamp), UTC).date()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
