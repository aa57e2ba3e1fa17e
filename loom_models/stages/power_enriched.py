"""How fast a battery charges or drains, and when it will be full or empty, at each reading.

The rate is the slope of the least-squares line through the charge over time: over the last hour while the device runs
on its battery, the last 20 minutes while it hangs on a charger, whose speed changes sooner. It goes through the reading
itself, the last reading of each minute before it, and the one before all of these, so readings that are rare have a
rate too. It goes back no further than the last change of the charger, a jump of the charge, or six hours without a
reading. There is none before `SHORTEST`: most devices tell whole percents, and one of these in a minute says nothing.

The answer depends on landed readings only, so batches and their order do not show. A late reading has those after it
answered again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import POWER_ENRICHED, POWER_RAW
from loom_models.ids import namespace_of, with_ids
from loom_models.power import (
    COUNTS_SQL,
    READING,
    READING_SCHEMA,
    clock_ahead,
    jumps,
    plugged,
    runs,
    source,
)
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage

DRAIN_MINUTES: Final = 60
CHARGE_MINUTES: Final = 20
"""How many minutes before a reading's own its rate looks at."""
SHORTEST: Final = timedelta(minutes=5)
LONGEST_PAUSE: Final = timedelta(hours=6)
STEADY_PERCENT_PER_HOUR: Final = 0.1
"""A battery that changes less stands still: there is no time to full or empty."""
SAME_RUN: Final = timedelta(minutes=10)
"""Readings of a batch that lie closer than this are read from the table as one range."""

