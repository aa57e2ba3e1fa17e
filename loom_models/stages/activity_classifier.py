"""What the person does in each window of the accelerometer: still, walking, running, cycling, in a vehicle.

The answer for a window depends on the windows around it and on the GPS fixes near them, all within a few minutes. It is
made from the tables, so batches and their order do not show: a new window, or a fix that comes later, has its
surroundings answered again. The newest window is answered at once, from what is before it. An id is made of the window
and of the answer, so that only an answer that changed makes a new row.

The rules of `loom_models.activity` judge each window, unless `LOOM_ACTIVITY_MODEL` names a model; the version says
which.
"""

from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from loom_contracts.topics.device import ACCELEROMETER_WINDOWED, GPS_RAW
from loom_contracts.topics.motion import ACTIVITY_CLASSIFIED
from loom_models import activity, stretches
from loom_models.bounds import bounded
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.models import activity_onnx
from loom_models.settings import ModelFile, activity_model
from loom_models.speeds import APART, speeds_near
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.stages.accelerometer_windowed import WINDOW
from loom_models.wakes import woken

REACH: Final = timedelta(seconds=activity.REACH_S)
"""A window changes no answer farther away than this."""

_DTYPES: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(("message_id", "device_id", "trace_id", "span_id"), pl.String()),
    "timestamp": UTC_MICROS,
    "sample_count": pl.Int64(),
}
_FEATURES: Final = tuple(n for n in activity_onnx.FEATURES if n != "speed_mps")
_WINDOW: Final = ("message_id", "device_id", "timestamp", "trace_id", "span_id", "sample_count", *_FEATURES)
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
    parameters=lambda batch, due: stretches.parameters(_read(batch, due)),
    schema=pl.Schema({n: _DTYPES.get(n, pl.Float64()) for n in _WINDOW}),
)
_FIX: Final = ("message_id", "device_id", "timestamp", "latitude", "longitude", "accuracy", "speed")
FIXES: Final = ContextQuery(
    name="fixes",
    sql=f"""
        SELECT f.message_id::text, {", ".join(f"f.{n}" for n in _FIX[1:])}
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS s (device_id, first, last)
        CROSS JOIN LATERAL (
            SELECT * FROM {bounded(GPS_RAW.table.name)} g
            WHERE g.device_id = s.device_id AND g.timestamp >= s.first AND g.timestamp < s.last
        ) f
    """,
    parameters=lambda batch, due: stretches.parameters(stretches.joined(_read(batch, due), APART, APART)),
    schema=pl.Schema({n: _DTYPES.get(n, pl.Float64()) for n in _FIX}),
)


def answered(batch: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """The stretches in which the batch's windows, and the fixes of woken minutes, can change an answer."""
    start = pl.col("timestamp")
    touched = batch.select("device_id", start.alias("first"), (start + WINDOW).alias("last"))
    if not due.is_empty():
        near_fixes = woken(due).with_columns(pl.col("first") - (APART + WINDOW), pl.col("last") + APART)
        touched = pl.concat([touched, near_fixes])
    return stretches.joined(touched, REACH, REACH)


def _read(batch: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """The stretches that these answers depend on."""
    return stretches.joined(answered(batch, due), REACH, REACH)


def classified(windows: pl.DataFrame, fixes: pl.DataFrame, version: str, model: ModelFile | None) -> pl.DataFrame:
    """One row for each of `windows`, which has the columns of `WINDOWS`; `fixes` has those of `FIXES`."""
    ordered = windows.unique(["device_id", "timestamp"], keep="first", maintain_order=True).sort(
        "device_id", "timestamp"
    )
    moments = ordered.select("device_id", (pl.col("timestamp") + WINDOW / 2).alias("at"))
    ordered = ordered.with_columns(speeds_near(moments, fixes).alias("speed_mps"))
    scores = _by_rules(ordered) if model is None else activity_onnx.load(model).scores_of(ordered)
    devices = ordered["device_id"].rank("dense").cast(pl.Int64).to_numpy()
    seconds = ordered["timestamp"].dt.epoch("us").to_numpy() * 1e-6
    best, share = activity.smoothed(scores, seconds, devices)
    names = np.array([*activity.ACTIVITIES, activity.UNKNOWN])
    rows = ordered.select(
        "timestamp",
        "device_id",
        "trace_id",
        "span_id",
        pl.col("message_id").alias("source_message_id"),
        (pl.col("timestamp") + WINDOW).alias("window_end"),
        pl.Series("activity", names[best], dtype=pl.String),
        pl.Series("confidence", np.round(share, 1), dtype=pl.Float64),
    )
    return with_ids(
        rows, namespace_of(STAGE_NAME, version), pl.col("source_message_id"), pl.col("activity"), pl.col("confidence")
    )


def _by_rules(windows: pl.DataFrame) -> activity.Floats:
    def numbers(name: str) -> activity.Floats:
        return windows[name].fill_null(float("nan")).to_numpy()

    return activity.scores_of(
        numbers("magnitude_std_mps2"),
        windows["sample_count"].to_numpy(),
        numbers("rhythm_share"),
        numbers("speed_mps"),
    )


def activity_classifier(model: ModelFile | None) -> Stage:
    """The stage, with the rules or with a person's own model."""

    def transform(batch: pl.DataFrame, context: Context, /) -> Output:
        spans = answered(batch, context.due)
        rows = classified(context.frames[WINDOWS.name], context.frames[FIXES.name], context.version, model)
        return Output({ACTIVITY_CLASSIFIED: stretches.within(rows, spans)}, spans={ACTIVITY_CLASSIFIED: spans})

    return Stage(
        name=STAGE_NAME,
        source=ACCELEROMETER_WINDOWED,
        sinks=(ACTIVITY_CLASSIFIED,),
        version=f"1+{activity.RULES if model is None else model.revision}",
        transform=transform,
        description="Activities of the person: still, walking, running, cycling, in a vehicle.",
        # Windows of several devices end together.
        policy=BatchPolicy(max_rows=5_000, max_wait=timedelta(milliseconds=100)),
        context=(WINDOWS, FIXES),
        wakes=(GPS_RAW,),
    )


STAGE_NAME: Final = "activity-classifier"
ACTIVITY_CLASSIFIER: Final = activity_classifier(activity_model())
