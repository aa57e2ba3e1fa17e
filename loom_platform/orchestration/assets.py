"""The asset function of a stage group: without a partition a stream run, with one a recompute of its days."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import sqlalchemy.exc
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster_postgres.utils import DagsterPostgresException
from pydantic import Field

from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.orchestration.decisions import idle_timeout
from loom_platform.orchestration.groups import StageGroup
from loom_platform.orchestration.interrupts import stop_on_interrupt
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.reporting import Pending, Reporter
from loom_platform.orchestration.specs import DAYS, asset_key, asset_specs
from loom_platform.stream.api import StageReport, recompute, run_stream

log = logging.getLogger(__name__)

STREAM_TAG = "loom/stream"
"""Tag of a stream run: the name of its group."""
BESIDE_TAG = "loom/beside"
"""Stages that a stream run has selected, but leaves to another run. Dagster fails a run without a partition that reads
a materialized day asset from outside of it, so what fills a stage's source is always selected too."""

STORAGE_AWAY = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, DagsterPostgresException)
_LAST_WORDS_SECONDS = 60.0


class RecomputeConfig(dg.Config):
    """What a run with a day takes; a stream run has no use for it."""

    devices: list[str] = Field(default=[], description="Compute only what these devices sent; all when empty.")
    anew: bool = Field(
        default=False, description="Begin anew, also where the same recompute was broken off in the last 24 hours."
    )


def stream_assets(group: StageGroup, landing_stages: Sequence[Stage]) -> dg.AssetsDefinition:
    """One multi_asset of all the group's topics, of which any subset can be run."""

    @dg.multi_asset(
        name=f"{group.name}_stages",
        specs=asset_specs(group),
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def run_stages(
        context: dg.AssetExecutionContext, config: RecomputeConfig, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        selected = [t for t in group.sinks if asset_key(t) in context.selected_asset_keys]
        beside = context.run.tags.get(BESIDE_TAG, "").split()
        stages = [s for s in group.filling(selected) if s.name not in beside]
        if context.has_partition_key or context.has_partition_key_range:
            yield from _recompute(context, platform, stages, config)
        else:
            _stream(context, platform, group, stages, landing_stages)

    return run_stages


def _stream(
    context: dg.AssetExecutionContext,
    platform: Platform,
    group: StageGroup,
    stages: Sequence[Stage],
    landing_stages: Sequence[Stage],
) -> None:
    reporter = Reporter(lambda events: _tell(context, events), api_url=platform.api_url())
    base = timedelta(seconds=platform.settings().stream_idle_timeout_seconds)
    config = platform.stream_config(context.run.run_id, idle_timeout=idle_timeout(base, _opened_lately(context, group)))

    def on_report(report: StageReport) -> None:
        try:
            reporter.on_report(report)
        except STORAGE_AWAY as error:
            log.warning("dagster's database is away, what was done is told later: %s", str(error).splitlines()[0])

    with stop_on_interrupt() as stop:
        try:
            summaries = run_stream(stages, config, on_report=on_report, stop=stop, landing_stages=landing_stages)
        finally:
            _insist(reporter.flush)
    told = ", ".join(f"{s.stage} {s.rows} rows" for s in summaries if s.records)
    context.log.info(f"{'Stopped on request' if stop.is_set() else 'Ended'}: {told or 'no records'}")


def _recompute(
    context: dg.AssetExecutionContext, platform: Platform, stages: Sequence[Stage], wanted: RecomputeConfig
) -> Iterator[dg.MaterializeResult[None]]:
    keys = context.partition_key_range
    first, last = date.fromisoformat(keys.start), date.fromisoformat(keys.end)
    config = platform.stream_config(context.run.run_id)
    for stage in stages:
        api = platform.api_url()
        done: dict[Topic, Pending] = {s: Pending(stage.name, stage.version, s, api_url=api) for s in stage.sinks}
        reports: list[StageReport] = []
        with stop_on_interrupt() as stop:
            recompute(
                stage,
                first,
                last,
                config,
                on_report=reports.append,
                stop=stop,
                devices=wanted.devices or None,
                anew=wanted.anew,
            )
        for report in reports:
            done[report.sink].add(report)
        if stop.is_set():
            raise DagsterExecutionInterruptedError
        for sink, pending in done.items():
            if asset_key(sink) not in context.selected_asset_keys:
                continue
            for partition in context.partition_keys:
                day = date.fromisoformat(partition)
                metadata = pending.metadata(pending.rows_by_day.get(day, 0), day)
                if wanted.devices:
                    metadata["devices"] = dg.MetadataValue.text(", ".join(wanted.devices))
                context.add_asset_metadata(metadata, asset_key(sink), partition)
            yield dg.MaterializeResult(asset_key=asset_key(sink))


def _opened_lately(context: dg.AssetExecutionContext, group: StageGroup) -> int:
    """How many stream runs of the group were opened in the last hour, this one left out."""
    since = datetime.now(UTC) - timedelta(hours=1)
    runs = dg.RunsFilter(tags={STREAM_TAG: group.name}, created_after=since)
    count: int = context.instance.get_runs_count(runs)
    return max(0, count - 1)


def _tell(context: dg.AssetExecutionContext, events: Sequence[dg.AssetMaterialization]) -> None:
    for event in events:
        context.log_event(event)


def _insist(flush: Callable[[], None]) -> None:
    """Flush, trying again for a while when Dagster's database is away: the rows are there, their days must be told."""
    deadline = time.monotonic() + _LAST_WORDS_SECONDS
    while True:
        try:
            flush()
        except STORAGE_AWAY:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return
