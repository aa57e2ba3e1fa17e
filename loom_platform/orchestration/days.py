"""The datasets of the person's days as one multi-asset: a run brings all of them up to date, for any days.

One condition decides for all: what it finds costs dagster's database 6 kB a dataset each time, and reading a day's rows
once for all of them is cheap.
"""

import inspect
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import dagster as dg

from loom_contracts.table import Table
from loom_contracts.topic import Topic
from loom_platform.days.catalogue import DATASETS, PERSON_DAYS
from loom_platform.days.compute import Computed, compute_day
from loom_platform.days.dataset import Dataset, widest
from loom_platform.days.timeline import DAY_TIMELINE
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import DAYS, OWNER, asset_key, beta_allowed, column_schema, file_reference
from loom_platform.roles.limits import Role
from loom_platform.zones import SOURCE_TOPICS


def key_of(dataset: Dataset) -> dg.AssetKey:
    """The asset key of a dataset."""
    return dg.AssetKey(dataset.table)


def days_assets(condition: dg.AutomationCondition[dg.AssetKey]) -> dg.AssetsDefinition:
    """Every dataset of days, brought up to date by `condition`."""
    with beta_allowed():
        specs = [_spec(dataset, condition if dataset is DAY_TIMELINE else None) for dataset in DATASETS]

    @dg.multi_asset(
        name="days",
        specs=specs,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def days(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Compute each day of the run."""
        told = {d.table: context.instance.get_materialized_partitions(key_of(d)) for d in DATASETS}
        zone = platform.settings().time_zone
        with platform.connect("days", Role.STREAM) as connection:
            for key in context.partition_keys:
                for done in compute_day(connection, date.fromisoformat(key), context.run.run_id, zone):
                    # What is as it was is told once only, so that a live day does not fill dagster's database.
                    if done.changed or key not in told[done.table]:
                        context.log_event(_event(done, key))
        yield from ()

    return days


def _event(done: Computed, day: str) -> dg.AssetMaterialization:
    metadata = {"rows": done.rows, "kept": done.kept} if done.kept else {"rows": done.rows}
    return dg.AssetMaterialization(dg.AssetKey(done.table), partition=day, metadata=metadata)


def _topics(dataset: Dataset) -> Mapping[Topic, tuple[int, int]]:
    """What is read for a dataset; for the one that the condition looks at, what is read for any."""
    if dataset is PERSON_DAYS:
        return SOURCE_TOPICS
    return widest([d.topics for d in DATASETS]) if dataset is DAY_TIMELINE else dataset.topics


def _spec(dataset: Dataset, condition: dg.AutomationCondition[dg.AssetKey] | None) -> dg.AssetSpec:
    deps = [
        dg.AssetDep(
            asset_key(topic),
            # A UTC day that does not exist yet is no obstacle: today has no next one.
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-back, end_offset=ahead, allow_nonexistent_upstream_partitions=True
            ),
        )
        for topic, (back, ahead) in _topics(dataset).items()
    ]
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
