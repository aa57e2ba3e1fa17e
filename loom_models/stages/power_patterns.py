"""Habits of charging, and how the battery wears, at each charging session.

Habits are of the sessions that began in the 28 days up to the session, itself included: usual hours and places, length,
charges. Trends are of 180 days. A battery that wears out holds less, so the same charger fills it faster and the same
use empties it sooner, in percent: the speed of charging (up to 80 percent, at the usual kind of charger) and that of
draining between sessions grow. Of each the median of a week counts; the trend is the least-squares slope of its
logarithm, where `TREND_WEEKS` weeks have one and `TREND_SPAN` lies between the first and the last.

Night is told by the sun, 4 minutes for each degree of longitude, where the session has a place, and by UTC where not.
The answer depends on the sessions that stand; when one changes, those after it are answered again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl

from loom_contracts.topics.device import CHARGING_DETECTED, POWER_PATTERNS
from loom_models import charging_habits
from loom_models.charging_habits import TREND
from loom_models.frames import dtype_of
from loom_models.ids import namespace_of, with_ids
from loom_models.power import runs
from loom_models.stage import SPAN_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage

HABIT: Final = timedelta(days=28)
FADING: Final = 0.5
"""Percent a month. Batteries of phones are made to keep 80 percent for 500 full charges or more, a year or two."""

_READ: Final = (
    "message_id",
    "device_id",
    "timestamp",
    "trace_id",
    "span_id",
    "ended_at",
    "ended_by",
    "duration_seconds",
    "power_source",
    "start_level",
    "end_level",
    "rate_percent_per_hour",
    "latitude",
    "longitude",
    "region_name",
)
_SELECT: Final = ", ".join("s.message_id::text" if n == "message_id" else f"s.{n}" for n in _READ)
SESSIONS: Final = ContextQuery(
    name="sessions",
    # The function reads a week at a time and lets go of its days: half a year of them is a large part of all locks.
    sql=f"""
        SELECT {_SELECT}, s.timestamp >= run.first
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS run (device_id, first, last)
        JOIN loom_charging_sessions(%(devices)s, %(firsts)s, %(lasts)s, %(trend)s) s ON s.device_id = run.device_id
             AND s.timestamp > run.first - %(trend)s AND s.timestamp < run.last + %(trend)s
    """,
    parameters=lambda batch, due: None if batch.is_empty() else {**_touched(batch), "trend": TREND},  # noqa: ARG005
    schema=pl.Schema({n: dtype_of(CHARGING_DETECTED.table.column(n).type) for n in _READ} | {"target": pl.Boolean()}),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's sessions, and for those of the device after them."""
    spans = pl.DataFrame(
        dict(zip(SPAN_SCHEMA.names(), _touched(batch).values(), strict=True)), schema=SPAN_SCHEMA
    ).with_columns(pl.col("last") + TREND)
    rows = patterns(context.frames[SESSIONS.name], context.version)
    return Output({POWER_PATTERNS: rows}, spans={POWER_PATTERNS: spans})


def patterns(sessions: pl.DataFrame, version: str) -> pl.DataFrame:
    """A row for each `target` of `sessions`, which has the columns of `SESSIONS`."""
    known = charging_habits.told(sessions)
    targets = known.filter("target").select("device_id", "timestamp", "source_message_id", "trace_id", "span_id")
    pairs = (
        targets.select("device_id", at="timestamp")
        .join(known, on="device_id")
        .filter(pl.col("timestamp") <= pl.col("at"), pl.col("timestamp") > pl.col("at") - TREND)
        .sort("device_id", "at", "timestamp")
    )
    recent = pairs.filter(pl.col("timestamp") > pl.col("at") - HABIT)
    by = ["device_id", "at"]
    rows = targets.rename({"timestamp": "at"})
    for part in (
        charging_habits.habits(recent, by),
        charging_habits.kinds(recent, by),
        charging_habits.hours(recent, by),
        charging_habits.places(recent, by),
        charging_habits.trend(charging_habits.usual(pairs, by), by, "charge"),
        charging_habits.trend(pairs, by, "drain"),
    ):
        rows = rows.join(part, on=by, how="left")
    charge, drain = pl.col("charge_trend_percent_per_month"), pl.col("drain_trend_percent_per_month")
    rows = rows.rename({"at": "timestamp"}).with_columns(
        (pl.col("timestamp") - HABIT).alias("window_start"),
        pl.col("pattern").fill_null("none"),
        pl.col("confidence").fill_null(0.0),
        pl.col("places").fill_null("[]"),
        pl.when(charge.is_null() | drain.is_null())
        .then(pl.lit("unknown"))
        .when((charge >= FADING) & (drain >= 0))
        .then(pl.lit("fading"))
        .otherwise(pl.lit("steady"))
        .alias("battery_trend"),
    )
    content = [n for n in rows.columns if n not in ("timestamp", "trace_id", "span_id", "window_start")]
    at = pl.col("timestamp").dt.epoch("us")
    return with_ids(rows, namespace_of(STAGE_NAME, version), at, *(pl.col(n) for n in content))


def _touched(batch: pl.DataFrame) -> Mapping[str, list[Any]]:
    return runs(batch.select("device_id", first="timestamp", last="timestamp"), TREND)


STAGE_NAME: Final = "power-patterns"
CHARGING_PATTERNS: Final = Stage(
    name=STAGE_NAME,
    source=CHARGING_DETECTED,
    sinks=(POWER_PATTERNS,),
    version="1",
    transform=transform,
    description="Usual hours and places of charging, and how the battery wears.",
    policy=BatchPolicy(max_rows=500),
    context=(SESSIONS,),
)
