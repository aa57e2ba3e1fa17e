"""Keeps Dagster's database small without changing the status of any partition. No dagster here.

Dagster deletes neither runs nor events, and its own `delete_run` takes the run's materializations with it, which are
what partition status is made of. So what is deleted is chosen here, on the tables of the pinned dagster version:

- events that have passed their retention, except, of each asset and partition, the last materialization, the last
  observation, a plan that no materialization followed (a failed attempt), and each check's last evaluation;
- runs that have passed theirs and have no kept event, with their tags;
- ended backfills, automation evaluations, ticks and check executions of the same age.

Everything goes in small transactions, so that a live run never waits for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

CHUNK: Final = 5_000
"""Rows deleted in one transaction."""

FINISHED: Final = ("SUCCESS", "FAILURE", "CANCELED")
BACKFILL_ENDED: Final = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
LOCK: Final = 0x4C6F6F6D_01


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept. `log` is for events that only tell how a run went, `events` for those of assets."""

    log: timedelta = timedelta(days=3)
    events: timedelta = timedelta(days=14)
    runs: timedelta = timedelta(days=14)
    other: timedelta = timedelta(days=7)


@dataclass
class Pruned:
    """How many rows were deleted, by table."""

    rows: dict[str, int] = field(default_factory=dict)

    def add(self, table: str, count: int) -> None:
        """Count some more."""
        self.rows[table] = self.rows.get(table, 0) + count


# What tells of an asset outlives what tells how a run went.
_LOG_EVENTS = """
SELECT e.id FROM event_logs e JOIN runs r ON r.run_id = e.run_id
WHERE e.id > %(after)s AND e.timestamp < %(log)s AND r.status = ANY(%(finished)s)
  AND (e.asset_key IS NULL OR e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' AND e.partition IS NULL)
  AND e.dagster_event_type IS DISTINCT FROM 'ASSET_CHECK_EVALUATION'
  -- the UI shows these of a run that is still listed
  AND coalesce(e.dagster_event_type, '') NOT IN ('PIPELINE_START', 'PIPELINE_SUCCESS', 'PIPELINE_FAILURE',
                                                 'PIPELINE_CANCELED', 'STEP_FAILURE')
ORDER BY e.id LIMIT %(chunk)s
"""
# Dagster takes the greatest id of an asset and partition for the last event.
_ASSET_EVENTS = """
SELECT e.id FROM event_logs e LEFT JOIN runs r ON r.run_id = e.run_id
WHERE e.id > %(after)s AND e.timestamp < %(events)s AND e.asset_key IS NOT NULL
  AND (r.run_id IS NULL OR r.status = ANY(%(finished)s))
  AND e.dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED', 'ASSET_OBSERVATION')
  AND EXISTS (
    SELECT 1 FROM event_logs later
    WHERE later.asset_key = e.asset_key AND later.partition IS NOT DISTINCT FROM e.partition AND later.id > e.id
      AND later.dagster_event_type IN (e.dagster_event_type, 'ASSET_MATERIALIZATION')
      AND (e.dagster_event_type <> 'ASSET_OBSERVATION' OR later.dagster_event_type = 'ASSET_OBSERVATION'))
ORDER BY e.id LIMIT %(chunk)s
"""
_CHECK_EVENTS = """
SELECT e.id FROM event_logs e
WHERE e.id > %(after)s AND e.timestamp < %(other)s
  AND e.dagster_event_type IN ('ASSET_CHECK_EVALUATION', 'ASSET_CHECK_EVALUATION_PLANNED')
  AND NOT EXISTS (SELECT 1 FROM asset_check_executions c WHERE c.evaluation_event_storage_id = e.id)
ORDER BY e.id LIMIT %(chunk)s
"""
_CHECK_EXECUTIONS = """
SELECT c.id FROM asset_check_executions c
WHERE c.id > %(after)s AND c.create_timestamp < %(other)s
  AND EXISTS (SELECT 1 FROM asset_check_executions later
              WHERE later.asset_key = c.asset_key AND later.check_name = c.check_name AND later.id > c.id
                AND later.partition IS NOT DISTINCT FROM c.partition)
ORDER BY c.id LIMIT %(chunk)s
"""
_RUNS = """
SELECT r.id, r.run_id FROM runs r
WHERE r.id > %(after)s AND r.create_timestamp < %(runs)s AND r.update_timestamp < %(runs)s
  AND r.status = ANY(%(finished)s)
  AND NOT EXISTS (SELECT 1 FROM event_logs e WHERE e.run_id = r.run_id AND e.asset_key IS NOT NULL
                  AND NOT (e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' AND e.partition IS NULL))
ORDER BY r.id LIMIT %(chunk)s
"""
_OTHERS: Final[Mapping[str, str]] = {
    "bulk_actions": """
        DELETE FROM bulk_actions WHERE id IN (SELECT id FROM bulk_actions WHERE timestamp < %(runs)s
        AND status = ANY(%(ended)s) LIMIT %(chunk)s)""",
    "backfill_tags": """
        DELETE FROM backfill_tags WHERE id IN (SELECT t.id FROM backfill_tags t WHERE NOT EXISTS (
        SELECT 1 FROM bulk_actions b WHERE b.key = t.backfill_id) LIMIT %(chunk)s)""",
    "asset_daemon_asset_evaluations": """
        DELETE FROM asset_daemon_asset_evaluations WHERE id IN (SELECT id FROM asset_daemon_asset_evaluations
        WHERE create_timestamp < %(other)s LIMIT %(chunk)s)""",
    "job_ticks": """
        DELETE FROM job_ticks WHERE id IN (SELECT id FROM job_ticks WHERE timestamp < %(other)s LIMIT %(chunk)s)""",
}


