"""Whether a device stays where it is, told by each fix from those before it; and where that is.

It stays when its fixes of the last three minutes lie together, or when its last fix, up to half an hour ago, lies where
this one does. Where it stays is the middle of those fixes, which is surer than the last one.
"""

from datetime import timedelta
from typing import Final

import polars as pl

WINDOW: Final = timedelta(minutes=3)
"""Fixes of so long tell whether a device stays."""

SETTLED: Final = timedelta(minutes=1)
"""They must be of so long at least."""

REACH: Final = timedelta(minutes=30)
"""A fix before is of the same stay for so long, when nothing is known of the time between."""

STAY_M: Final = 75.0
"""Fixes of a stay lie no farther than this from its last."""

ACCURACY_M: Final = 150.0
"""A fix that is less accurate does not tell."""

WALKING_MPS: Final = 2.0
"""A device that is faster does not stay."""

METRES_PER_DEGREE: Final = 111_195.08
"""Of latitude, on a sphere with the mean radius of the Earth."""


def usable_for(accuracy_m: float) -> pl.Expr:
    """Whether a fix says where the device is to `accuracy_m`; 0/0 is what clients send when they do not know."""
    null_island = (pl.col("latitude") == 0.0) & (pl.col("longitude") == 0.0)
    return ~null_island & (pl.col("accuracy").is_null() | (pl.col("accuracy") <= accuracy_m))


def distance_m(latitude: pl.Expr, longitude: pl.Expr, other_latitude: pl.Expr, other_longitude: pl.Expr) -> pl.Expr:
    """Metres between positions (degrees) on a sphere, by the haversine formula."""
    north = ((other_latitude - latitude).radians() * 0.5).sin().pow(2)
    east = ((other_longitude - longitude).radians() * 0.5).sin().pow(2)
    half = north + latitude.radians().cos() * other_latitude.radians().cos() * east
    return half.clip(0.0, 1.0).sqrt().arcsin() * (2 * 6_371_008.8)


def stays(fixes: pl.DataFrame) -> pl.DataFrame:
    """`fixes`, in order of (device, time, id), with what each tells.

    `usable`; `stays`; `at_latitude` and `at_longitude`, where it stays, degrees; `previous_at`, the time of the usable
    fix before it. The answer for a fix depends on those up to WINDOW before it and on the usable one before.
    """
    marked = fixes.with_columns(usable_for(ACCURACY_M).alias("usable"))
    # fixes of one moment are one; which one does not depend on the batch
    moments = marked.filter("usable").unique(["device_id", "timestamp"], keep="last", maintain_order=True)
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    degrees = (longitude - longitude.last() + 540) % 360 - 180
    north_m = (latitude - latitude.last()) * METRES_PER_DEGREE
    east_m = degrees * METRES_PER_DEGREE * latitude.last().radians().cos()
    around = moments.rolling("timestamp", period=WINDOW, group_by="device_id").agg(
        (pl.col("timestamp").last() - pl.col("timestamp").first()).alias("span"),
        (north_m.pow(2) + east_m.pow(2)).max().sqrt().alias("spread_m"),
        (latitude.last() + (latitude - latitude.last()).median()).alias("at_latitude"),
        ((longitude.last() + degrees.median() + 540) % 360 - 180).alias("at_longitude"),
    )
    told = (
        moments.select("device_id", "timestamp", "latitude", "longitude", "speed")
        .join(around, on=["device_id", "timestamp"], how="left", maintain_order="left")
        .with_columns(pl.col("timestamp", "latitude", "longitude").shift(1).over("device_id").name.prefix("previous_"))
    )
    gap = pl.col("timestamp") - pl.col("previous_timestamp")
    from_previous_m = distance_m(latitude, longitude, pl.col("previous_latitude"), pl.col("previous_longitude"))
    together = (pl.col("span") >= SETTLED) & (pl.col("spread_m") <= STAY_M)
    unmoved = (gap >= SETTLED) & (gap <= REACH) & (from_previous_m <= STAY_M)
    slow = ~(pl.col("speed") > WALKING_MPS).fill_null(False)
    told = told.select(
        "device_id",
        "timestamp",
        ((together | unmoved).fill_null(False) & slow).alias("stays"),
        "at_latitude",
        "at_longitude",
        pl.col("previous_timestamp").alias("previous_at"),
    )
    return marked.join(told, on=["device_id", "timestamp"], how="left", maintain_order="left").with_columns(
        pl.col("stays").fill_null(False) & pl.col("usable")
    )
