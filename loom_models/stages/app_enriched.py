"""Events of applications with category and session: every event has one answer.

It depends on the events before it, of applications and of the screen, which are read from their tables
(`loom_models.app_moments`); a late one has those after it answered again, as far as it can matter for them.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.os_events import APP_LIFECYCLE_ENRICHED, APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_models.app_categories import CATEGORIES, REVISION, with_category
from loom_models.app_moments import MOMENTS, in_stretches, stretches
from loom_models.app_sessions import MOMENT_SCHEMA, find, seconds_of
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import BatchPolicy, Context, Output, Stage

_ID: Final = ("source_message_id", "session_id", "session_started_at", "previous_app_identifier", "app_category")


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
    """Every event of an application in the stretches that `context.frames["moments"]` holds."""
    moments = context.frames[MOMENTS.name]
    spans = stretches(moments)
    events = find(moments.select(MOMENT_SCHEMA.names()), context.now).events
    lasted = pl.col("timestamp") - pl.col("session_started_at")
    rows = (
        with_category(in_stretches(events, spans), context.frames[CATEGORIES.name])
        .with_columns(seconds_of(lasted.dt.total_microseconds()).alias("session_duration_seconds"))
        .rename({"message_id": "source_message_id", "kind": "event_type"})
        .sort("device_id", "timestamp", "source_message_id")
    )
    began = pl.col("session_started_at").dt.epoch("us")
    rows = with_ids(
        rows,
        namespace_of(STAGE_NAME, context.version),
        *(began if name == "session_started_at" else pl.col(name) for name in _ID),
    )
    # Also as spans, so that what stands is not sent again.
    return Output({APP_LIFECYCLE_ENRICHED: rows.select(_ROW)}, spans={APP_LIFECYCLE_ENRICHED: spans})


_ROW: Final = (
    "timestamp",
    "message_id",
    "device_id",
    "trace_id",
    "span_id",
    "source_message_id",
    "app_identifier",
    "app_name",
    "event_type",
    "app_category",
    "session_id",
    "session_started_at",
    "session_duration_seconds",
    "previous_app_identifier",
)
STAGE_NAME: Final = "app-enrichment"
APP_ENRICHMENT: Final = Stage(
    name=STAGE_NAME,
    source=APP_LIFECYCLE_RAW,
    sinks=(APP_LIFECYCLE_ENRICHED,),
    version="1",
    transform=transform,
    description="Events of applications with category and session.",
    # A person uses several applications within a second at times; their borders are looked for once then.
    policy=BatchPolicy(max_rows=5_000, max_wait=timedelta(milliseconds=450)),
    context=(MOMENTS, CATEGORIES),
    inputs=REVISION,
    wakes=(SYSTEM_EVENTS_RAW,),
)
