"""What charging sessions have in common: usual hours, places and kinds, and how fast the battery charges and drains.

Each function takes sessions as `told` gives them, beside the moments `at` that they are looked at from, and gives a row
for each moment that has enough of them; `by` are the columns that name a moment, device_id and at.
"""

from datetime import timedelta
from math import pi
from typing import Final

import polars as pl

TREND: Final = timedelta(days=180)
LEAST_SESSIONS: Final = 5
MOST: Final = 0.6
"""The share of sessions that makes their kind a habit."""
ANY_HOUR: Final = 0.8
"""Where the hours of plugging in are spread so much, their mean says nothing."""
TREND_WEEKS: Final = 8
TREND_SPAN: Final = timedelta(days=60)
PLACES: Final = 5
_CELLS_PER_DEGREE: Final = 200
_MONTH_DAYS: Final = 30.0


def told(sessions: pl.DataFrame) -> pl.DataFrame:
    """One row for each session, with its `kind` and how fast the battery drained before it."""
    follows = pl.col("device_id") == pl.col("device_id").shift(1)
    hours = (pl.col("timestamp") - pl.col("ended_at").shift(1)).dt.total_microseconds().cast(pl.Float64) / 3.6e9
    fall = pl.col("start_level") - pl.col("end_level").shift(1)
    sun = pl.duration(microseconds=(pl.col("longitude").fill_null(0.0) * 240e6).cast(pl.Int64))
    three = (pl.col("timestamp") + sun - timedelta(hours=3)).dt.truncate("1d") + timedelta(days=1, hours=3) - sun
    return (
        sessions.rename({"message_id": "source_message_id"})
        .sort("device_id", "timestamp", "target", descending=[False, False, True])
        .unique(["device_id", "timestamp"], keep="first", maintain_order=True)
        .with_columns(
            pl.when(
                follows & (pl.col("ended_by").shift(1) == "unplugged") & hours.is_between(0.5, 48.0) & (fall <= -3.0)
            )
            .then(fall / hours)
            .alias("drain"),
            pl.when(follows).then(pl.col("timestamp").shift(1)).alias("previous_at"),
            pl.col("rate_percent_per_hour").alias("charge"),
            pl.when(pl.col("ended_at").is_null())
            .then(None)
            .when((pl.col("ended_by") == "day") | (pl.col("duration_seconds") >= 20 * 3600))
            .then(pl.lit("docked"))
            .when((pl.col("ended_at") >= three) & (pl.col("duration_seconds") >= 2 * 3600))
            .then(pl.lit("overnight"))
            .when(pl.col("duration_seconds") >= 3600)
            .then(pl.lit("daytime"))
            .otherwise(pl.lit("top_up"))
            .alias("kind"),
        )
    )


