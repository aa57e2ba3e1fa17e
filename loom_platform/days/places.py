"""Where the person was on a day, and how they travelled: `visits_daily`, `trips_daily`."""

import polars as pl

from loom_contracts.table import Column, ColumnType
from loom_platform.days.dataset import Dataset, Window
from loom_platform.days.sources import TRIPS, VISITS
from loom_platform.days.stretches import all_devices, joined, within


def visits(window: Window) -> pl.DataFrame:
    """The visits of the day, each cut at its ends, of the devices that the person had on them.

    A device that arrived somewhere in the day tells where the person was. If none did, the one that arrived last does.
    """
    stays = within(window.frames[VISITS.name], window.day.starts_at, window.day.ends_at)
    arrivals = stays.filter(pl.col("arrived_at") >= window.day.starts_at)
    told_by = stays.filter(pl.col("arrived_at") == pl.col("arrived_at").max()) if arrivals.is_empty() else arrivals
    return stays.filter(pl.col("device_id").is_in(told_by["device_id"].unique().to_list()))


def visits_daily(window: Window) -> pl.DataFrame:
    """For each place: when the person was there, for how long, how many times."""
    stays = visits(window)
    place = stays.sort("started_at").group_by("place_id").agg(
        pl.col("place_name", "place_kind").drop_nulls().last(), pl.col("latitude", "longitude").last()
    )  # fmt: skip
    return (
        joined(stays, ["place_id"])
        .group_by("place_id")
        .agg(
            pl.col("started_at").min().alias("first_seen_at"),
            pl.col("ended_at").max().alias("last_seen_at"),
            pl.col("seconds").sum().alias("total_seconds"),
            pl.len().cast(pl.Int64).alias("visits"),
            all_devices(),
        )
        .join(place, on="place_id")
        .select(c.name for c in VISITS_DAILY.columns)
        .sort("first_seen_at", "place_id")
    )


def trips(window: Window) -> pl.DataFrame:
    """The trips of the day, once each however many devices were along: of those that overlap the longest one counts.

    A trip over midnight is shared out by time. One that goes on has no mode and no distance yet.
    """
    day = within(window.frames[TRIPS.name], window.day.starts_at, window.day.ends_at)
    if day.is_empty():
        return day.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias("device_ids"))
    went = pl.col("distance_m").fill_null(0.0) * pl.col("share")
    reached = pl.col("ended_at").cum_max().shift(1)
    together = (pl.col("started_at") >= reached).fill_null(value=True).cum_sum()
    return (
        day.sort("started_at", "ended_at", "message_id")
        .with_columns(together.alias("together"))
        .with_columns(pl.col("device_id").unique().sort().implode().over("together").alias("device_ids"))
        # Two devices on one trip overlap, and so do no two trips of one device.
        .filter(pl.col("device_id") == pl.col("device_id").sort_by(went).last().over("together"))
        .drop("together")
        .sort("started_at", "message_id")
    )


def trips_daily(window: Window) -> pl.DataFrame:
    """For each mode of travel: how far, for how long, how many times."""
    return (
        trips(window)
        .filter(pl.col("mode").is_not_null())
        .group_by("mode")
        .agg(
            pl.len().cast(pl.Int64).alias("trips"),
            (pl.col("distance_m") * pl.col("share")).sum(),
            ((pl.col("ended_at") - pl.col("started_at")).dt.total_microseconds() / 1e6).sum().alias("duration_seconds"),
            pl.col("started_at").min().alias("first_started_at"),
            pl.col("ended_at").max().alias("last_ended_at"),
            all_devices(),
        )
        .select(c.name for c in TRIPS_DAILY.columns)
        .sort("first_started_at", "mode")
    )


DEVICES = Column("device_ids", ColumnType.JSON, False, "Devices that tell of it.")

VISITS_DAILY = Dataset(
    "visits_daily",
    "For each day and place, saved or not: when the person was there, for how long, how many times.",
    (
        Column("place_id", ColumnType.UUID, False, "The place; the same at every visit."),
        Column("place_name", ColumnType.TEXT, True, "Saved by the person; else the business there, or the address."),
        Column("place_kind", ColumnType.TEXT, True, "What a saved place is to the person: home, work, custom."),
        Column("latitude", ColumnType.FLOAT, False, "Its middle; WGS 84, decimal degrees."),
        Column("longitude", ColumnType.FLOAT, False, "Its middle; WGS 84, decimal degrees."),
        Column("first_seen_at", ColumnType.TIMESTAMP, False, "Start of the first visit, within the day."),
        Column("last_seen_at", ColumnType.TIMESTAMP, False, "End of the last visit, within the day."),
        Column("total_seconds", ColumnType.FLOAT, False, "Time there, counted once however many devices were."),
        Column("visits", ColumnType.INTEGER, False, "How many times."),
        DEVICES,
    ),
    ("place_id",),
    (VISITS,),
    visits_daily,
)
TRIPS_DAILY = Dataset(
    "trips_daily",
    "For each day and mode of travel: how far, for how long, how many times.",
    (
        Column("mode", ColumnType.TEXT, False, "Walking, cycling, in_vehicle, ..."),
        Column("trips", ColumnType.INTEGER, False, "How many."),
        Column("distance_m", ColumnType.FLOAT, False, "How far, metres; a trip over midnight is shared out by time."),
        Column("duration_seconds", ColumnType.FLOAT, False, "For how long, within the day."),
        Column("first_started_at", ColumnType.TIMESTAMP, False, "Start of the first, within the day."),
        Column("last_ended_at", ColumnType.TIMESTAMP, False, "End of the last, within the day."),
        DEVICES,
    ),
    ("mode",),
    (TRIPS,),
    trips_daily,
)
