"""What the person did with their devices on a day: `app_usage_daily`, `screen_time_daily`, `charging_daily`."""

import json
from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.table import Column, ColumnType
from loom_platform.days.dataset import Dataset, Window
from loom_platform.days.places import DEVICES
from loom_platform.days.sources import APPS, CHARGING, SCREEN, USAGE
from loom_platform.days.stretches import all_devices, devices, joined, within

LONGEST_UNSEEN: Final = timedelta(minutes=30)
"""A screen whose end was never told counts for so long at most."""

_ON: Final = ("screen_on", "device_unlock")
_OFF: Final = ("screen_off", "device_lock")


def lit(window: Window, *, reach: bool = False) -> pl.DataFrame:
    """Stretches in which a screen was on: `device_id`, `started_at`, `ended_at`; within the day, unless all that was
    read is wanted (`reach`).

    From its events, where a device sends them; else from the applications that were in front.
    """
    events = window.frames[SCREEN.name].filter(pl.col("event_type").is_in([*_ON, *_OFF])).sort("device_id", "timestamp")
    next_at = pl.col("timestamp").shift(-1).over("device_id")
    told_off = pl.col("event_type").shift(-1).over("device_id").is_in(_OFF)
    latest = pl.col("timestamp") + LONGEST_UNSEEN
    by_events = events.with_columns(
        pl.when(told_off).then(next_at).otherwise(pl.min_horizontal(latest, next_at)).alias("ended_at")
    ).filter(pl.col("event_type").is_in(_ON))
    apps = window.frames[APPS.name].join(events.select("device_id").unique(), on="device_id", how="anti")
    stretches = pl.concat(
        [
            by_events.select("device_id", pl.col("timestamp").alias("started_at"), "ended_at"),
            apps.select("device_id", "started_at", "ended_at"),
        ]
    )
    found = joined(stretches, ["device_id"]).drop("device_ids")
    return found if reach else within(found, window.day.starts_at, window.day.ends_at).drop("share")


def screen_time_daily(window: Window) -> pl.DataFrame:
    """For how long any screen was on, and how many times one was turned on."""
    on = lit(window)
    if on.is_empty():
        return pl.DataFrame(schema={c.name: pl.Null for c in SCREEN_TIME_DAILY.columns})
    length = (pl.col("ended_at") - pl.col("started_at")).dt.total_microseconds() / 1e6
    by_device = dict(on.group_by("device_id").agg(length.sum().alias("seconds")).sort("device_id").iter_rows())
    began = on.filter(pl.col("started_at") > window.day.starts_at)
    return (
        joined(on)
        .select(
            pl.col("seconds").sum().alias("total_seconds"),
            pl.lit(began.height, pl.Int64).alias("pickups"),
            pl.col("seconds").max().alias("longest_seconds"),
            pl.col("started_at").min().alias("first_on_at"),
            pl.col("ended_at").max().alias("last_off_at"),
            pl.lit(json.dumps(by_device)).alias("seconds_by_device"),
            pl.lit(pl.Series([sorted(by_device)])).alias("device_ids"),
        )
        .select(c.name for c in SCREEN_TIME_DAILY.columns)
    )


def app_usage_daily(window: Window) -> pl.DataFrame:
    """For each application: for how long it was in front, how many times.

    From its sessions, and what Android's own statistics know beyond them where those are believed: of these only how
    long is known, not when.
    """
    start, end = window.day.starts_at, window.day.ends_at
    sessions = within(window.frames[APPS.name], start, end)
    usage = within(window.frames[USAGE.name], start, end)
    used = (
        joined(sessions, ["app_identifier"])
        .group_by("app_identifier")
        .agg(
            pl.col("seconds").sum().alias("total_seconds"),
            pl.col("parts").sum().alias("sessions"),
            pl.col("started_at").min().alias("first_used_at"),
            pl.col("ended_at").max().alias("last_used_at"),
            all_devices(),
        )
    )
    beyond = usage.group_by("app_identifier").agg(
        (pl.col("more_seconds") * pl.col("share")).sum(),
        pl.col("launch_count").fill_null(0).sum(),
        pl.col("started_at").min().alias("usage_from"),
        pl.col("ended_at").max().alias("usage_to"),
        devices().alias("usage_devices"),
    )
    shown = ("app_identifier", "started_at", "app_name", "app_category")
    named = (
        pl.concat([sessions.select(shown), usage.select(shown)])
        .sort("started_at")
        .group_by("app_identifier")
        .agg(pl.col("app_name").drop_nulls().last(), pl.col("app_category").last())
    )
    told_by = pl.concat_list(pl.col("device_ids", "usage_devices").fill_null([]))
    seconds = pl.col("total_seconds").fill_null(0.0) + pl.col("more_seconds").fill_null(0.0)
    return (
        used.join(beyond, on="app_identifier", how="full", coalesce=True)
        .with_columns(
            seconds.clip(0.0, (end - start).total_seconds()).round(3).alias("total_seconds"),
            pl.coalesce("sessions", "launch_count").alias("sessions"),
            pl.coalesce("first_used_at", "usage_from").alias("first_used_at"),
            pl.coalesce("last_used_at", "usage_to").alias("last_used_at"),
            told_by.list.unique().list.sort().alias("device_ids"),
        )
        .join(named, on="app_identifier")
        .select(c.name for c in APP_USAGE_DAILY.columns)
        .sort("total_seconds", "app_identifier", descending=[True, False])
    )


