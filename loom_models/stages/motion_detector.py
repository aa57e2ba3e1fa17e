"""Significant motion: when it begins and ends, and impacts, shakes and turns of the device.

A window moves when it is shaken more than a device that lies, or is held, is. Moving windows that are no farther apart
than `GAP` are one motion, if there are at least two; it starts with the first and stops at the end of the last. All
answers depend on windows within a minute, which are read from their table, so batches and their order do not show. A
motion has stopped when a window after the gap has come, or when the gap has passed in real time: a timer tells.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import ACCELEROMETER_WINDOWED
from loom_contracts.topics.motion import SIGNIFICANT_MOTION
from loom_models import stretches
from loom_models.bounds import bounded
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import DUE_SCHEMA, TIMER_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.stages.accelerometer_windowed import WINDOW

GAP: Final = timedelta(seconds=30)
"""A pause up to this length is part of a motion."""
GRACE: Final = timedelta(seconds=10)
"""How much longer a stop waits for windows that are on their way."""
REACH: Final = GAP + 2 * WINDOW
"""A window changes no answer farther away than this."""

SHAKEN_MPS2: Final = 0.3
"""Deviation of the magnitude from which a window moves. In US-TMD (see `loom_models.activity`) 80 % of the windows of
resting phones are below it, and 70 % of those in cars and 95 % of those of walkers above."""
TURNED_MPS2: Final = 1.5
"""A device that is turned over and over moves too, at this much of the vector without its mean."""
IMPACT_MPS2: Final = 30.0
"""About 3 g: a device that falls, or a person; steps of a runner are as hard, and told apart by `SINGLE`."""
SINGLE: Final = 4.5
"""An impact is that many deviations above the mean: one peak, not one of many."""
SHAKE_MPS2: Final = 15.0
TILT_COS: Final = 0.7071
"""A turn of 45 degrees or more between two windows."""
CALM_MPS2: Final = 3.0
"""Where motion is stronger, the mean of a window is no direction of gravity."""
STANDARD_GRAVITY_MPS2: Final = 9.80665

_TEXTS: Final = ("message_id", "device_id", "trace_id", "span_id")
_MEANS: Final = tuple(f"{n}_mean_mps2" for n in "xyz")
_WINDOW: Final = (
    "message_id",
    "device_id",
    "timestamp",
    "trace_id",
    "span_id",
    *_MEANS,
    "magnitude_mean_mps2",
    "magnitude_std_mps2",
    "magnitude_max_mps2",
    "dynamic_rms_mps2",
)
WINDOWS: Final = ContextQuery(
    name="windows",
    sql=f"""
        SELECT w.message_id::text, {", ".join(f"w.{n}" for n in _WINDOW[1:])}
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS s (device_id, first, last)
        CROSS JOIN LATERAL (
            SELECT * FROM {bounded(ACCELEROMETER_WINDOWED.table.name + "_current")} c
            WHERE c.device_id = s.device_id AND c.timestamp >= s.first AND c.timestamp < s.last
        ) w
    """,
    parameters=lambda batch, due: stretches.parameters(stretches.joined(_answered(batch, due), REACH, REACH)),
    schema=pl.Schema(
        {n: pl.String() if n in _TEXTS else UTC_MICROS if n == "timestamp" else pl.Float64() for n in _WINDOW}
    ),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answer the surroundings of the batch's windows and of due timers; wait for motions that may go on."""
    spans = _answered(batch, context.due)
    windows = context.frames[WINDOWS.name]
    rows, open_ends = events(windows, context.now, context.version)
    waiting = stretches.within(open_ends, spans)
    answered = stretches.within(windows.select("device_id", "timestamp"), spans)
    return Output(
        {SIGNIFICANT_MOTION: stretches.within(rows, spans)},
        timers=waiting.select("device_id", _key(), pl.col("due_at")).match_to_schema(TIMER_SCHEMA),
        cleared=answered.join(waiting, on=["device_id", "timestamp"], how="anti").select("device_id", _key()),
        spans={SIGNIFICANT_MOTION: spans},
    )


