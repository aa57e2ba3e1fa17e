"""Asset checks of every topic: run from the UI, and kept up to date by a sensor that tells only what has changed.

A run a minute for forty checks would be most of Dagster's database; the sensor measures in its tick and writes an
event when a check's outcome changes, and once a day.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg

from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.orchestration.health import DEAD_LETTERS, FRESHNESS, LAG, Verdict, checks_of, measure, verdicts
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key

TELL_AGAIN_AFTER = timedelta(days=1)
_DESCRIPTIONS = {
    LAG: "The oldest unread record waits no longer than the stage's SLA and the time to open a run.",
    DEAD_LETTERS: "The share of dead letters among the records of the last hour is normal.",
    FRESHNESS: "A device has sent something in the last six hours.",
}

Key = tuple[dg.AssetKey, str]


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
    with platform.connect("health") as connection:
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


def to_tell(found: Mapping[Key, Verdict], told: Mapping[str, tuple[str, float]], now: datetime) -> dict[Key, Verdict]:
    """Those whose outcome has changed or was told long ago. `told` maps `name_of` to (outcome, Unix time)."""
    due: dict[Key, Verdict] = {}
    for key, verdict in found.items():
        outcome, at = told.get(name_of(key), (None, 0.0))
        if outcome != outcome_of(verdict) or now.timestamp() - at >= TELL_AGAIN_AFTER.total_seconds():
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
        told: dict[str, tuple[str, float]] = json.loads(context.cursor) if context.cursor else {}
        due = to_tell(found, told, now)
        for (key, check), verdict in due.items():
            context.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=check,
                    passed=verdict.passed,
                    severity=_severity(verdict),
                    description=verdict.description,
                    metadata=dict(verdict.numbers),
                )
            )
            told[name_of((key, check))] = (outcome_of(verdict), now.timestamp())
        context.update_cursor(json.dumps({k: v for k, v in told.items() if k in {name_of(f) for f in found}}))
        failing = [name_of(k) for k, v in found.items() if not v.passed]
        return dg.SkipReason(f"failing: {', '.join(failing)}" if failing else "all well")

    return health


def _severity(verdict: Verdict) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if verdict.severe else dg.AssetCheckSeverity.WARN
