"""Asset checks of every topic: run from the UI, and kept up to date by a sensor that tells only what has changed.

A run a minute for ninety checks would be most of Dagster's database; the sensor measures in its tick and writes an
event when a check's outcome changes, when its asset has been written by another run, and once a day. The event is told
as that run's: the UI shows a check only when it is of the run that wrote the asset last, or newer than that.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
from dagster._core.events import DagsterEvent, DagsterEventType

from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.orchestration.health import DEAD_LETTERS, FRESHNESS, LAG, Verdict, checks_of, measure, verdicts
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key
from loom_platform.roles.limits import Role

TELL_AGAIN_AFTER = timedelta(days=1)
_DESCRIPTIONS = {
    LAG: "The oldest unread record waits no longer than the stage's SLA and the time to open a run.",
    DEAD_LETTERS: "The share of dead letters among the records of the last hour is normal.",
    FRESHNESS: "A device has sent something in the last six hours.",
}

Key = tuple[dg.AssetKey, str]
Told = tuple[str, str, float]
"""An outcome, the run that it was told with, and the Unix time when."""


def check_specs(stages: Sequence[Stage]) -> list[dg.AssetCheckSpec]:
    """The checks of all topics that stages fill."""
    return [
        dg.AssetCheckSpec(check, asset=asset_key(sink), description=_DESCRIPTIONS[check])
        for stage in stages
        for sink in stage.sinks
        for check in checks_of(stage)
    ]


def evaluate(stages: Sequence[Stage], platform: Platform, now: datetime) -> dict[Key, Verdict]:
    """Measure all stages and judge; raises DependencyError."""
    with platform.connect("health", Role.STREAM) as connection:
        healths = measure(stages, platform.stream_config("health"), connection, now)
    return {
        (asset_key(sink), verdict.check): verdict
        for health in healths.values()
        for verdict in verdicts(health, now)
        for sink in health.stage.sinks
    }


def health_checks(stages: Sequence[Stage]) -> dg.AssetChecksDefinition:
    """The checks as something that the UI can run."""

    @dg.multi_asset_check(
        name="health", specs=check_specs(stages), can_subset=True, description="Lag, dead letters and freshness."
    )
    def health(
        context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.AssetCheckResult]:
        found: Mapping[Key, Verdict] = {}
        unknown = ""
        try:
            found = evaluate(stages, platform, datetime.now(UTC))
        except DependencyError as error:
            # A backfill runs the checks of its assets too, and must not fail with them.
            unknown = f"not measured: {error}"
        for key in context.selected_asset_check_keys:
            verdict = found.get((key.asset_key, key.name)) or Verdict(key.name, False, False, unknown, {})
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=verdict.passed,
                severity=_severity(verdict),
                description=verdict.description,
                metadata=dict(verdict.numbers),
            )

    return health


def to_tell(
    found: Mapping[Key, Verdict], told: Mapping[str, Told], writers: Mapping[dg.AssetKey, str], now: datetime
) -> dict[Key, Verdict]:
    """Those whose outcome or asset's last writer has changed, or that were told long ago.

    `told` is by `name_of`; `writers` gives the run of each asset's last materialization.
    """
    due: dict[Key, Verdict] = {}
    for key, verdict in found.items():
        outcome, writer, at = told.get(name_of(key), (None, None, 0.0))
        changed = (outcome, writer) != (outcome_of(verdict), writers.get(key[0], ""))
        if changed or now.timestamp() - at >= TELL_AGAIN_AFTER.total_seconds():
            due[key] = verdict
    return due


def name_of(key: Key) -> str:
    """A key as the sensor's cursor has it."""
    return f"{key[0].to_user_string()}:{key[1]}"


def outcome_of(verdict: Verdict) -> str:
    """What counts as a change."""
    return "passed" if verdict.passed else _severity(verdict).value


def health_sensor(stages: Sequence[Stage]) -> dg.SensorDefinition:
    """Measures every two minutes, and reports changed outcomes as evaluations without a run."""

    @dg.sensor(
        name="health",
        minimum_interval_seconds=120,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lag, dead letters and freshness of every topic, told when they change.",
    )
    def health(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SkipReason:
        now = datetime.now(UTC)
        try:
            found = evaluate(stages, platform, now)
        except (DependencyError, psycopg.OperationalError) as error:
            return dg.SkipReason(f"waiting for {error}")
        told = {k: v for k, v in _read(context.cursor).items() if len(v) == 3}
        writers = last_writers(context.instance, {key for key, _ in found})
        for (key, check), verdict in to_tell(found, told, writers, now).items():
            writer = writers.get(key, "")
            _tell(context.instance, key, check, verdict, writer)
            told[name_of((key, check))] = (outcome_of(verdict), writer, now.timestamp())
        context.update_cursor(json.dumps({k: v for k, v in told.items() if k in {name_of(f) for f in found}}))
        failing = [name_of(k) for k, v in found.items() if not v.passed]
        return dg.SkipReason(f"failing: {', '.join(failing)}" if failing else "all well")

    return health


def _read(cursor: str | None) -> dict[str, Told]:
    told: dict[str, Told] = json.loads(cursor) if cursor else {}
    return told


def last_writers(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey]) -> dict[dg.AssetKey, str]:
    """The run that wrote each asset last; assets that were never written are left out."""
    records = instance.get_asset_records(list(keys))
    entries = {r.asset_entry.asset_key: r.asset_entry.last_materialization_record for r in records}
    return {key: last.run_id for key, last in entries.items() if last is not None}


def _tell(instance: dg.DagsterInstance, key: dg.AssetKey, check: str, verdict: Verdict, run_id: str) -> None:
    evaluation = dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check,
        passed=verdict.passed,
        severity=_severity(verdict),
        description=verdict.description,
        metadata=dict(verdict.numbers),
    )
    run = instance.get_run_by_id(run_id) if run_id else None
    if run is None:
        instance.report_runless_asset_event(evaluation)
        return
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=run.job_name,
        event_specific_data=evaluation,
    )
    instance.report_dagster_event(event, run_id=run_id)


def _severity(verdict: Verdict) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if verdict.severe else dg.AssetCheckSeverity.WARN
