"""Whether a device stays where it is, told by each fix from those before it; and where that is.

It stays when its fixes of the last three minutes lie together, or when its last fix, up to half an hour ago, lies where
this one does. Where it stays is the middle of those fixes, which is surer than the last one.
"""

from datetime import timedelta
from typing import Final, Literal

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
    # who crosses the antimeridian is measured on a circle that is cut elsewhere
    crosses = ((longitude.min() < -90) & (longitude.max() > 90)).over("device_id")
    moments = moments.with_columns(
        pl.when(crosses & (longitude < -90)).then(longitude + 360).otherwise(longitude).alias("east")
    )
    around = moments.with_columns(
        (pl.col("timestamp") - _rolling(pl.col("timestamp"), "min")).alias("span"),
        _farther(latitude).alias("north_degrees"),
        _farther(pl.col("east")).alias("east_degrees"),
        _rolling(latitude, "median").alias("at_latitude"),
        ((_rolling(pl.col("east"), "median") + 540) % 360 - 180).alias("at_longitude"),
    )
    spread_m = (
        pl.col("north_degrees").pow(2) + (pl.col("east_degrees") * latitude.radians().cos()).pow(2)
    ).sqrt() * METRES_PER_DEGREE
    told = around.with_columns(spread_m.alias("spread_m")).with_columns(
        pl.col("timestamp", "latitude", "longitude").shift(1).over("device_id").name.prefix("previous_")
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


def _rolling(column: pl.Expr, how: Literal["min", "max", "median"]) -> pl.Expr:
    """The least, greatest or middle value of the device's fixes of the last WINDOW."""
    rolling = {"min": column.rolling_min_by, "max": column.rolling_max_by, "median": column.rolling_median_by}[how]
    return rolling("timestamp", WINDOW, closed="right").over("device_id")


def _farther(column: pl.Expr) -> pl.Expr:
    """How far the farthest of them is along one axis."""
    return pl.max_horizontal(_rolling(column, "max") - column, column - _rolling(column, "min"))