def events(windows: pl.DataFrame, now: datetime, version: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of `windows`, which has the columns of `WINDOWS`; and the windows that a motion may have ended with.

    The latter have `device_id`, `timestamp`, and `due_at`, when it will be known.
    """
    ordered = windows.unique(["device_id", "timestamp"], keep="first", maintain_order=True).sort(
        "device_id", "timestamp"
    )
    ordered = ordered.with_columns(pl.col("timestamp").max().over("device_id").alias("newest"))
    ended, known = _ends(ordered, now)
    found = pl.concat(
        [
            _starts(ordered),
            ended.filter(known).with_columns(pl.lit("stop").alias("event"), (pl.col("timestamp") + WINDOW)),
            *_sudden(ordered),
        ],
        how="diagonal",
    )
    peak = (pl.col("magnitude_max_mps2") - STANDARD_GRAVITY_MPS2).clip(lower_bound=0.0)
    rows = found.select(
        "timestamp",
        "device_id",
        "trace_id",
        "span_id",
        pl.col("message_id").alias("source_message_id"),
        "event",
        pl.when(pl.col("event") == "impact").then(peak).otherwise("dynamic_rms_mps2").alias("intensity_mps2"),
    ).sort("device_id", "timestamp", "event")
    due_at = (pl.col("timestamp") + WINDOW + GAP + GRACE).alias("due_at")
    open_ends = ended.filter(~known).select("device_id", "timestamp", due_at)
    return with_ids(rows, namespace_of(STAGE_NAME, version), pl.col("source_message_id"), pl.col("event")), open_ends


def _moving(windows: pl.DataFrame) -> pl.DataFrame:
    """Moving windows, and whether the one before and the one after are of the same motion."""
    moves = (pl.col("magnitude_std_mps2") >= SHAKEN_MPS2) | (pl.col("dynamic_rms_mps2") >= TURNED_MPS2)
    start = pl.col("timestamp")
    return windows.filter(moves).with_columns(
        (start - start.shift(1).over("device_id") <= GAP + WINDOW).fill_null(False).alias("goes_on"),
        (start.shift(-1).over("device_id") - start <= GAP + WINDOW).fill_null(False).alias("lasts"),
    )


def _starts(windows: pl.DataFrame) -> pl.DataFrame:
    return _moving(windows).filter(~pl.col("goes_on"), "lasts").with_columns(pl.lit("start").alias("event"))


def _ends(windows: pl.DataFrame, now: datetime) -> tuple[pl.DataFrame, pl.Expr]:
    """The last windows of motions, as far as is known, and whether that is for sure."""
    end = pl.col("timestamp") + WINDOW + GAP
    return _moving(windows).filter("goes_on", ~pl.col("lasts")), (pl.col("newest") >= end) | (end + GRACE <= now)


def _sudden(windows: pl.DataFrame) -> list[pl.DataFrame]:
    """Impacts, beginnings of shakes, and turns."""
    same = (pl.col("device_id") == pl.col("device_id").shift(1)) & (pl.col("timestamp").diff() <= 2 * WINDOW)
    single = pl.col("magnitude_max_mps2") - pl.col("magnitude_mean_mps2") >= SINGLE * pl.col("magnitude_std_mps2")
    impact = (pl.col("magnitude_max_mps2") >= IMPACT_MPS2) & single
    shakes = pl.col("dynamic_rms_mps2") >= SHAKE_MPS2
    calm = pl.col("dynamic_rms_mps2") < CALM_MPS2
    norm = pl.sum_horizontal(pl.col(n).pow(2) for n in _MEANS).sqrt()
    product = pl.sum_horizontal(pl.col(n) * pl.col(n).shift(1) for n in _MEANS)
    turned = same & calm & calm.shift(1) & (product < TILT_COS * norm * norm.shift(1))
    begins = shakes & ~(same & shakes.shift(1)).fill_null(False)
    return [
        windows.filter(condition).with_columns(pl.lit(event).alias("event"))
        for event, condition in (("impact", impact), ("shake", begins), ("orientation_change", turned))
    ]


def _answered(batch: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """The stretches in which the batch's windows and those of due timers can change an answer."""
    timed = due.match_to_schema(DUE_SCHEMA).select(
        "device_id", pl.col("key").cast(pl.Int64).cast(UTC_MICROS).alias("timestamp")
    )
    touched = pl.concat([batch.select("device_id", "timestamp"), timed])
    start = pl.col("timestamp")
    spans = touched.select("device_id", start.alias("first"), (start + WINDOW).alias("last"))
    return stretches.joined(spans, REACH, REACH)


def _key() -> pl.Expr:
    """A window's timer is called by its start in microseconds since the epoch."""
    return pl.col("timestamp").dt.epoch("us").cast(pl.String).alias("key")


STAGE_NAME: Final = "motion-detector"
MOTION_DETECTOR: Final = Stage(
    name=STAGE_NAME,
    source=ACCELEROMETER_WINDOWED,
    sinks=(SIGNIFICANT_MOTION,),
    version="1",
    transform=transform,
    description="Beginnings and ends of motion, impacts, shakes, turns of the device.",
    # Windows of several devices end together.
    policy=BatchPolicy(max_rows=5_000, max_wait=timedelta(milliseconds=100)),
    context=(WINDOWS,),
)
