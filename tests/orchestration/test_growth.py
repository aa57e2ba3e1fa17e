"""What is written to Dagster's database in a day at the spec's full rate: bytes measured, times events counted."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus

from loom_contracts.topics.device import GPS_RAW
from loom_models.flows import FLOWS, STAGES
from loom_platform.days.catalogue import DATASETS
from loom_platform.orchestration.datasets import REFRESH_CRON
from loom_platform.orchestration.groups import groups_of
from loom_platform.orchestration.health import checks_of
from loom_platform.orchestration.reporting import Reporter
from loom_platform.orchestration.sensors import TICK_SECONDS
from loom_platform.orchestration.specs import DAYS
from loom_platform.settings import Settings
from loom_platform.stream.api import StageReport

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
START = datetime(2026, 11, 20, tzinfo=UTC)
MANY = 200


def report(at: datetime) -> StageReport:
    """What a stage of three partitions says, with numbers of the length that they have after months."""
    offsets = dict.fromkeys(range(3), (123_456_789, 123_457_789))
    return StageReport("stage", "1", GPS_RAW, {at.date(): 750}, offsets, 0.0234, 0.0444, 0.35, 750, 0, 750, at)


def reports_a_run() -> list[dg.AssetMaterialization]:
    """The events that one asset gets in a stream run of full length that never stands still."""
    told: list[dg.AssetMaterialization] = []
    reporter = Reporter(told.extend)
    run = Settings.model_fields["stream_max_duration_seconds"].default
    interval = Settings.model_fields["stream_report_interval_seconds"].default
    for n in range(1, int(run / interval) + 1):
        reporter.on_report(report(START + timedelta(seconds=n * interval)))
    reporter.flush()
    return told


def size(connection: psycopg.Connection[Any]) -> int:
    """Bytes of all tables with their indexes and their compressed long values."""
    connection.execute("VACUUM FULL")
    row = connection.execute("SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables").fetchone()
    assert row is not None
    return int(row[0])


def stream_run(events: list[dg.AssetMaterialization]) -> dg.Definitions:
    @dg.multi_asset(
        name="sensors_stages", specs=[dg.AssetSpec(GPS_RAW.parts, skippable=True)], partitions_def=DAYS, can_subset=True
    )
    def stages(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        for event in events:
            context.log_event(event)
        yield from ()

    return dg.Definitions(assets=[stages], executor=dg.in_process_executor)


def test_a_day_at_the_full_rate_is_at_most_twenty_megabytes(
    instance: dg.DagsterInstance, empty_database_url: str
) -> None:
    job = stream_run([]).resolve_implicit_global_asset_job_def()
    loud = stream_run(reports_a_run()[:1] * MANY).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance)  # tables, snapshots
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        sizes = [size(connection)]
        for _ in range(20):
            job.execute_in_process(instance=instance)
        sizes.append(size(connection))
        loud.execute_in_process(instance=instance)
        sizes.append(size(connection))
        for n in range(MANY):
            tick = instance.create_tick(
                TickData(
                    instigator_origin_id="f" * 40,
                    instigator_name="kafka",
                    instigator_type=InstigatorType.SENSOR,
                    status=TickStatus.STARTED,
                    timestamp=START.timestamp() + n,
                    selector_id="e" * 40,
                    log_key=["loom", "sensors", "kafka", str(n)],
                )
            )
            instance.update_tick(tick.with_status(TickStatus.SKIPPED).with_reason("no new records"))
        sizes.append(size(connection))
    run_bytes, event_bytes, tick_bytes = (
        (after - before) / count for before, after, count in zip(sizes, sizes[1:], (20, MANY, MANY), strict=False)
    )

    runs = DAY / timedelta(seconds=Settings.model_fields["stream_max_duration_seconds"].default)
    groups, assets = len(groups_of(FLOWS)), sum(len(s.sinks) for s in STAGES)
    refreshes = DAY / timedelta(hours=1)
    assert REFRESH_CRON == "0 * * * *"
    ticks = DAY / timedelta(seconds=5 * -(-TICK_SECONDS // 5)) + 2 * DAY / timedelta(minutes=2)
    megabytes = {
        "stream runs": groups * runs * run_bytes,
        "materializations": assets * runs * len(reports_a_run()) * event_bytes,
        # A planned event for each asset that is in a run.
        "plans": assets * runs * event_bytes / 2,
        # One run over two days, each with a plan and a materialization, and what the condition found.
        "places_visited": refreshes * (run_bytes + 3 * event_bytes + 2 * 6_000),
        # The same of all together, of which one has the condition and most come out differently on one of the days.
        "days": refreshes * (run_bytes + len(DATASETS) * 1.5 * event_bytes + 2 * 6_000),
        # Each is told once a run, as an event and as a row of its own.
        "checks": sum(len(checks_of(s)) * len(s.sinks) for s in STAGES) * runs * 2 * event_bytes,
        # A row a tick; those without a request go after a day (dagster.yaml), so this does not grow.
        "ticks": ticks * tick_bytes,
    }
    megabytes = {k: round(v / 1e6, 2) for k, v in megabytes.items()}
    if path := os.environ.get("LOOM_BENCH_OUT"):
        with open(path, "w") as out:  # noqa: PTH123
            json.dump({"run": run_bytes, "event": event_bytes, "tick": tick_bytes, "megabytes_a_day": megabytes}, out)
    print(f"run {run_bytes:.0f} B, materialization {event_bytes:.0f} B, tick {tick_bytes:.0f} B;", megabytes)  # noqa: T201
    assert sum(megabytes.values()) <= 20.0, megabytes
