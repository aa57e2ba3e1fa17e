"""How a topic and the stage that fills it look as an asset."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from loom_contracts.table import Table
from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.orchestration.groups import StageGroup

DAYS = dg.DailyPartitionsDefinition(start_date="2020-01-01", timezone="UTC", end_offset=1)
"""UTC days of event time; today is one of them."""

OWNER = "team:loom"
STAGE_TAG = "loom/stage"
ROLE_TAG = "loom/role"


def asset_key(topic: Topic) -> dg.AssetKey:
    """The asset key of a topic: the parts of its name."""
    return dg.AssetKey(topic.parts)


@contextmanager
def beta_allowed() -> Iterator[None]:
    """For the calls of dagster that warn of being in beta: the version is pinned, and tests cover what they do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield


def asset_specs(group: StageGroup) -> list[dg.AssetSpec]:
    """A spec for each topic that the group fills, in topological order."""
    return [asset_spec(stage, sink, group.flow_of[stage.name]) for stage in group.stages for sink in stage.sinks]


def asset_spec(stage: Stage, sink: Topic, flow: str) -> dg.AssetSpec:
    """The asset of `sink`, filled by `stage`."""
    return dg.AssetSpec(
        key=asset_key(sink),
        deps=[] if stage.landing else [asset_key(stage.source)],
        description=_description(stage, sink),
        group_name=group_name(flow),
        owners=[OWNER],
        kinds={"kafka", "postgres"} if stage.landing else {"polars", "postgres"},
        tags={STAGE_TAG: stage.name, ROLE_TAG: "landing" if stage.landing else "derived"},
        code_version=stage.version,
        # A stream run reports its days as events of their own and gives no output.
        skippable=True,
        metadata={
            "dagster/column_schema": column_schema(sink.table),
            "dagster/table_name": sink.table.name,
            "loom/topic": sink.name,
            "loom/stage": stage.name,
            "loom/sla_seconds": stage.policy.sla.total_seconds(),
            "loom/explain": f"loom explain MESSAGE_ID --topic {sink.name}",
            "loom/retention_days": sink.retention.days,
            "dagster/code_references": code_references(stage, sink),
        },
    )


def group_name(flow: str) -> str:
    """A flow's name as dagster allows it."""
    return flow.replace("-", "_").replace(" ", "_").replace(".", "_")


def _description(stage: Stage, sink: Topic) -> str:
    lines = [sink.description]
    if stage.description and not stage.landing:
        lines.append(stage.description)
    lines.append(f"Topic `{sink.name}`, table `{sink.table.name}`, stage `{stage.name}` version `{stage.version}`.")
    return "\n\n".join(lines)


def column_schema(table: Table) -> dg.TableSchema:
    """The columns of `table` for the UI."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                c.name,
                str(c.type.value),
                description=c.description or None,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in table.columns
        ]
    )


def file_reference(path: Path, label: str) -> dg.CodeReferencesMetadataValue:
    """A link to a file of this installation."""
    with beta_allowed():
        reference = dg.LocalFileCodeReference(file_path=str(path), label=label)
        return dg.CodeReferencesMetadataValue(code_references=[reference])


def code_references(stage: Stage, sink: Topic) -> dg.CodeReferencesMetadataValue:
    """Links to the transform and to the payload's class."""
    with beta_allowed():
        references = [_reference(stage.transform, "transform"), _reference(sink.payload, "payload")]
        return dg.CodeReferencesMetadataValue(code_references=[r for r in references if r is not None])


def _reference(target: Any, label: str) -> dg.LocalFileCodeReference | None:
    code = getattr(target, "__code__", None)
    if code is not None:
        return dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno, label=label)
    try:
        path = inspect.getsourcefile(target if inspect.isclass(target) else type(target))
    except TypeError:
        return None
    return dg.LocalFileCodeReference(file_path=str(Path(path)), label=label) if path else None
