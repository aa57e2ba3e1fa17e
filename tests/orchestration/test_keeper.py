"""The keeper as Dagster runs it: one materialization that keeps everything, and what Dagster has open."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from loom_contracts.topics.device import AUDIO_RAW
from loom_contracts.topics.os_events import SYSTEM_EVENTS_RAW
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.keeper import NAME
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key
from loom_platform.retention.keeping import AHEAD, LOCK, Keeper
from loom_platform.retention.rules import Kind, write
from tests.retention.filling import insert, noon

pytestmark = pytest.mark.integration


@pytest.fixture
def settings_of_dagster(platform: Platform, instance: dg.DagsterInstance, empty_database_url: str) -> Platform:
    """The platform, with the instance's database as Dagster's own."""
    settings = platform.settings().model_copy(update={"dagster_database_url": empty_database_url})
    assert instance.get_runs() == []
    return Platform(lambda: settings)


def partitions(connection: psycopg.Connection[Any]) -> int:
    """How many are made ahead; TimescaleDB makes its own when a row comes."""
    row = connection.execute("SELECT count(*) FROM timeseries_tables WHERE kind = 'native'").fetchone()
    return int(row[0]) * (AHEAD + 1) if row else 0


def kept(platform: Platform, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    defs = build_defs(platform=platform)
    job = defs.get_repository_def().get_implicit_job_def_for_assets([dg.AssetKey(NAME)])
    assert job is not None
    return job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(NAME)], raise_on_error=False)


def test_a_night(settings_of_dagster: Platform, instance: dg.DagsterInstance) -> None:
    platform = settings_of_dagster
    today = datetime.now(UTC).date()
    with platform.connect("test") as connection:
        write(connection, Kind.TABLE, "os", timedelta(days=30), "test")
        old = [today - timedelta(days=n) for n in (32, 31, 1)]
        event = {"event_type": "lock", "event_category": "screen", "severity": "info", "kafka_offset": 0}
        for day in old:
            insert(connection, SYSTEM_EVENTS_RAW, noon(day), **event)
        result = kept(platform, instance)
        assert result.success
        (told_once,) = result.get_asset_materialization_events()
        told = told_once.materialization.metadata
        assert told["days_dropped"].value == 2
        assert told["tables"].value == {"os.events.system.raw": [str(old[0]), str(old[1])]}
        assert told["rows_dropped"].value == 2
        assert told["partitions_made"].value == partitions(connection)
        left = connection.execute("SELECT day FROM loom_days('os_events_system_raw') ORDER BY day LIMIT 1").fetchall()
        assert left == [(old[2],)]
        # The same again finds nothing to do; while another is at work it says so.
        again = kept(platform, instance).get_asset_materialization_events()[0].materialization.metadata
        assert (again["days_dropped"].value, again["partitions_made"].value) == (0, 0)
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        assert not kept(platform, instance).success


@pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")  # dagster's own call
def test_what_dagster_has_open(settings_of_dagster: Platform, instance: dg.DagsterInstance) -> None:
    keeper = Keeper(settings_of_dagster.settings())
    assert keeper.open_work() == []
    defs = build_defs(platform=settings_of_dagster)
    tags = {"dagster/partition": "2026-11-03"}
    job = defs.resolve_job_def("stream_audio")
    run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    (work,) = keeper.open_work()
    assert (work.what, work.first, work.last) == (f"run {run.run_id}", date(2026, 11, 3), date(2026, 11, 3))
    instance.report_run_canceled(run)
    assert keeper.open_work() == []
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="b1",
            asset_graph=defs.resolve_asset_graph(),
            partition_names=["2026-11-04", "2026-11-05", "2026-11-09"],
            asset_selection=[asset_key(AUDIO_RAW)],
            backfill_timestamp=datetime.now(UTC).timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    (work,) = keeper.open_work()
    # The day after the last one counts too.
    assert (work.what, work.first, work.last) == ("backfill b1", date(2026, 11, 4), date(2026, 11, 10))
    assert '", "'.join(asset_key(AUDIO_RAW).path) in work.names
    (backfill,) = instance.get_backfills()
    ended = backfill.with_status(BulkActionStatus.CANCELED)  # type: ignore[no-untyped-call]
    instance.update_backfill(ended)
    assert keeper.open_work() == []


def test_a_step_that_fails_does_not_stop_the_others(
    settings_of_dagster: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom_platform.stream.topics._TIMEOUT", 1.0)
    settings = settings_of_dagster.settings().model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    done = Keeper(settings).keep(datetime.now(UTC))
    assert set(done.failed) == {"kafka"}
    with settings_of_dagster.connect("test") as connection:
        assert done.partitions == partitions(connection)
