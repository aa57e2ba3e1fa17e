"""The keeper: the asset that makes coming days, drops those that are past their retention, and clears up after them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import OWNER, file_reference
from loom_platform.retention import keeping
from loom_platform.retention.keeping import Keeper, KeptUp, holds_told

NAME = "keeper"


def keeper_asset() -> dg.AssetsDefinition:
    """The asset of what is kept; it has no rows of its own, each materialization tells what went."""

    @dg.asset(
        key=dg.AssetKey(NAME),
        group_name="platform",
        kinds={"postgres", "kafka"},
        owners=[OWNER],
        tags={"loom/role": "maintenance"},
        description="Makes coming partitions, keeps Kafka's retention equal, drops days past their retention with "
        "their bodies, prunes Dagster's database. `loom retention list` shows how long things are kept.",
        metadata={"dagster/code_references": file_reference(Path(keeping.__file__), "what it does")},
    )
    def keeper(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        """Keep once; a step that failed fails the run after the others were done."""
        done = Keeper(platform.settings()).keep(datetime.now(UTC), context.log.info)
        for dropped in done.dropped:
            for hold in dropped.holds:
                context.log.info(f"{dropped.topic}: days from {hold.first} on stay: {hold.reason}")
            if dropped.busy:
                context.log.warning(f"{dropped.topic}: others keep the table locked; its old days go the next time")
        if done.failed:
            told = "; ".join(f"{step}: {why}" for step, why in done.failed.items())
            raise dg.Failure(f"not all was kept: {told}", metadata=metadata_of(done))
        return dg.MaterializeResult(metadata=metadata_of(done))

    return keeper


def metadata_of(done: KeptUp) -> dict[str, Any]:
    """What a keeping did, for the UI."""
    return {
        "partitions_made": done.partitions,
        "days_dropped": done.days,
        "rows_dropped": sum(day.rows for d in done.dropped for day in d.days),
        "bytes_dropped": sum(day.bytes for d in done.dropped for day in d.days),
        "bodies_removed": sum(d.bodies for d in done.dropped) + done.orphans,
        "tables": {d.topic: [str(day.day) for day in d.days] for d in done.dropped if d.days},
        "held": {d.topic: holds_told(d.holds) for d in done.dropped if d.holds},
        "rollups_removed": done.rollups,
        "dead_letters_removed": done.letters,
        "kafka_changed": {f"{c.topic} {c.setting}": f"{c.found} -> {c.wanted}" for c in done.kafka.changes},
        "kafka_held": done.kafka.held,
        "dagster_rows_pruned": dict(done.dagster),
    }


def keeper_schedule() -> dg.ScheduleDefinition:
    """Every night; a night that was slept through is made up for."""
    return dg.ScheduleDefinition(
        name="keeper_nightly",
        target=dg.AssetSelection.assets(NAME),
        cron_schedule="40 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
