"""Features of accelerometer samples over tumbling windows of event time, aligned to the epoch.

The answer for a window is made from all landed samples of it, so batches, their order and restarts do not show. It is
given when a later sample of the device comes, or when `GRACE` has passed; a late sample has its window answered
again, after the same grace, under a new id, and the engine marks the old row as superseded. Version 2 added the rhythm.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED
from loom_models.bounds import bounded, bounds
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, uuid5_texts
from loom_models.rhythm import rhythm
from loom_models.stage import TIMER_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage

WINDOW: Final = timedelta(seconds=5)
GRACE: Final = timedelta(seconds=2)
"""How long a window waits for stragglers: after its end, and after a late sample was accepted."""

STAGE_NAME: Final = "accelerometer-window"
_TABLE: Final = bounded(ACCELEROMETER_RAW.table.name)
_BEFORE: Final = timedelta(minutes=1) + WINDOW
"""The sample before a window is looked for a minute back, and the whole of its own window is read."""
_EVERY: Final = f"{int(WINDOW.total_seconds())}s"
_AT_ONCE: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = ("message_id", "device_id", "timestamp", "trace_id", "span_id", "x", "y", "z")
_DIMENSIONS: Final = ("x", "y", "z", "magnitude")
SAMPLES: Final = ContextQuery(
    name="samples",
    # A window that is ready is read whole. So is the window of the sample just before a touched window (within a
    # minute) if it still waits, which its timer tells: it waited for a later sample, and now there is one.
    sql=f"""
        WITH touched AS (
            SELECT * FROM unnest(%(devices)s::text[], %(starts)s::timestamptz[], %(ready_at)s::timestamptz[],
                                 %(first)s::boolean[]) AS t (device_id, start, ready_at, first)
        ), wanted AS (
            SELECT device_id, start FROM touched WHERE ready_at <= now()
            UNION
            SELECT t.device_id, p.start
            FROM touched t CROSS JOIN LATERAL (
                SELECT date_bin(%(window)s, r.timestamp, timestamptz 'epoch') AS start
                FROM {_TABLE} r WHERE r.device_id = t.device_id AND r.timestamp < t.start
                AND r.timestamp >= t.start - interval '1 minute' ORDER BY r.timestamp DESC LIMIT 1
            ) p
            WHERE t.first AND EXISTS (
                SELECT FROM stream_timers q WHERE q.stage = '{STAGE_NAME}' AND q.device_id = t.device_id
                AND q.key = (extract(epoch FROM p.start) * 1000000)::bigint::text
            )
        )
        SELECT r.message_id::text, r.device_id, r.timestamp, r.trace_id, r.span_id, r.x, r.y, r.z
        FROM wanted w CROSS JOIN LATERAL (
            SELECT * FROM {_TABLE} r WHERE r.device_id = w.device_id
            AND r.timestamp >= w.start AND r.timestamp < w.start + %(window)s
        ) r
    """,
    parameters=lambda batch, due: _parameters(batch, due),
    schema=pl.Schema(
        {n: pl.Float64() if n in "xyz" else UTC_MICROS if n == "timestamp" else pl.String() for n in _COLUMNS}
    ),
    window=WINDOW,
    from_batch=lambda batch, now: _ready(batch, now),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answer every window whose samples `context.frames["samples"]` holds; set a timer for the other touched ones."""
    samples = context.frames[SAMPLES.name]
    rows = features(samples, context.version)
    waiting = _touched(batch).join(
        rows, left_on=["device_id", "start"], right_on=["device_id", "timestamp"], how="anti"
    )
    timers = waiting.select("device_id", _key("start"), pl.col("ready_at").alias("due_at"))
    return Output(
        {ACCELEROMETER_WINDOWED: rows},
        timers=timers.match_to_schema(TIMER_SCHEMA),
        cleared=rows.select("device_id", _key("timestamp")),
    )


