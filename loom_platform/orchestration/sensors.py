"""The Kafka sensor: it waits inside its tick for the first record, and opens a stream run for what has work."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import FINISHED_STATUSES, IN_PROGRESS_RUN_STATUSES

from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.orchestration.assets import BESIDE_TAG, STREAM_TAG
from loom_platform.orchestration.decisions import LiveRun, Sight, Watch, chosen, retry_at
from loom_platform.orchestration.groups import StageGroup
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key
from loom_platform.roles.limits import Role
from loom_platform.stream.api import StreamConfig, wait_for_backlog

TICK_SECONDS = 18.0
"""How long a tick waits. The daemon begins ticks every 5 s, so one that ends a little before has the next follow soon;
and when the platform stops, the daemon and the code server wait for the ticks to end."""

SLICE_SECONDS = 5.0
"""While some stages are free and some are taken, look at the taken ones as often as this."""

LOOK_SECONDS = 1.0
"""While all stages are taken, only the leases are looked at, so a run that ends is followed at once."""

SETTLE_SECONDS = 0.2
"""After the first record, wait for its siblings: one run for all of them is better than two."""

RECENT = timedelta(minutes=10)

_LEASES = """
SELECT l.stage, coalesce(l.run_id, l.holder) FROM stream_leases l WHERE l.stage = ANY(%s) AND l.expires_at >= now()
AND EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.pid = l.backend_pid AND a.backend_start = l.backend_start)
"""
_RECENT = """
SELECT DISTINCT stage FROM stream_offsets WHERE stage = ANY(%s) AND next_offset > 0 AND updated_at > now() - %s
"""


def job_name(group: StageGroup) -> str:
    """The name of the group's job."""
    return f"stream_{group.name}"


def stream_job(group: StageGroup) -> UnresolvedAssetJobDefinition:
    """The job of the group's stream runs."""
    return dg.define_asset_job(
        job_name(group),
        selection=dg.AssetSelection.assets(*(asset_key(t) for t in group.sinks)).without_checks(),
        description=f"Streams the topics of {group.name} into their tables until they are idle.",
        executor_def=dg.in_process_executor,
    )


def stream_sensor(groups: Sequence[StageGroup], jobs: Sequence[UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    """The sensor that opens a stream run of a group when a stage of it has work and no run has it.

    It watches all groups of the code location: a tick costs as much for two as for one. `jobs` are the groups' own.
    """
    watches = {g.name: Watch() for g in groups}
    stages = [s for g in groups for s in g.stages]
    names = [s.name for s in stages]

    @dg.sensor(
        name="kafka",
        jobs=jobs,
        # The daemon looks every 5 s; an interval of 5 s would miss every second look by milliseconds.
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Opens a stream run when a topic has records that no live run reads.",
    )
    def kafka(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        instance, config = context.instance, platform.stream_config("sensor")
        held = {g.name: at for g in groups if (at := retry_at(ended_runs(instance, g))) is not None}

        def look() -> Sight:
            now = datetime.now(UTC)
            with platform.connect("sensor", Role.STREAM) as connection:
                leases = dict(connection.execute(_LEASES, (names,)).fetchall())
            sights = [watches[g.name].look(live_runs(instance, g), leases, now) for g in groups]
            waiting = (s.name for g in groups if held.get(g.name, now) > now for s in g.stages)
            return Sight(
                frozenset(waiting).union(*(s.busy for s in sights)), tuple(run for s in sights for run in s.dead)
            )

        try:
            sight, ready = await_work(stages, config, look)
            _reap(instance, sight)
            if not ready:
                return dg.SkipReason("no new records")
            with platform.connect("sensor", Role.STREAM) as connection:
                recent = [row[0] for row in connection.execute(_RECENT, (names, RECENT)).fetchall()]
        except (DependencyError, psycopg.OperationalError) as error:
            return dg.SkipReason(f"waiting for {error}")
        free = [n for n in names if n not in sight.busy]
        return [r for g in groups if (r := request_for(g, ready, recent, free)) is not None]

    return kafka


def request_for(
    group: StageGroup, ready: Sequence[str], recent: Sequence[str], free: Sequence[str]
) -> dg.RunRequest | None:
    """A run of the group's stages that are `ready`, and of those that may soon be; None when none is.

    What fills their sources is part of it, or selected beside it where another run has it (BESIDE_TAG).
    """
    own = {s.name for s in group.stages}
    opened = chosen([n for n in ready if n in own], recent, [n for n in free if n in own])
    if not opened:
        return None
    sources = group.sources_of(opened)
    beside = [s for s in sources if s.name not in free]
    selected = group.named([*opened, *(s.name for s in sources)])
    return dg.RunRequest(
        job_name=job_name(group),
        asset_selection=[asset_key(sink) for stage in selected for sink in stage.sinks],
        asset_check_keys=[],
        tags={STREAM_TAG: group.name} | ({BESIDE_TAG: " ".join(s.name for s in beside)} if beside else {}),
    )


def await_work(
    stages: Sequence[Stage],
    config: StreamConfig,
    look: Callable[[], Sight],
    *,
    wait: Callable[[Sequence[Stage], StreamConfig, float], list[str]] = wait_for_backlog,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Sight, list[str]]:
    """Wait up to TICK_SECONDS until a stage that no run has has work; the names are empty when none had any."""
    deadline = clock() + TICK_SECONDS
    while True:
        sight = look()
        free = [s for s in stages if s.name not in sight.busy]
        left = deadline - clock()
        if not free:
            if left <= 0:
                return sight, []
            sleep(min(LOOK_SECONDS, left))
            continue
        ready = wait(free, config, max(0.0, min(left, SLICE_SECONDS) if sight.busy else left))
        if ready:
            sleep(SETTLE_SECONDS)
            return sight, sorted({*ready, *wait(free, config, 0.0)})
        if clock() >= deadline:
            return sight, []


def live_runs(instance: dg.DagsterInstance, group: StageGroup) -> list[LiveRun]:
    """The group's stream runs that have not ended."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={STREAM_TAG: group.name}, statuses=_UNFINISHED), order_by="create_timestamp"
    )
    stage_of = {asset_key(topic): stage.name for topic, stage in group.stage_of.items()}
    return [
        LiveRun(
            r.dagster_run.run_id,
            frozenset(stage_of[k] for k in r.dagster_run.asset_selection or () if k in stage_of)
            - frozenset(r.dagster_run.tags.get(BESIDE_TAG, "").split()),
            _utc(r.create_timestamp),
        )
        for r in records
    ]


def ended_runs(instance: dg.DagsterInstance, group: StageGroup) -> list[tuple[bool, datetime]]:
    """The group's last stream runs that have ended, newest first: whether each failed, and when it ended."""
    filters = dg.RunsFilter(tags={STREAM_TAG: group.name}, statuses=FINISHED_STATUSES)
    return [
        (r.dagster_run.status == dg.DagsterRunStatus.FAILURE, _utc(r.update_timestamp))
        for r in instance.get_run_records(filters, limit=8, order_by="create_timestamp")
    ]


def _utc(moment: datetime) -> datetime:
    """Dagster gives its timestamps in UTC, with and without saying so."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_UNFINISHED = [*IN_PROGRESS_RUN_STATUSES, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.CANCELING]


def _reap(instance: dg.DagsterInstance, sight: Sight) -> None:
    for run_id in sight.dead:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "Its process is gone: it has held no lease for five minutes.")
