"""The specification of a flow, as `loom flows export` writes it: priority, stages, volume, limits, retention.

The objects in `flows` are what runs; this module only tells of them. Field names say their units.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from loom_contracts.topic import Topic
from loom_models.flows import Flow
from loom_models.stage import Stage

SCHEMA_NAME = "_schema.yaml"
"""The file of the JSON Schema, beside the flows' own."""

Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BatchSpecification(_Part):
    """When a stage's batch ends, whichever comes first."""

    max_rows: Annotated[int, Field(ge=1, description="Records.")]
    max_bytes: Annotated[int, Field(ge=1, description="Bytes of message values.")]
    max_wait_ms: Annotated[float, Field(ge=0, description="Since its first record came.")]


class SinkSpecification(_Part):
    """Where a stage's rows go."""

    topic: str
    table: str
    retention_days: Annotated[float, Field(gt=0, description="How long Kafka keeps the topic's messages.")]


class StageSpecification(_Part):
    """One stage of a flow."""

    name: str
    version: Annotated[str, Field(description="Code, model, revision and the parameters that matter.")]
    description: str
    input_topic: str
    input_retention_days: Annotated[float, Field(gt=0, description="How long Kafka keeps them, to be read again.")]
    outputs: Annotated[list[SinkSpecification], Field(min_length=1)]
    error_topic: str
    consumer_group: str
    sla_seconds: Annotated[Seconds, Field(description="From acceptance to the committed row.")]
    error_threshold: Annotated[float, Field(ge=0, le=1, description="Share of dead letters that is still normal.")]
    batch: BatchSpecification
    reads: Annotated[list[str], Field(description="What it looks up in the database for each batch.")]
    woken_by: Annotated[list[str], Field(description="Further topics whose records make it answer again.")]


class FlowSpecification(_Part):
    """One flow: what it is for, how much comes in, and its stages in order."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    priority: Literal["critical", "high", "medium", "low"]
    description: str
    events_per_second: Annotated[float, Field(gt=0, description="The rate to expect of its sources together.")]
    stages: Annotated[list[StageSpecification], Field(min_length=1)]


def specification_of(flow: Flow) -> FlowSpecification:
    """What `flow` is, in plain values."""
    return FlowSpecification(
        name=flow.name,
        priority=flow.priority,
        description=flow.description,
        events_per_second=flow.events_per_second,
        stages=[_stage(stage) for stage in flow.stages],
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a flow's file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **FlowSpecification.model_json_schema()}


def _stage(stage: Stage) -> StageSpecification:
    policy = stage.policy
    return StageSpecification(
        name=stage.name,
        version=stage.version,
        description=stage.description,
        input_topic=stage.source.name,
        input_retention_days=_days(stage.source),
        outputs=[
            SinkSpecification(topic=sink.name, table=sink.table.name, retention_days=_days(sink))
            for sink in stage.sinks
        ],
        error_topic=stage.error_topic,
        consumer_group=stage.consumer_group,
        sla_seconds=policy.sla.total_seconds(),
        error_threshold=policy.error_threshold,
        batch=BatchSpecification(
            max_rows=policy.max_rows,
            max_bytes=policy.max_bytes,
            max_wait_ms=policy.max_wait.total_seconds() * 1000,
        ),
        reads=[query.name for query in stage.context],
        woken_by=[topic.name for topic in stage.wakes],
    )


def _days(topic: Topic) -> float:
    return topic.retention.total_seconds() / 86_400
