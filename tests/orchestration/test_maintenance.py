"""A prune deletes what is old, and changes no status."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from loom_platform.orchestration.maintenance import prune
from loom_platform.orchestration.specs import DAYS

pytestmark = pytest.mark.integration
KEYS = [dg.AssetKey("landed"), dg.AssetKey("derived")]
BROKEN = {"2026-01-04"}

Connection = psycopg.Connection[Any]


def assets() -> dg.Definitions:
    @dg.multi_asset(
        specs=[dg.AssetSpec(KEYS[0], skippable=True), dg.AssetSpec(KEYS[1], deps=[KEYS[0]], skippable=True)],
        partitions_def=DAYS,
        can_subset=True,
    )
    def both(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        if not context.has_partition_key:
            for key in KEYS:
                for day in ("2026-01-02", "2026-01-03"):
                    context.log_event(dg.AssetMaterialization(key, partition=day, metadata={"rows": 1}))
            return
        if context.partition_key in BROKEN:
            raise ValueError("broken")
        for key in KEYS:
            yield dg.MaterializeResult(asset_key=key)

    @dg.asset_check(asset=KEYS[0])
    def fine() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    job = dg.define_asset_job("work", selection=dg.AssetSelection.assets(*KEYS), executor_def=dg.in_process_executor)
    return dg.Definitions(assets=[both], asset_checks=[fine], jobs=[job])


def history(instance: dg.DagsterInstance) -> None:
    """Stream runs, recomputes that worked and one that failed, and checks."""
    job = assets().resolve_job_def("work")
    for _ in range(3):
        job.execute_in_process(instance=instance)
    for day in ("2026-01-01", "2026-01-02", "2026-01-02", "2026-01-04"):
        job.execute_in_process(instance=instance, partition_key=day, raise_on_error=False)
    instance.report_runless_asset_event(dg.AssetMaterialization(KEYS[0], partition="2026-01-05"))
    for passed in (True, False):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=KEYS[0], check_name="fine", passed=passed, metadata={})
        )


def age(connection: Connection, days: int) -> None:
    """Let all that has happened have happened so many days earlier."""
    for table, columns in {
        "event_logs": ("timestamp",),
        "runs": ("create_timestamp", "update_timestamp"),
        "asset_check_executions": ("create_timestamp",),
        "job_ticks": ("timestamp",),
    }.items():
        changes = ", ".join(f"{c} = {c} - {days} * interval '1 day'" for c in columns)
        connection.execute(f"UPDATE {table} SET {changes}")


def count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*)::int FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def status(instance: dg.DagsterInstance, connection: Connection) -> list[object]:
    """All that the UI shows of a partition and a check, computed anew."""
    connection.execute("UPDATE asset_keys SET cached_status_data = NULL")
    found: list[object] = []
    for key in KEYS:
        value = get_and_update_asset_status_cache_value(instance, key, DAYS)
        assert value is not None
        found.append(sorted(value.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()))
        found.append(sorted(value.deserialize_failed_partition_subsets(DAYS).get_partition_keys()))
        found.append(sorted(value.deserialize_in_progress_partition_subsets(DAYS).get_partition_keys()))
        found.append(
            sorted(
                instance.get_latest_storage_id_by_partition(
                    key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(DAYS.get_partition_keys())
                ).items()
            )
        )
        event = instance.get_latest_materialization_event(key)
        assert event is not None
        found.append((event.run_id, event.timestamp))
    found.append(
        instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(KEYS[0], "fine"), limit=1)[
            0
        ].status
    )
    return found


@pytest.fixture
def dagster_database(empty_database_url: str) -> Iterator[Connection]:
    with closing(psycopg.connect(empty_database_url, autocommit=True)) as connection:
        yield connection


def test_status_is_the_same_before_and_after(instance: dg.DagsterInstance, dagster_database: Connection) -> None:
    history(instance)
    age(dagster_database, 30)
    before = status(instance, dagster_database)
    assert before[:2] == [["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-05"], ["2026-01-04"]]
    events, runs = count(dagster_database, "event_logs"), count(dagster_database, "runs")

    pruned = prune(dagster_database, datetime.now(UTC))

    assert status(instance, dagster_database) == before
    assert count(dagster_database, "event_logs") == events - pruned.rows["event_logs"] < events / 2
    # Kept: the last stream run, the last run of each day, and the one that failed.
    assert count(dagster_database, "runs") == runs - pruned.rows["runs"] == 4
    assert prune(dagster_database, datetime.now(UTC)).rows.get("event_logs", 0) == 0


def test_what_is_recent_or_unfinished_stays(instance: dg.DagsterInstance, dagster_database: Connection) -> None:
    history(instance)
    assert not any(prune(dagster_database, datetime.now(UTC)).rows.values())
    age(dagster_database, 30)
    dagster_database.execute("UPDATE runs SET status = 'STARTED'")
    # Only what belongs to no run may go: an old evaluation of a check.
    assert {k for k, v in prune(dagster_database, datetime.now(UTC)).rows.items() if v} <= {
        "asset_check_executions",
        "event_logs",
    }
    assert dagster_database.execute("SELECT count(*) FROM runs").fetchone() == (7,)


def test_two_prunes_at_once_do_not_meet(instance: dg.DagsterInstance, dagster_database: Connection) -> None:
    history(instance)
    age(dagster_database, 30)
    with closing(psycopg.connect(dagster_database.info.dsn, password=dagster_database.info.password)) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x4C6F6F6D_01,))
        assert prune(dagster_database, datetime.now(UTC)).rows == {}
