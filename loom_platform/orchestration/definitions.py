"""Everything that Dagster sees of Loom. Building it opens no connection and reads no setting."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from loom_models.flows import FLOWS, Flow
from loom_platform.orchestration.assets import stream_assets
from loom_platform.orchestration.checks import health_checks, health_sensor
from loom_platform.orchestration.datasets import automation_sensor, dataset_assets
from loom_platform.orchestration.dead_letters import dead_letters_job
from loom_platform.orchestration.groups import groups_of
from loom_platform.orchestration.keeper import keeper_asset, keeper_schedule
from loom_platform.orchestration.lookups import lookups_asset, lookups_sensor
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.rollups import rollups_asset, rollups_schedule
from loom_platform.orchestration.sensors import stream_job, stream_sensor


def build_defs(*, flows: Sequence[Flow] = FLOWS, **overrides: Any) -> dg.Definitions:
    """The definitions of `flows`; `overrides` replace resources by name, which is how a test gives its own platform."""
    groups = groups_of(flows)
    stages = [s for g in groups for s in g.stages]
    landing = [s for s in stages if s.landing]
    jobs = [stream_job(g) for g in groups]
    datasets = dataset_assets()
    return dg.Definitions(
        assets=[
            *(stream_assets(g, landing) for g in groups),
            *datasets,
            rollups_asset(),
            keeper_asset(),
            lookups_asset(),
        ],
        asset_checks=[health_checks(stages)],
        jobs=[*jobs, dead_letters_job(stages)],
        schedules=[keeper_schedule(), rollups_schedule()],
        sensors=[
            stream_sensor(groups, jobs),
            automation_sensor(datasets),
            health_sensor(stages),
            lookups_sensor(),
        ],
        resources={"platform": Platform(), **overrides},
        executor=dg.in_process_executor,
    )


defs = build_defs()
