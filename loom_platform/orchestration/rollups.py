"""The roll-ups as an asset, and what brings them up to date."""

from pathlib import Path

import dagster as dg

from loom_contracts.rollups import ROLLUPS
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import OWNER, asset_key, file_reference
from loom_platform.rollups import refreshing
from loom_platform.rollups.refreshing import refresh
from loom_platform.rollups.status import pending

NAME = "rollups"


def rollups_asset() -> dg.AssetsDefinition:
    """The asset of all roll-ups; what is read does not wait for it."""

    @dg.asset(
        key=dg.AssetKey(NAME),
        deps=[asset_key(r.topic) for r in ROLLUPS],
        group_name="datasets",
        kinds={"postgres"},
        owners=[OWNER],
        tags={"loom/role": "dataset"},
        description="Least, greatest, mean and last value of every numeric sensor by minute and hour.",
        metadata={"dagster/code_references": file_reference(Path(refreshing.__file__), "computation")},
    )
    def rollups(
        context: dg.AssetExecutionContext,  # noqa: ARG001 - dagster looks for it by its name
        platform: dg.ResourceParam[Platform],
    ) -> dg.MaterializeResult[None]:
        """Count anew what has changed."""
        with platform.connect("rollups") as connection:
            done = [r for r in refresh(connection) if r.marks]
        return dg.MaterializeResult(
            metadata={
                "marks": sum(r.marks for r in done),
                "hours": round(sum(r.counted.total_seconds() for r in done) / 3600, 2),
                "rows": sum(r.rows for r in done),
                "tables": {r.table: r.marks for r in done},
            }
        )

    return rollups


def rollups_schedule() -> dg.ScheduleDefinition:
    """Every quarter of an hour, when anything has changed."""

    @dg.schedule(
        name=NAME,
        target=dg.AssetSelection.assets(NAME),
        cron_schedule="*/15 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Brings the roll-ups up to date.",
    )
    def due(
        context: dg.ScheduleEvaluationContext,  # noqa: ARG001 - dagster looks for it by its name
        platform: dg.ResourceParam[Platform],
    ) -> dg.RunRequest | dg.SkipReason:
        """Whether there is anything to do."""
        with platform.connect("rollups") as connection:
            waiting = pending(connection)
        return dg.RunRequest() if waiting else dg.SkipReason("no row has come, changed or gone since the last time")

    return due
