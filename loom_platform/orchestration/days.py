"""The datasets of the person's days as one multi-asset: a run brings any of them up to date, for any days."""

import inspect
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg

from loom_contracts.table import Table
from loom_platform.days.catalogue import DATASETS, PERSON_DAYS
from loom_platform.days.compute import Computed, compute_day
from loom_platform.days.dataset import Dataset
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import DAYS, OWNER, asset_key, beta_allowed, column_schema, file_reference
from loom_platform.roles.limits import Role
from loom_platform.zones import SOURCE_TOPICS


def key_of(dataset: Dataset) -> dg.AssetKey:
    """The asset key of a dataset."""
    return dg.AssetKey(dataset.table)


def days_assets(condition: dg.AutomationCondition[dg.AssetKey]) -> dg.AssetsDefinition:
    """Every dataset of days, each brought up to date by `condition`."""
    with beta_allowed():
        specs = [_spec(dataset, condition) for dataset in DATASETS]

    @dg.multi_asset(
        name="days",
        specs=specs,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def days(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Compute each day of the run."""
        wanted = [d for d in DATASETS if key_of(d) in context.selected_asset_keys]
        told = {d.table: context.instance.get_materialized_partitions(key_of(d)) for d in wanted}
        zone = platform.settings().time_zone
        with platform.connect("days", Role.STREAM) as connection:
            for key in context.partition_keys:
                for done in compute_day(connection, date.fromisoformat(key), context.run.run_id, zone, wanted):
                    # What is as it was is told once only, so that a live day does not fill dagster's database.
                    if done.changed or key not in told[done.table]:
                        context.log_event(_event(done, key))
        yield from ()

    return days


def _event(done: Computed, day: str) -> dg.AssetMaterialization:
    metadata = {"rows": done.rows, "kept": done.kept} if done.kept else {"rows": done.rows}
    return dg.AssetMaterialization(dg.AssetKey(done.table), partition=day, metadata=metadata)


def _spec(dataset: Dataset, condition: dg.AutomationCondition[dg.AssetKey]) -> dg.AssetSpec:
    topics = dataset.topics if dataset is not PERSON_DAYS else SOURCE_TOPICS
    deps = [
        dg.AssetDep(
            asset_key(topic),
            # A UTC day that does not exist yet is no obstacle: today has no next one.
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-back, end_offset=ahead, allow_nonexistent_upstream_partitions=True
            ),
        )
        for topic, (back, ahead) in topics.items()
    ]
    if dataset is not PERSON_DAYS:
        deps.append(dg.AssetDep(key_of(PERSON_DAYS)))
    columns = column_schema(Table(dataset.table, dataset.columns, None, ())).columns
    return dg.AssetSpec(
        key=key_of(dataset),
        deps=deps,
        description=dataset.description,
        group_name="datasets",
        kinds={"polars", "postgres"},
        owners=[OWNER],
        tags={"loom/role": "dataset"},
        automation_condition=condition,
        # Days are told as events of their own.
        skippable=True,
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn("day", "date", "The person's day, the partition."), *columns]
            ),
            "dagster/table_name": dataset.table,
            "dagster/code_references": file_reference(Path(inspect.getfile(dataset.compute)), "computation"),
        },
    )