def prune(connection: psycopg.Connection[Any], now: datetime, retention: Retention = Retention()) -> Pruned:
    """Delete from Dagster's database what has passed its retention; `connection` is in autocommit mode.

    Only one prune works at a time; another one in the meantime deletes nothing. Gives the rows deleted by table.
    """
    moment = {f: now.replace(tzinfo=None) - getattr(retention, f) for f in ("log", "events", "runs", "other")}
    values = {**moment, "chunk": CHUNK, "finished": list(FINISHED), "ended": list(BACKFILL_ENDED)}
    pruned = Pruned()
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    if not row or not row[0]:
        return pruned
    try:
        # Executions first: an evaluation's event is kept for as long as its execution is.
        _delete_chosen(connection, _CHECK_EXECUTIONS, "asset_check_executions", values, pruned)
        for chosen in (_LOG_EVENTS, _ASSET_EVENTS, _CHECK_EVENTS):
            _delete_chosen(connection, chosen, "event_logs", values, pruned)
        _delete_runs(connection, values, pruned)
        for table, statement in _OTHERS.items():
            while count := connection.execute(statement, values).rowcount:
                pruned.add(table, count)
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
    return pruned


def _delete_chosen(
    connection: psycopg.Connection[Any], choose: str, table: str, values: Mapping[str, object], pruned: Pruned
) -> None:
    after = 0
    while ids := [row[0] for row in connection.execute(choose, {**values, "after": after}).fetchall()]:
        with connection.transaction():
            if table == "event_logs":
                tags = connection.execute("DELETE FROM asset_event_tags WHERE event_id = ANY(%s)", (ids,))
                pruned.add("asset_event_tags", tags.rowcount)
            pruned.add(table, connection.execute(f"DELETE FROM {table} WHERE id = ANY(%s)", (ids,)).rowcount)
        after = ids[-1]


def _delete_runs(connection: psycopg.Connection[Any], values: Mapping[str, object], pruned: Pruned) -> None:
    after = 0
    while rows := connection.execute(_RUNS, {**values, "after": after}).fetchall():
        run_ids = [row[1] for row in rows]
        with connection.transaction():
            for table in ("event_logs", "run_tags", "runs"):
                deleted = connection.execute(f"DELETE FROM {table} WHERE run_id = ANY(%s)", (run_ids,))
                pruned.add(table, deleted.rowcount)
        after = rows[-1][0]
