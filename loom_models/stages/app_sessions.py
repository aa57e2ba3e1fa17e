"""Sessions: which application was in front, from when to when.

Answered from landed events of applications and of the screen, around what a batch touches (`loom_models.app_moments`).
An open session is a row, too, and a timer ends it when nothing is heard of it.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, APP_SESSION_DETECTED, SYSTEM_EVENTS_RAW
from loom_models.app_categories import CATEGORIES, REVISION, with_category
from loom_models.app_moments import MOMENTS, in_stretches, key_of, stretches
from loom_models.app_sessions import MOMENT_SCHEMA, TIMEOUT, find, seconds_of
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import BatchPolicy, Context, Output, Stage

_ID: Final = ("session_id", "timestamp", "started_by", "ended_at", "ended_by", "app_name", "app_category")


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
    """Every session of the stretches that `context.frames["moments"]` holds; the open ones have a timer."""
    moments = context.frames[MOMENTS.name]
    spans = stretches(moments)
    found = find(moments.select(MOMENT_SCHEMA.names()), context.now)
    lasted = pl.col("ended_at") - pl.col("timestamp")
    rows = with_ids(
        with_category(in_stretches(found.sessions, spans), context.frames[CATEGORIES.name])
        .with_columns(seconds_of(lasted.dt.total_microseconds()).alias("duration_seconds"))
        .sort("device_id", "timestamp", "session_id"),
        namespace_of(STAGE_NAME, context.version),
        *(pl.col(n).dt.epoch("us") if n in ("timestamp", "ended_at") else pl.col(n) for n in _ID),
    )
    is_open = pl.col("is_open")
    timers = rows.filter(is_open).select(
        "device_id", key_of(pl.col("timestamp")), (pl.col("last_sign") + TIMEOUT).alias("due_at")
    )
    ended = rows.filter(~is_open).select("device_id", key_of(pl.col("timestamp")))
    return Output(
        {APP_SESSION_DETECTED: rows.drop("last_sign")},
        timers=timers,
        cleared=ended,
        spans={APP_SESSION_DETECTED: spans},
    )


STAGE_NAME: Final = "app-sessions"
APP_SESSIONS: Final = Stage(
    name=STAGE_NAME,
    source=APP_LIFECYCLE_RAW,
    sinks=(APP_SESSION_DETECTED,),
    version="1",
    transform=transform,
    description="Sessions of applications in front; ends that were lost are closed by the screen or by a time-out.",
    # A person uses several applications within a second at times; their borders are looked for once then.
    policy=BatchPolicy(max_rows=5_000, max_wait=timedelta(milliseconds=450)),
    context=(MOMENTS, CATEGORIES),
    inputs=REVISION,
    wakes=(SYSTEM_EVENTS_RAW,),
)