def charging_daily(window: Window) -> pl.DataFrame:
    """For each device: for how long it was charged, how many times, how much it gained."""
    sessions = within(window.frames[CHARGING.name], window.day.starts_at, window.day.ends_at)
    first = pl.col("started_at") > pl.col("ended_at").shift(1)
    length = pl.col("ended_at") - pl.col("started_at")
    gained = ((pl.col("end_level") - pl.col("start_level")) * pl.col("share")).clip(lower_bound=0.0)
    return (
        sessions.sort("started_at")
        .group_by("device_id")
        .agg(
            # A session of the night is told in two parts where the UTC day ends.
            first.fill_null(value=True).sum().cast(pl.Int64).alias("sessions"),
            (length.dt.total_microseconds() / 1e6).sum().alias("charging_seconds"),
            pl.when(gained.count() > 0).then(gained.sum().round(1)).alias("gained_percent"),
            pl.col("started_at").min().alias("first_started_at"),
            pl.col("ended_at").max().alias("last_ended_at"),
            pl.col("device_id").first().implode().alias("device_ids"),
        )
        .select(c.name for c in CHARGING_DAILY.columns)
        .sort("device_id")
    )  # fmt: skip


APP_USAGE_DAILY = Dataset(
    "app_usage_daily",
    "For each day and application: for how long it was used, how many times.",
    (
        Column("app_identifier", ColumnType.TEXT, False, "Package or bundle identifier."),
        Column("app_name", ColumnType.TEXT, True, "Name that the person sees."),
        Column("app_category", ColumnType.TEXT, False, "Its category; `loom apps categories` has them."),
        Column("total_seconds", ColumnType.FLOAT, False, "Time in front, counted once on however many devices."),
        Column("sessions", ColumnType.INTEGER, False, "How many times."),
        Column("first_used_at", ColumnType.TIMESTAMP, False, "Start of the first use, or of what statistics tell of."),
        Column("last_used_at", ColumnType.TIMESTAMP, False, "End of the last use, or of what statistics tell of."),
        DEVICES,
    ),
    ("app_identifier",),
    (APPS, USAGE),
    app_usage_daily,
)
SCREEN_TIME_DAILY = Dataset(
    "screen_time_daily",
    "For each day: for how long any screen was on, how many times one was turned on.",
    (
        Column("total_seconds", ColumnType.FLOAT, False, "Time with any screen on, counted once."),
        Column("pickups", ColumnType.INTEGER, False, "How many times one was turned on."),
        Column("longest_seconds", ColumnType.FLOAT, False, "The longest stretch without a break."),
        Column("first_on_at", ColumnType.TIMESTAMP, False, "When the first was on, within the day."),
        Column("last_off_at", ColumnType.TIMESTAMP, False, "When the last went off, within the day."),
        Column("seconds_by_device", ColumnType.JSON, False, "Time of each device."),
        DEVICES,
    ),
    (),
    (SCREEN, APPS),
    screen_time_daily,
)
CHARGING_DAILY = Dataset(
    "charging_daily",
    "For each day and device: for how long it was charged, how many times, how much it gained.",
    (
        Column("device_id", ColumnType.TEXT, False, "The device."),
        Column("sessions", ColumnType.INTEGER, False, "How many times."),
        Column("charging_seconds", ColumnType.FLOAT, False, "For how long, within the day."),
        Column(
            "gained_percent", ColumnType.FLOAT, True, "Charge that it gained; of a session over midnight its share."
        ),
        Column("first_started_at", ColumnType.TIMESTAMP, False, "Start of the first, within the day."),
        Column("last_ended_at", ColumnType.TIMESTAMP, False, "End of the last, within the day."),
        DEVICES,
    ),
    ("device_id",),
    (CHARGING,),
    charging_daily,
)