def habits(recent: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Numbers over the sessions of each target's last 28 days."""
    at = pl.col("timestamp")
    angle = (at - at.dt.truncate("1d")).dt.total_seconds().cast(pl.Float64) * (2 * pi / 86_400)
    gained = (pl.col("end_level") - pl.col("start_level")).clip(lower_bound=0.0)
    days = pl.max_horizontal((pl.col("at").first() - at.min()).dt.total_seconds().cast(pl.Float64) / 86_400, 1.0)
    # A drain before the first session of a window has no beginning in it.
    drain = pl.col("drain").filter(pl.col("previous_at") > pl.col("at") - TREND)
    spread = 1 - (pl.col("c").pow(2) + pl.col("s").pow(2)).sqrt()
    hour = (pl.arctan2(pl.col("s"), pl.col("c")) * (12 / pi)).round(2) % 24
    return (
        recent.group_by(by, maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("session_count"),
            angle.cos().mean().alias("c"),
            angle.sin().mean().alias("s"),
            pl.col("duration_seconds").median().alias("typical_duration_seconds"),
            pl.col("start_level").mean().round(1).alias("mean_start_level"),
            pl.col("end_level").mean().round(1).alias("mean_end_level"),
            (gained.sum() / 100 / days).round(3).alias("cycles_per_day"),
            pl.col("charge").median().round(2).alias("charge_rate_percent_per_hour"),
            drain.median().round(2).alias("drain_rate_percent_per_hour"),
        )
        .with_columns(
            pl.when(spread <= ANY_HOUR).then(hour).alias("typical_start_hour"),
            spread.clip(0.0, 1.0).round(3).alias("start_hour_spread"),
        )
        .drop("c", "s")
    )


def kinds(recent: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """`pattern` and `confidence`: the commonest kind of session, where there are enough of them."""
    share = pl.col("count") / pl.col("of")
    return (
        recent.filter(pl.col("kind").is_not_null())
        .group_by(*by, "kind")
        .agg(pl.len().alias("count"))
        .with_columns(pl.col("count").sum().over(by).alias("of"))
        .filter(pl.col("of") >= LEAST_SESSIONS)
        .sort(*by, "count", "kind", descending=[False, False, True, False])
        .unique(by, keep="first", maintain_order=True)
        .select(
            *by,
            pl.when(share >= MOST).then("kind").otherwise(pl.lit("mixed")).alias("pattern"),
            share.round(3).alias("confidence"),
        )
    )


def hours(recent: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """`hours`: for each hour of the day the share of days on which some session was on in it, as JSON."""
    on = (
        recent.with_columns(
            pl.datetime_ranges(
                pl.col("timestamp").dt.truncate("1h"), pl.coalesce("ended_at", "timestamp"), interval="1h"
            ).alias("hour"),
            pl.col("timestamp").min().over(by).alias("since"),
        )
        .explode("hour")
        .unique([*by, "hour"])
    )
    days = (pl.col("at").dt.truncate("1d") - pl.col("since").dt.truncate("1d")).dt.total_days() + 1
    share = (pl.len() / days.first()).clip(0.0, 1.0).round(3).alias("share")
    shares = on.group_by(*by, pl.col("hour").dt.hour().cast(pl.Int64)).agg(share)
    return (
        recent.select(by)
        .unique()
        .join(pl.DataFrame({"hour": range(24)}, schema={"hour": pl.Int64}), how="cross")
        .join(shares, on=[*by, "hour"], how="left")
        .sort(*by, "hour")
        .group_by(by, maintain_order=True)
        .agg(pl.format("[{}]", pl.col("share").fill_null(0.0).cast(pl.String).str.join(", ")).first().alias("hours"))
    )


def places(recent: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """`places`: where sessions began, by saved region or else by cells of half a kilometre, as JSON."""
    named = pl.col("region_name").is_null()
    cells = [
        pl.when(named).then((pl.col(n) * _CELLS_PER_DEGREE).floor()).alias(f"{n}_cell")
        for n in ("latitude", "longitude")
    ]
    found = (
        recent.filter(pl.col("latitude").is_not_null())
        .group_by(*by, pl.col("region_name").alias("name"), *cells)
        .agg(pl.col("latitude", "longitude").mean().round(5), pl.len().alias("count"))
        .with_columns((pl.col("count") / pl.col("count").sum().over(by)).round(3).alias("share"))
        .sort(*by, "count", "latitude", "longitude", descending=[False, False, True, False, False])
    )
    place = pl.struct("name", "latitude", "longitude", "share").struct.json_encode()
    return found.group_by(by, maintain_order=True).agg(
        pl.format("[{}]", place.head(PLACES).str.join(", ")).first().alias("places")
    )


def usual(pairs: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """The sessions at the kind of charger that is used most: another one has another speed."""
    usual = (
        pairs.filter(pl.col("charge").is_not_null())
        .group_by(*by, "power_source")
        .agg(pl.len().alias("count"))
        .sort(*by, "count", "power_source", descending=[False, False, True, False])
        .unique(by, keep="first", maintain_order=True)
    )
    return pairs.join(usual.drop("count"), on=[*by, "power_source"], how="semi")


def trend(pairs: pl.DataFrame, by: list[str], what: str) -> pl.DataFrame:
    """How the speed of charging or draining grows, percent a month: `<what>_trend_percent_per_month`."""
    ago = (pl.col("at") - pl.col("timestamp")).dt.total_seconds()
    weeks = (
        pairs.filter(pl.col(what).is_not_null() & (pl.col(what) != 0.0))
        # A drain before the first session of a window has no beginning in it.
        .filter((pl.col("previous_at") > pl.col("at") - TREND) if what == "drain" else pl.lit(True))
        .group_by(*by, (ago // (7 * 86_400)).alias("week"))
        .agg(pl.col(what).abs().log().median().alias("y"), (ago.median() / -86_400 / _MONTH_DAYS).alias("x"))
        .sort(*by, "week")
    )
    x, y = pl.col("x"), pl.col("y")
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).pow(2).sum()
    return (
        weeks.group_by(by, maintain_order=True)
        .agg(
            ((slope.exp() - 1) * 100).round(2).alias(f"{what}_trend_percent_per_month"),
            pl.len().alias("weeks"),
            (x.max() - x.min()).alias("months"),
        )
        .filter(pl.col("weeks") >= TREND_WEEKS, pl.col("months") * _MONTH_DAYS >= TREND_SPAN.days)
        .drop("weeks", "months")
    )
