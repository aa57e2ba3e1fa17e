"""Speed over ground near moments of time, from GPS fixes.

A fix that tells its speed (by Doppler, which is better than any difference of positions) counts for `NEAR` around it.
Elsewhere the speed is that between the fixes on either side, where they are no farther apart than `APART`: distance by
the haversine formula, and nought where the distance is within the fixes' own accuracy.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_models.stages.georegion import EARTH_RADIUS_M

NEAR: Final = timedelta(seconds=20)
APART: Final = timedelta(seconds=120)
"""No fix has a say farther away than this."""
FASTEST_MPS: Final = 100.0
"""Faster on the ground is an error."""
POOREST_M: Final = 100.0
"""A fix less accurate than this says nothing of speed."""

_JUST: Final = timedelta(seconds=1)


def speeds_near(moments: pl.DataFrame, fixes: pl.DataFrame) -> pl.Series:
    """Metres per second at each of `moments` (`device_id`, `at`), null where it is not known.

    `moments` are in order of (device, at). `fixes` has `device_id`, `timestamp`, `message_id`, `latitude`, `longitude`
    (degrees), `accuracy` (metres) and `speed` (metres per second); the last two may be null.
    """
    ordered = moments.select("device_id", "at").with_row_index("row").sort("at")
    good = _good(fixes)
    told = good.filter(pl.col("speed").is_not_null()).select("device_id", "timestamp", pl.col("speed").alias("told"))
    between = _between(good)
    found = ordered.join_asof(
        told.sort("timestamp"),
        left_on="at",
        right_on="timestamp",
        by="device_id",
        strategy="nearest",
        tolerance=NEAR,
        check_sortedness=False,
    ).join_asof(
        between.sort("until"),
        left_on="at",
        right_on="until",
        by="device_id",
        strategy="forward",
        tolerance=APART,
        check_sortedness=False,
    )
    moved = pl.when(pl.col("since") <= pl.col("at")).then(pl.col("moved"))
    return found.sort("row").select(pl.coalesce("told", moved).alias("speed")).to_series()


def _good(fixes: pl.DataFrame) -> pl.DataFrame:
    """Fixes that can tell a speed, one at a time."""
    nowhere = (pl.col("latitude") == 0.0) & (pl.col("longitude") == 0.0)
    poor = pl.col("accuracy").fill_null(0.0) > POOREST_M
    return (
        fixes.filter(~nowhere & ~poor)
        .sort("device_id", "timestamp", "message_id")
        .unique(["device_id", "timestamp"], keep="first", maintain_order=True)
        .with_columns(pl.when(pl.col("speed") <= FASTEST_MPS).then(pl.col("speed")).alias("speed"))
    )


def _between(good: pl.DataFrame) -> pl.DataFrame:
    """Speeds between neighbours: `device_id`, `since`, `until`, `moved`."""
    latitude, longitude = pl.col("latitude").radians(), pl.col("longitude").radians()
    half = (latitude.diff() * 0.5).sin().pow(2) + latitude.cos() * latitude.shift(1).cos() * (
        longitude.diff() * 0.5
    ).sin().pow(2)
    metres = half.clip(0.0, 1.0).sqrt().arcsin() * (2 * EARTH_RADIUS_M)
    accuracy = pl.col("accuracy").fill_null(0.0)
    apart = pl.col("timestamp").diff()
    moved = pl.when(metres > (accuracy + accuracy.shift(1)) * 0.5).then(metres).otherwise(0.0)
    seconds = apart.dt.total_microseconds() * 1e-6
    return (
        good.with_columns(
            pl.col("timestamp").shift(1).alias("since"),
            pl.col("timestamp").alias("until"),
            (moved / seconds).alias("moved"),
            apart.alias("apart"),
            (pl.col("device_id") == pl.col("device_id").shift(1)).alias("same"),
        )
        .filter("same", pl.col("apart").is_between(_JUST, APART), pl.col("moved") <= FASTEST_MPS)
        .select("device_id", "since", "until", "moved")
    )
