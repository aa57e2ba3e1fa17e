"""Datasets as assets: one partition a day, brought up to date by an automation condition."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import dagster as dg

from loom_contracts.table import Table
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_platform.orchestration import places_visited as places
from loom_platform.orchestration.days import days_assets
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import DAYS, OWNER, asset_key, beta_allowed, column_schema, file_reference
from loom_platform.roles.limits import Role

REFRESH_CRON = "0 * * * *"
"""How often a day that keeps changing is computed anew: 24 runs a day at most. What the condition finds costs dagster's
database 6 kB a time; who cannot wait reads the rows as they are (`loom day`)."""


def kept_up_to_date() -> dg.AutomationCondition[dg.AssetKey]:
    """A partition is asked for at once when it is missing and its source is not; then, when its source has changed
    since, at the next full hour. `eager()` looks only at the latest partition and knows no pace: a live
    stream would have it run every half a minute."""
    # Not "newly missing", as in `eager()`: days that were there before Dagster first looked count too.
    missing = (
        dg.AutomationCondition.missing()
        & dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing())
        & ~dg.AutomationCondition.execution_failed()
    )
    # Not `any_deps_updated()`: that a source is looked at does not say that it changes, and most days' bounds stay.
    updated = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated() & ~dg.AutomationCondition.executed_with_root_target()
    )
    asked = dg.AutomationCondition.newly_requested()
    # Not `since_last_handled()`: what comes between the look that asked and the next may come after the run has read.
    stale = updated.since((asked & ~updated) | dg.AutomationCondition.initial_evaluation())
    due = stale & dg.AutomationCondition.cron_tick_passed(REFRESH_CRON)
    return ((missing | due) & ~dg.AutomationCondition.in_progress()).with_label("kept up to date")


def _columns() -> dg.TableSchema:
    columns = column_schema(Table(places.TABLE, places.COLUMNS, None, ())).columns
    return dg.TableSchema([dg.TableColumn("day", "date", "UTC day, the partition."), *columns])


def places_visited_asset() -> dg.AssetsDefinition:
    """The asset of `places_visited`."""
    with beta_allowed():

        @dg.asset(
            key=dg.AssetKey(places.TABLE),
            partitions_def=DAYS,
            deps=[
                dg.AssetDep(
                    asset_key(GEOREGION_DETECTED),
                    # A day needs the next one too, which tells of stays over midnight; today has no next one yet.
                    partition_mapping=dg.TimeWindowPartitionMapping(
                        end_offset=1, allow_nonexistent_upstream_partitions=True
                    ),
                )
            ],
            backfill_policy=dg.BackfillPolicy.single_run(),
            automation_condition=kept_up_to_date(),
            group_name="datasets",
            kinds={"polars", "postgres"},
            owners=[OWNER],
            tags={"loom/role": "dataset"},
            description="For each UTC day and saved place: when the person was there, for how long, how many times.",
            metadata={
                "dagster/column_schema": _columns(),
                "dagster/table_name": places.TABLE,
                "dagster/code_references": file_reference(Path(places.__file__), "computation"),
            },
        )
        def places_visited(
            context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
        ) -> Iterator[dg.MaterializeResult[None]]:
            """Compute each day of the run."""
            with platform.connect("places_visited", Role.STREAM) as connection:
                for key in context.partition_keys:
                    found = places.compute_day(connection, date.fromisoformat(key), context.run.run_id)
                    metadata = {
                        "rows": found.height,
                        "visits": int(found["visits"].sum()),
                        "total_seconds": round(float(found["total_seconds"].sum())),
                    }
                    context.add_asset_metadata(metadata, partition_key=key)
            yield dg.MaterializeResult()

    return places_visited


def dataset_assets() -> tuple[dg.AssetsDefinition, ...]:
    """Every dataset."""
    return (places_visited_asset(), days_assets(kept_up_to_date()))


def automation_sensor(datasets: Sequence[dg.AssetsDefinition]) -> dg.AutomationConditionSensorDefinition:
    """Looks every two minutes whether a dataset is to be brought up to date."""
    return dg.AutomationConditionSensorDefinition(
        "datasets",
        target=dg.AssetSelection.assets(*(key for d in datasets for key in d.keys)),
        minimum_interval_seconds=120,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Brings datasets up to date after what they are made from has changed.",
    )
