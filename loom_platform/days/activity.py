"""How the person moved on a day, minute by minute: `activity_minutes_daily`."""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.table import Column, ColumnType
from loom_platform.days.dataset import Dataset, Window
from loom_platform.days.places import DEVICES
from loom_platform.days.sources import ACTIVITY
from loom_platform.days.stretches import all_devices

MINUTE: Final = timedelta(minutes=1)

_RANK: Final = {"unknown": 0, "still": 1}
"""Of two devices the one that moves is on the person; any movement ranks above these."""


def minutes(window: Window, *, reach: bool = False) -> pl.DataFrame:
    """One row for each minute that anything is known of: `minute`, `activity`, `confidence`, `device_ids`; within the
    day, unless all that was read is wanted (`reach`).

    Of one device the activity with the most certain seconds counts, and unknown only where there is no other. Of
    several devices one that moves counts before one that lies still, and the surer of two that move.
    """
    inside = pl.col("minute").is_between(window.day.starts_at, window.day.ends_at, closed="left")
    told = window.frames[ACTIVITY.name].filter(inside | reach)
    rank = pl.col("activity").replace_strict(_RANK, default=2, return_dtype=pl.Int64)
    best = (
        told.with_columns((pl.col("activity") == "unknown").alias("unknown"))
        .sort(
            "minute",
            "device_id",
            "unknown",
            "certain_seconds",
            "activity",
            descending=[False, False, False, True, False],
        )
        .group_by("minute", "device_id", maintain_order=True)
        .first()
        .with_columns((pl.col("certain_seconds") / pl.col("seconds")).alias("confidence"), rank.alias("rank"))
    )
    return (
        best.sort("minute", "rank", "confidence", "device_id", descending=[False, True, True, False])
        .group_by("minute", maintain_order=True)
        .agg(pl.col("activity", "confidence").first(), pl.col("device_id").first().implode().alias("device_ids"))
    )


def activity_minutes_daily(window: Window) -> pl.DataFrame:
    """For each activity: for how many minutes."""
    return (
        minutes(window)
        .group_by("activity")
        .agg(
            pl.len().cast(pl.Float64).alias("minutes"),
            pl.col("confidence").mean().round(3),
            all_devices(),
        )
        .select(c.name for c in ACTIVITY_MINUTES_DAILY.columns)
        .sort("minutes", "activity", descending=[True, False])
    )


def movement(window: Window, *, reach: bool = False) -> pl.DataFrame:
    """Stretches of minutes with the same activity: `started_at`, `ended_at`, `activity`, `confidence`, `device_ids`."""
    changed = (pl.col("activity") != pl.col("activity").shift(1)) | (pl.col("minute").diff() > MINUTE)
    return (
        minutes(window, reach=reach)
        .with_columns(changed.fill_null(value=True).cum_sum().alias("run"))
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("minute").first().alias("started_at"),
            (pl.col("minute").last() + MINUTE).alias("ended_at"),
            pl.col("activity").first(),
            pl.col("confidence").mean().round(3),
            all_devices(),
        )
        .drop("run")
    )


ACTIVITY_MINUTES_DAILY = Dataset(
    "activity_minutes_daily",
    "For each day and activity: for how many minutes, and how sure that is.",
    (
        Column("activity", ColumnType.TEXT, False, "still, walking, running, cycling, in_vehicle or unknown."),
        Column("minutes", ColumnType.FLOAT, False, "Minutes of which it was the likeliest; unseen ones are in none."),
        Column("confidence", ColumnType.FLOAT, False, "Mean confidence of those minutes, 0 to 1."),
        DEVICES,
    ),
    ("activity",),
    (ACTIVITY,),
    activity_minutes_daily,
)
