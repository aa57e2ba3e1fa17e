"""Literal batches for the tests of stages."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl

from loom_contracts.topic import Topic
from loom_models.frames import UTC_MICROS, frame_schema

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def message_id(number: int) -> str:
    """A UUID that shows its number."""
    return str(UUID(int=number))


def batch(topic: Topic, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A batch as the engine gives it; what a row leaves out is filled in. Offsets count up from 0."""
    schema = {
        **frame_schema(topic.payload),
        "kafka_partition": pl.Int32(),
        "kafka_offset": pl.Int64(),
        "received_at": UTC_MICROS,
    }
    filled = []
    for offset, row in enumerate(rows):
        base = {
            "schema_version": "1.0",
            "message_id": message_id(offset + 1),
            "device_id": "phone-001",
            "timestamp": NOON + timedelta(seconds=offset),
            "kafka_partition": 0,
            "kafka_offset": offset,
            "received_at": NOON + timedelta(seconds=offset, milliseconds=80),
        }
        filled.append({n: (base | dict(row)).get(n) for n in schema})
    return pl.DataFrame(filled, schema=schema, orient="row")


def sink_columns(topic: Topic) -> set[str]:
    """What a derived stage's rows must have: the table's columns but those that the engine adds."""
    engine = {"stage", "stage_version", "schema_version", "run_id", "computed_at", "superseded_at"}
    return {c.name for c in topic.table.columns} - engine