# With these bounds the planner leaves out all days but a few, which is most of what such a query takes.
_TABLE: Final = f"(SELECT * FROM {POWER_RAW.table.name} WHERE timestamp >= %(since)s AND timestamp <= %(until)s)"
_COLUMNS: Final = ", ".join("r.message_id::text" if n == "message_id" else f"r.{n}" for n in READING)
_BACK: Final = f"interval '{DRAIN_MINUTES} minutes'"
_PAUSE: Final = f"interval '{LONGEST_PAUSE // timedelta(hours=1)} hours'"
READINGS: Final = ContextQuery(
    name="readings",
    # Of the hour before a run the last reading of each minute, the reading before all of these, and every reading from
    # the run's first on: to its last, or where there are later ones to the last whose rate they change.
    sql=f"""
        WITH run AS (
            SELECT r.*, (SELECT n.timestamp FROM {_TABLE} n WHERE n.device_id = r.device_id AND n.timestamp > r.last
                         AND n.timestamp <= r.last + {_PAUSE} + {_BACK} AND n.{COUNTS_SQL}
                         ORDER BY n.timestamp LIMIT 1) + {_BACK} + interval '2 minutes' AS touched_until
            FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
                 AS r (device_id, first, last)
        )
        SELECT {_COLUMNS}, r.target FROM run CROSS JOIN LATERAL (
            (SELECT DISTINCT ON (date_trunc('minute', p.timestamp)) p.*, false AS target FROM {_TABLE} p
             WHERE p.device_id = run.device_id AND p.timestamp >= date_trunc('minute', run.first) - {_BACK}
             AND p.timestamp < run.first AND p.{COUNTS_SQL}
             ORDER BY date_trunc('minute', p.timestamp), p.timestamp DESC, p.message_id DESC)
            UNION ALL
            (SELECT p.*, false FROM {_TABLE} p WHERE p.device_id = run.device_id
             AND p.timestamp < date_trunc('minute', run.first) - {_BACK}
             AND p.timestamp >= date_trunc('minute', run.first) - {_BACK} - {_PAUSE} AND p.{COUNTS_SQL}
             ORDER BY p.timestamp DESC, p.message_id DESC LIMIT 1)
            UNION ALL
            (SELECT p.*, true FROM {_TABLE} p WHERE p.device_id = run.device_id
             AND p.timestamp >= run.first AND p.timestamp <= coalesce(run.touched_until, run.last))
        ) r
    """,
    parameters=lambda batch, due: _parameters(batch),  # noqa: ARG005
    schema=pl.Schema({**READING_SCHEMA, "target": pl.Boolean()}),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's readings, and for those after them whose rate they change."""
    given = batch.select(*READING, pl.lit(True).alias("target"))
    readings = (
        pl.concat([context.frames[READINGS.name], given])
        .group_by("timestamp", "message_id")
        .agg(pl.exclude("target").first(), pl.col("target").any())
        .sort("device_id", "timestamp", "message_id")
    )
    return Output({POWER_ENRICHED: rates(readings, context.version)})


def rates(readings: pl.DataFrame, version: str) -> pl.DataFrame:
    """The rows of the readings marked `target`.

    `readings` has the columns of `READINGS`, in order of (device, time, id). Times to full and empty are those at the
    measured rate; chargers slow down above 80 percent, which the rate follows within minutes.
    """
    known = readings.with_columns(plugged(), clock_ahead(), (pl.col("timestamp").dt.epoch("s") // 60).alias("minute"))
    points = _points(known.filter(~pl.col("clock_ahead")))
    # What counts of the reading before each: that of a wrong clock is passed over.
    before = [
        pl.when(~pl.col("clock_ahead")).then(pl.col(n)).forward_fill().shift(1).over("device_id").alias(f"previous_{n}")
        for n in ("battery_level", "timestamp")
    ]
    change = pl.col("battery_level") - pl.col("previous_battery_level")
    jumped = jumps(change, _hours(pl.col("timestamp") - pl.col("previous_timestamp")))
    targets = known.with_columns(before).filter("target").with_columns(pl.int_range(pl.len()).alias("number"))
    rows = (
        targets.join(_slopes(targets.filter(~pl.col("clock_ahead")), points), on="number", how="left")
        .with_columns(
            pl.when("clock_ahead")
            .then(pl.lit("clock_ahead"))
            .when(jumped)
            .then(pl.lit("jump"))
            .otherwise(pl.lit("ok"))
            .alias("quality"),
            source(),
        )
        .with_columns(
            pl.when(pl.col("is_plugged") & (pl.col("battery_level") >= 100.0))
            .then(0.0)
            .when("is_plugged")
            .then(_seconds(100.0 - pl.col("battery_level"), pl.col("rate_percent_per_hour")))
            .alias("seconds_to_full"),
            _seconds(pl.col("battery_level"), -pl.col("rate_percent_per_hour")).alias("seconds_to_empty"),
        )
        .rename({"message_id": "source_message_id"})
    )
    found = ("quality", "rate_percent_per_hour", "rate_seconds")
    parts = (pl.col(n) for n in ("source_message_id", *found))
    return with_ids(rows, namespace_of(STAGE_NAME, version), pl.col("timestamp").dt.epoch("us"), *parts).select(
        "timestamp",
        "message_id",
        "device_id",
        "trace_id",
        "span_id",
        "source_message_id",
        "battery_level",
        "is_charging",
        "is_plugged",
        "power_source",
        *found,
        "seconds_to_full",
        "seconds_to_empty",
    )


def _points(sound: pl.DataFrame) -> pl.DataFrame:
    """The last reading of each (`device_id`, `minute`), and the `stretch` it belongs to: without change or pause."""
    same = pl.col("device_id") == pl.col("device_id").shift(1)
    return (
        sound.unique(["device_id", "minute"], keep="last", maintain_order=True)
        .with_columns(
            (same & _goes_on(*(pl.col(n).shift(1) for n in _POINT))).fill_null(False).not_().cum_sum().alias("stretch")
        )
        .select("device_id", "minute", "stretch", *(pl.col(n).alias(f"point_{n}") for n in _POINT))
    )


_POINT: Final = ("timestamp", "battery_level", "is_plugged")


def _goes_on(timestamp: pl.Expr, level: pl.Expr, is_plugged: pl.Expr) -> pl.Expr:
    """Whether a reading goes on from the point that has these values."""
    pause = pl.col("timestamp") - timestamp
    jumped = jumps(pl.col("battery_level") - level, _hours(pause))
    return (pl.col("is_plugged") == is_plugged) & (pause <= LONGEST_PAUSE) & ~jumped


def _slopes(targets: pl.DataFrame, points: pl.DataFrame) -> pl.DataFrame:
    """`rate_percent_per_hour` and `rate_seconds` of each `number` of `targets` that has points enough."""
    back = pl.when("is_plugged").then(CHARGE_MINUTES).otherwise(DRAIN_MINUTES)
    # The point just before each target says which stretch goes on to it, if any does.
    last = _latest(targets.with_columns(pl.col("minute") - 1), points).filter(
        _goes_on(*(pl.col(f"point_{n}") for n in _POINT))
    )
    wanted = targets.select("number", "device_id", "minute", back.cast(pl.Int64).alias("back")).join(
        last.select("number", "stretch"), on="number"
    )
    within = (
        wanted.with_columns(pl.int_ranges(pl.col("minute") - pl.col("back"), pl.col("minute")).alias("minute"))
        .explode("minute")
        .join(points, on=["device_id", "minute", "stretch"])
    )
    earlier = _latest(wanted.with_columns(pl.col("minute") - pl.col("back") - 1), points.rename({"stretch": "theirs"}))
    at = targets.select("number", "timestamp", "battery_level")
    hours, change = (
        _hours(pl.col("point_timestamp") - pl.col("timestamp")),
        pl.col("point_battery_level") - pl.col("battery_level"),
    )
    columns = ("number", "point_timestamp", "point_battery_level")
    chosen = pl.concat(
        [within.select(columns), earlier.filter(pl.col("theirs") == pl.col("stretch")).select(columns)]
    ).join(at, on="number")
    # The reading itself is at nought, so it counts in the number of points alone.
    n = pl.len() + 1
    x, y, xx, xy = (pl.col(name).sum() for name in ("x", "y", "xx", "xy"))
    return (
        chosen.select("number", hours.alias("x"), change.alias("y"))
        .sort("number", "x")
        .with_columns((pl.col("x") * pl.col("x")).alias("xx"), (pl.col("x") * pl.col("y")).alias("xy"))
        .group_by("number", maintain_order=True)
        .agg(
            ((n * xy - x * y) / (n * xx - x * x)).round(3).alias("rate_percent_per_hour"),
            (pl.col("x").min() * -3600).round(3).alias("rate_seconds"),
        )
        .filter(pl.col("rate_seconds") >= SHORTEST.total_seconds())
    )


def _latest(targets: pl.DataFrame, points: pl.DataFrame) -> pl.DataFrame:
    """Each target that has one with the device's latest point up to its `minute`."""
    found = targets.sort("minute").join_asof(
        points.sort("minute"), on="minute", by="device_id", strategy="backward", check_sortedness=False
    )
    return found.filter(pl.col("point_timestamp").is_not_null())


def _seconds(percent: pl.Expr, rate: pl.Expr) -> pl.Expr:
    """The seconds that so many percent take at a rate an hour; null where it stands still or goes the other way."""
    return pl.when(rate >= STEADY_PERCENT_PER_HOUR).then((percent * 3600 / rate).round(1))


def _hours(duration: pl.Expr) -> pl.Expr:
    return duration.dt.total_microseconds().cast(pl.Float64) / 3.6e9


def _parameters(batch: pl.DataFrame) -> Mapping[str, object] | None:
    if batch.is_empty():
        return None
    found = runs(batch.select("device_id", first="timestamp", last="timestamp"), SAME_RUN)
    reach = LONGEST_PAUSE + 2 * timedelta(minutes=DRAIN_MINUTES + 2)
    return {**found, "since": min(found["firsts"]) - reach, "until": max(found["lasts"]) + reach}


STAGE_NAME: Final = "power-enricher"
POWER_ENRICHER: Final = Stage(
    name=STAGE_NAME,
    source=POWER_RAW,
    sinks=(POWER_ENRICHED,),
    version="1",
    transform=transform,
    description="How fast the battery charges or drains, and when it is full or empty.",
    policy=BatchPolicy(max_rows=5_000),
    context=(READINGS,),
)
