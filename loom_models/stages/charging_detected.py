"""Charging sessions: from when to when a device hangs on a charger, where, and what that does to its battery.

A session begins with the first reading that says so, or at the system's event of the charger between that and the
reading before it. It ends with the first reading that says otherwise, or the event; less than `FLICKER` without power
is no end. Readings that are further apart than `CLOSE` belong together only where the charge is no lower after the
pause, and where it is no longer than `SILENCE`; else a session ends with its last reading. A device that hangs on its
charger since more than a day before a midnight (UTC) begins another session there, so that the time to look back at is
bounded.

An answer depends on landed rows only: on the sessions around what was touched, which are found by the edges of the
stretch on a charger and a reading or two of each quarter of an hour, however many there are. An open session says
nothing that changes from reading to reading; a timer ends one that nothing follows.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import CHARGING_DETECTED, GPS_RAW, POWER_RAW
from loom_contracts.topics.os_events import SYSTEM_EVENTS_RAW
from loom_models.charging import CLOSE, OPEN, SILENCE, STRETCHES, TRACE
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.power import source
from loom_models.stage import SPAN_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.stages import georegion

SLACK_PERCENT: Final = 1.0
"""A charge that is lower by no more was not used: whole percents and a full battery's rest make as much."""
SLOWS_AT: Final = 80.0
SHORTEST_RISE: Final = timedelta(minutes=10)
LEAST_RISE: Final = 5.0
FULL: Final = 99.5
_DAY: Final = timedelta(days=1)
REGIONS: Final = ContextQuery(
    georegion.REGIONS.name,
    georegion.REGIONS.sql,
    lambda batch, due: {} if batch.height or due.height else None,
    georegion.REGIONS.schema,
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
    """The sessions around the batch's readings, around the times that it is woken for, and those whose time is out."""
    readings = context.frames[STRETCHES.name]
    spans = readings.select("device_id", first="span_first", last="span_last").unique()
    answered = {CHARGING_DETECTED: spans.match_to_schema(SPAN_SCHEMA)}
    if not readings["is_plugged"].any():
        return Output({}, spans=answered)
    # Two stretches of a batch may tell of the same session.
    found = sessions(readings, context.now).unique(["device_id", "timestamp"], keep="first", maintain_order=True)
    rows = found.join(_regions(found, context.frames[REGIONS.name]), on="source_message_id", how="left")
    content = [n for n in rows.columns if n not in (*_INNER, "trace_id", "span_id", "device_id", "timestamp")]
    rows = with_ids(
        rows,
        namespace_of(STAGE_NAME, context.version),
        pl.col("timestamp").dt.epoch("us"),
        *(pl.col(n).dt.epoch("us") if rows.schema[n] == UTC_MICROS else pl.col(n) for n in content),
    )
    is_open = pl.col("is_open")
    return Output(
        {CHARGING_DETECTED: rows.drop(_INNER)},
        timers=rows.filter(is_open).select("device_id", _key(), due_at=pl.col("last_at") + SILENCE),
        cleared=rows.filter(~is_open).select("device_id", _key()),
        spans=answered,
    )


_INNER: Final = ("last_at", "start_at")


def sessions(readings: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The sessions in each `run` of `readings`, which has the columns of `STRETCHES`.

    Beside the columns of their table: `start_at` and `last_at`, their first and last reading on the charger.
    """
    at, level, on = pl.col("timestamp"), pl.col("battery_level"), pl.col("is_plugged")
    pause = at - at.shift(1)
    near = (pause <= CLOSE) | (pause <= SILENCE) & (level >= level.shift(1) - SLACK_PERCENT)
    midnight = at.dt.truncate("1d")
    known = (
        readings.sort("run", "timestamp", "is_plugged", "message_id")
        .with_columns(((pl.col("run") == pl.col("run").shift(1)) & near).fill_null(False).alias("follows"))
        .with_columns((pl.col("follows") & on.shift(1)).fill_null(False).alias("goes_on"))
        .with_columns((on & ~pl.col("goes_on")).cum_sum().alias("stretch"))
        .with_columns(at.filter(on).first().over("stretch").alias("since"))
        .with_columns(
            (on & pl.col("goes_on") & (at.shift(1) < midnight) & (pl.col("since") < midnight - _DAY)).alias("cut")
        )
        .with_columns((on & (~pl.col("goes_on") | pl.col("cut"))).cum_sum().alias("session"))
    )
    after = (
        pl.when(pl.col("run") != pl.col("run").shift(-1)).then(None).otherwise(at.shift(-1)).alias("after_at"),
        pl.when(pl.col("follows").shift(-1) & ~on.shift(-1))
        .then(pl.coalesce("event_at", "timestamp").shift(-1))
        .alias("off_at"),
        pl.when(pl.col("cut").shift(-1)).then(midnight.shift(-1)).alias("cut_at"),
        level.shift(-1).alias("after_level"),
    )
    last = ("after_at", "off_at", "cut_at", "after_level")
    found = (
        known.with_columns(after)
        .filter(on)
        .group_by("session", maintain_order=True)
        .agg(
            pl.col("device_id", "trace_id", "span_id", "latitude", "longitude", "since").first(),
            pl.col("span_first", "span_last", "known_from").first(),
            pl.col("message_id").first().alias("source_message_id"),
            pl.coalesce("event_at", "timestamp").first().alias("timestamp"),
            at.first().alias("start_at"),
            at.last().alias("last_at"),
            level.first().alias("start_level"),
            level.last().alias("last_level"),
            source().first().alias("first_source"),
            pl.col(last).last(),
        )
        .filter(
            pl.col("known_from").is_null()
            | (pl.col("since") >= pl.col("known_from"))
            | (pl.col("start_at") >= pl.col("span_first")),
            pl.col("timestamp") < pl.col("span_last"),
        )
        .join(_courses(known.filter(on)), on="session", how="left")
    )
    is_open = pl.col("after_at").is_null() & (pl.col("last_at") + SILENCE > now)
    ended_at = pl.when(~is_open).then(pl.coalesce("cut_at", "off_at", "last_at"))
    ended_by = (
        pl.when(pl.col("cut_at").is_not_null())
        .then(pl.lit("day"))
        .when(pl.col("off_at").is_not_null())
        .then(pl.lit("unplugged"))
        .otherwise(pl.lit("silence"))
    )
    end_level = pl.when(pl.col("off_at").is_not_null()).then("after_level").otherwise("last_level")
    return found.select(
        "timestamp",
        "device_id",
        "trace_id",
        "span_id",
        "source_message_id",
        is_open.alias("is_open"),
        ended_at.alias("ended_at"),
        pl.when(~is_open).then(ended_by).alias("ended_by"),
        pl.when(~is_open).then(_seconds(ended_at - at)).alias("duration_seconds"),
        pl.when(is_open).then("first_source").otherwise(pl.coalesce("source", "first_source")).alias("power_source"),
        "start_level",
        pl.when(~is_open).then(end_level).alias("end_level"),
        pl.when(~is_open).then("rate_percent_per_hour").alias("rate_percent_per_hour"),
        pl.when(~is_open).then("full_at").alias("full_at"),
        "latitude",
        "longitude",
        "start_at",
        "last_at",
    )


def _courses(plugged: pl.DataFrame) -> pl.DataFrame:
    """How the charge rose in each `session`: `source`, `rate_percent_per_hour` and `full_at`.

    Only of the first and the last reading of each quarter of an hour: these are there whatever was touched.
    """
    at, level = pl.col("timestamp"), pl.col("battery_level")
    trace = (
        plugged.with_columns(at.dt.truncate(TRACE).alias("quarter"), source())
        .with_columns(
            pl.int_range(pl.len()).over("session", "quarter").alias("number"),
            pl.len().over("session", "quarter").alias("of"),
        )
        .filter((pl.col("number") == 0) | (pl.col("number") == pl.col("of") - 1))
        .with_columns(level.cum_max().over("session").alias("highest"))
    )
    rising = pl.col("highest") <= SLOWS_AT
    rise = level.filter(rising).last() - level.filter(rising).first()
    length = at.filter(rising).last() - at.filter(rising).first()
    return trace.group_by("session").agg(
        pl.col("power_source").filter(~pl.col("power_source").is_in(("unknown", "battery"))).first().alias("source"),
        pl.when((length >= SHORTEST_RISE) & (rise >= LEAST_RISE))
        .then((rise * 3600 / _seconds(length)).round(3))
        .alias("rate_percent_per_hour"),
        at.filter(level >= FULL).first().alias("full_at"),
    )


def _regions(found: pl.DataFrame, regions: pl.DataFrame) -> pl.DataFrame:
    """The `region_name` of each `source_message_id` that lies in a saved region: the smallest circle, or a polygon."""
    fixes = found.filter(pl.col("latitude").is_not_null()).select(
        pl.col("start_at").alias("timestamp"), pl.col("source_message_id").alias("message_id"), "latitude", "longitude"
    )
    inside = pl.concat([georegion.inside_circles(fixes, regions), georegion.inside_polygons(fixes, regions)])
    return (
        inside.join(regions.select("region_id", "region_name", "radius_m"), on="region_id")
        .sort(pl.col("radius_m").fill_null(float("inf")), "region_name")
        .unique("message_id", keep="first", maintain_order=True)
        .select(pl.col("message_id").alias("source_message_id"), "region_name")
    )


def _seconds(duration: pl.Expr) -> pl.Expr:
    return duration.dt.total_microseconds().cast(pl.Float64) / 1e6


def _key() -> pl.Expr:
    """An open session's timer is called by its beginning in microseconds since the epoch."""
    return (pl.lit(OPEN) + pl.col("timestamp").dt.epoch("us").cast(pl.String)).alias("key")


STAGE_NAME: Final = "charging-sessions"
CHARGING_SESSIONS: Final = Stage(
    name=STAGE_NAME,
    source=POWER_RAW,
    sinks=(CHARGING_DETECTED,),
    version="1",
    transform=transform,
    description="Charging sessions: when, where, from what charge to what.",
    policy=BatchPolicy(max_rows=5_000),
    context=(STRETCHES, REGIONS),
    inputs=georegion.GEOREGION_DETECTOR.inputs,
    wakes=(SYSTEM_EVENTS_RAW, GPS_RAW),
)
