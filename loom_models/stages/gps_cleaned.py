"""Which GPS fixes can be believed: each is accepted or rejected with a reason (see `loom_models.cleaning`).

It is made from landed fixes, so batches and their order do not show; a fix that changes the verdict on those around it
has them answered again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import GPS_CLEANED
from loom_models.bounds import bounded, bounds
from loom_models.cleaning import REACH, USABLE_SQL, clean, groups_of
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import SPAN_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage

FIX_SCHEMA: Final = pl.Schema(
    {
        "message_id": pl.String(),
        "device_id": pl.String(),
        "timestamp": UTC_MICROS,
        "received_at": UTC_MICROS,
        "trace_id": pl.String(),
        "span_id": pl.String(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "accuracy": pl.Float64(),
        "speed": pl.Float64(),
    }
)
"""What is read of a landed fix."""
_SAME_RUN: Final = timedelta(hours=1)
_INSTANT: Final = timedelta(microseconds=1)
_MANY: Final = 1_000_000_000
_TABLE: Final = bounded(GPS_RAW.table.name)
_SEARCHED: Final = timedelta(hours=48)


def nth_moment(device: str, moment: str, *, forward: bool, count: int = 2 * REACH, table: str = _TABLE) -> str:
    """SQL for the time of the `count`-th moment of usable fixes from `moment` on, within 48 h; else of the last one."""
    order, beyond, end = ("", ">", "max") if forward else ("DESC", "<", "min")
    limit = (
        f"g.timestamp <= {moment} + interval '48 hours'"
        if forward
        else (f"g.timestamp >= {moment} - interval '48 hours'")
    )
    return (
        f"coalesce((SELECT {end}(timestamp) FROM (SELECT DISTINCT g.timestamp FROM {table} g "
        f"WHERE g.device_id = {device} AND g.timestamp {beyond} {moment} AND {limit} AND {USABLE_SQL} "
        f"ORDER BY g.timestamp {order} LIMIT {count}) AS near), {moment})"
    )


FIXES: Final = ContextQuery(
    name="fixes",
    sql=f"""
        SELECT r.message_id::text, r.device_id, r.timestamp, r.received_at, r.trace_id, r.span_id, r.latitude,
               r.longitude, r.accuracy, r.speed
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS run (device_id, first, last)
        CROSS JOIN LATERAL (SELECT {nth_moment("run.device_id", "run.first", forward=False)} AS first,
                                   {nth_moment("run.device_id", "run.last", forward=True)} AS last) AS reach
        CROSS JOIN LATERAL (SELECT * FROM {_TABLE} g WHERE g.device_id = run.device_id
                            AND g.timestamp BETWEEN reach.first AND reach.last) AS r
    """,
    parameters=lambda batch, due: _runs(batch),  # noqa: ARG005
    schema=FIX_SCHEMA,
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's fixes and for those around them."""
    fixes = clean(context.frames[FIXES.name])
    near = fixes.filter(_near(fixes, batch))
    follows = (pl.col("row") == pl.col("row").shift(1) + 1) & (pl.col("device_id") == pl.col("device_id").shift(1))
    spans = (
        near.with_columns(follows.fill_null(False).not_().cum_sum().alias("stretch"))
        .group_by("device_id", "stretch", maintain_order=True)
        .agg(pl.col("timestamp").min().alias("first"), (pl.col("timestamp").max() + _INSTANT).alias("last"))
    )
    rows = near.select(
        "timestamp",
        pl.col("message_id").alias("source_message_id"),
        "device_id",
        "trace_id",
        "span_id",
        "latitude",
        "longitude",
        pl.col("reason").is_null().alias("accepted"),
        "reason",
    )
    parts = (pl.col("timestamp").dt.epoch("us"), pl.col("source_message_id"), pl.col("reason"))
    answers = with_ids(rows, namespace_of(STAGE_NAME, context.version), *parts)
    return Output({GPS_CLEANED: answers}, spans={GPS_CLEANED: spans.select(SPAN_SCHEMA.names())})


def _near(fixes: pl.DataFrame, batch: pl.DataFrame) -> pl.Series:
    """Whether a row of `fixes`, cleaned, is of the batch or has a verdict that may depend on one that is."""
    if fixes.is_empty():
        return pl.Series(dtype=pl.Boolean)
    given = fixes.join(batch.select("timestamp", "message_id").unique(), on=["timestamp", "message_id"], how="semi")
    place = groups_of(fixes, ("device_id",)) * _MANY + fixes["moment"].to_numpy()
    targets = np.sort(place[given["row"].to_numpy()])
    first = np.searchsorted(targets, place - REACH)
    near = targets[np.minimum(first, len(targets) - 1)] <= place + REACH
    near &= first < len(targets)
    # All fixes of one moment go together, so that a span holds no fix that is not answered.
    starts = np.flatnonzero(np.diff(groups_of(fixes, ("device_id", "timestamp")), prepend=0))
    together = np.logical_or.reduceat(near, starts)
    return pl.Series(np.repeat(together, np.diff(np.append(starts, fixes.height))))


def _runs(batch: pl.DataFrame) -> Mapping[str, object] | None:
    """The batch's fixes of each device as ranges of time in which they lie closer than an hour."""
    if batch.is_empty():
        return None
    runs = (
        batch.select("device_id", "timestamp")
        .sort("device_id", "timestamp")
        .with_columns((pl.col("timestamp").diff().over("device_id") > _SAME_RUN).fill_null(False).alias("breaks"))
        .with_columns(pl.col("breaks").cum_sum().over("device_id").alias("run"))
        .group_by("device_id", "run", maintain_order=True)
        .agg(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
    )
    firsts, lasts = runs["first"].to_list(), runs["last"].to_list()
    around = bounds([*firsts, *lasts], _SEARCHED, _SEARCHED)
    return {"devices": runs["device_id"].to_list(), "firsts": firsts, "lasts": lasts, **around}


STAGE_NAME: Final = "gps-cleaner"
GPS_CLEANER: Final = Stage(
    name=STAGE_NAME,
    source=GPS_RAW,
    sinks=(GPS_CLEANED,),
    version="1",
    transform=transform,
    description="Which GPS fixes can be believed, and why the others cannot.",
    policy=BatchPolicy(max_rows=5_000, max_rows_again=50_000),
    context=(FIXES,),
)