def features(samples: pl.DataFrame, version: str) -> pl.DataFrame:
    """One row for each (device, window) of `samples`, which has the columns of `SAMPLES` in any order of rows.

    A window's id is a UUID over the ids of its samples in order of (timestamp, id). Crossings are counted between
    neighbours of which just one is below the window's mean magnitude.
    """
    x, y, z, magnitude = (pl.col(n) for n in _DIMENSIONS)
    neighbours = pl.col("device_id").eq(pl.col("device_id").shift(1)) & pl.col("start").eq(pl.col("start").shift(1))
    # Divisors are columns: polars multiplies by the reciprocal of a literal, but not in a frame of one row.
    micros = _micros(pl.col("timestamp").diff())
    ordered = (
        samples.unique(["timestamp", "message_id"], keep="first")
        .with_columns(pl.col("timestamp").dt.truncate(_EVERY).alias("start"), _norm(x, y, z).alias("magnitude"))
        .sort("device_id", "timestamp", "message_id")
        .with_columns(
            pl.when(neighbours & (micros > 0))
            .then((_norm(x.diff(), y.diff(), z.diff()) * 1e6 / micros).pow(2))
            .alias("jerk2")
        )
    )
    below = magnitude < magnitude.mean()
    out = ordered.group_by("device_id", "start", maintain_order=True).agg(
        pl.col("message_id").str.join("").alias("sources"),
        pl.col("message_id").last().alias("source_message_id"),
        pl.col("trace_id", "span_id").last(),
        pl.len().cast(pl.Int64).alias("sample_count"),
        *(pl.col(n).mean().alias(f"{n}_mean_mps2") for n in _DIMENSIONS),
        *(pl.col(n).std(ddof=0).alias(f"{n}_std_mps2") for n in _DIMENSIONS),
        *(pl.col(n).min().alias(f"{n}_min_mps2") for n in _DIMENSIONS),
        *(pl.col(n).max().alias(f"{n}_max_mps2") for n in _DIMENSIONS),
        pl.col("jerk2").mean().sqrt().alias("jerk_rms_mps3"),
        below.cast(pl.Int8).diff().abs().sum().alias("crossings"),
        _micros(pl.col("timestamp").last() - pl.col("timestamp").first()).alias("span"),
        pl.lit(WINDOW // timedelta(milliseconds=1), dtype=pl.Int64).alias("window_ms"),
    )
    ids = uuid5_texts(namespace_of(STAGE_NAME, version), out["device_id"] + "\n" + out["sources"])
    seconds = _micros(pl.col("timestamp") - pl.col("start")) * 1e-6
    hertz, share = rhythm(
        ordered.select(seconds).to_series().to_numpy(),
        ordered["magnitude"].to_numpy(),
        out["sample_count"].to_numpy(),
    )
    return out.with_columns(
        rhythm_hz=pl.Series(hertz).fill_nan(None), rhythm_share=pl.Series(share).fill_nan(None)
    ).select(
        pl.col("start").alias("timestamp"),
        pl.Series("message_id", ids, dtype=pl.String),
        pl.exclude("start", "sources", "span", "crossings"),
        (pl.col("start") + WINDOW).alias("window_end"),
        # Rounded, because polars divides one row and many in ways that can differ in the last bit.
        (pl.col("sample_count") * 1000 / pl.col("window_ms")).round(6).alias("rate_hz"),
        pl.sum_horizontal(pl.col(f"{n}_std_mps2").pow(2) for n in "xyz").sqrt().alias("dynamic_rms_mps2"),
        pl.when(pl.col("span") > 0).then(pl.col("crossings") * 1e6 / pl.col("span")).alias("crossing_rate_hz"),
    )


def _micros(duration: pl.Expr) -> pl.Expr:
    return duration.dt.total_microseconds().cast(pl.Float64)


def _norm(*parts: pl.Expr) -> pl.Expr:
    return pl.sum_horizontal(p.pow(2) for p in parts).sqrt()


def _key(start: str) -> pl.Expr:
    """A window's timer is called by its start in microseconds since the epoch."""
    return pl.col(start).dt.epoch("us").cast(pl.String).alias("key")


def _touched(batch: pl.DataFrame) -> pl.DataFrame:
    """Windows of the batch's samples: `device_id`, `start`, `ready_at` and `first`.

    A window is ready at once where the batch has a later sample of its device, else after the grace. `first`: the
    batch does not touch the window just before it.
    """
    start = pl.col("start")
    waits = pl.max_horizontal(start + WINDOW + GRACE, pl.col("received_at") + GRACE)
    return (
        batch.with_columns(pl.col("timestamp").dt.truncate(_EVERY).alias("start"))
        .group_by("device_id", "start")
        .agg(pl.col("received_at").max())
        .sort("device_id", "start")
        .select(
            "device_id",
            "start",
            pl.when(start < start.max().over("device_id")).then(pl.lit(_AT_ONCE)).otherwise(waits).alias("ready_at"),
            (start.diff().over("device_id") == WINDOW).fill_null(False).not_().alias("first"),
        )
    )


def _ready(batch: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The samples of the batch's windows that are ready."""
    waiting = _touched(batch).filter(pl.col("ready_at") > now)
    samples = batch.select(_COLUMNS)
    if waiting.is_empty():
        return samples
    start = pl.col("timestamp").dt.truncate(_EVERY).alias("start")
    return samples.with_columns(start).join(waiting, on=["device_id", "start"], how="anti").drop("start")


def _parameters(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
    timed = due.select(
        "device_id",
        pl.col("key").cast(pl.Int64).cast(UTC_MICROS).alias("start"),
        pl.lit(_AT_ONCE).cast(UTC_MICROS).alias("ready_at"),
        pl.lit(False).alias("first"),
    )
    windows = pl.concat([_touched(batch), timed])
    if windows.is_empty():
        return None
    starts = windows["start"].to_list()
    return {
        "devices": windows["device_id"].to_list(),
        "starts": starts,
        "ready_at": windows["ready_at"].to_list(),
        "first": windows["first"].to_list(),
        "window": WINDOW,
        **bounds(starts, _BEFORE, WINDOW),
    }


ACCELEROMETER_WINDOW: Final = Stage(
    name=STAGE_NAME,
    source=ACCELEROMETER_RAW,
    sinks=(ACCELEROMETER_WINDOWED,),
    version="2",
    transform=transform,
    description="Features of accelerometer samples over windows of five seconds.",
    # A recompute has all of a window in its batch, so nothing is read twice there.
    # A window lasts for five seconds: a third of one more is not felt, and halves what its samples cost.
    policy=BatchPolicy(max_rows_again=50_000, max_wait=timedelta(milliseconds=350)),
    context=(SAMPLES,),
)
