"""What the stages of the power flow have in common: what a reading of the battery says, and which ones count."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl

from loom_models.frames import UTC_MICROS

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""A reading that is accepted so long before its own time comes of a clock that is wrong: others do not count on it."""

JUMP_POINTS: Final = 5.0
RISE_PER_HOUR: Final = 1_500.0
FALL_PER_HOUR: Final = 300.0
"""A charge that changes by more points and faster is not the same battery's. The fastest charger of a phone so far, of
320 W, fills it in 4.5 minutes (realme, 2024-08-14), which is 1,333 percent an hour; drones fly for 20 minutes."""

PLUGGED_WORDS: Final = ("usb", "ac", "wireless")
"""What `power_source` says of a device that hangs on a charger, be it full or held at 80 percent."""
_SOURCES: Final = {
    "usb": ("usb", "usb-c", "usb_c", "usbc", "computer"),
    "ac": ("ac", "mains", "adapter", "ac adapter", "charger"),
    "wireless": ("wireless", "qi", "magsafe", "dock"),
    "battery": ("battery", "unplugged", "discharging", "none"),
}
_NORMAL: Final = {word: source for source, words in _SOURCES.items() for word in words}

PLUGGED_SQL: Final = "(is_charging OR lower(coalesce(power_source, '')) IN ('usb', 'ac', 'wireless'))"
"""SQL over a row of device.state.power.raw; the index of what is unplugged has its negation, word for word."""
COUNTS_SQL: Final = f"timestamp <= received_at + interval '{CLOCK_TOLERANCE // timedelta(seconds=1)} seconds'"

READING: Final = (
    "message_id",
    "device_id",
    "timestamp",
    "trace_id",
    "span_id",
    "battery_level",
    "is_charging",
    "power_source",
    "received_at",
)
READING_SCHEMA: Final = pl.Schema(
    {
        n: pl.Float64()
        if n == "battery_level"
        else pl.Boolean()
        if n == "is_charging"
        else UTC_MICROS
        if n in ("timestamp", "received_at")
        else pl.String()
        for n in READING
    }
)
"""Columns of landed readings as the stages' queries give them."""


def plugged() -> pl.Expr:
    """Whether a reading is of a device on a charger; the same as PLUGGED_SQL."""
    word = pl.col("power_source").fill_null("").str.to_lowercase()
    return (pl.col("is_charging") | word.is_in(PLUGGED_WORDS)).alias("is_plugged")


def source() -> pl.Expr:
    """`power_source` in the contract's words."""
    word = pl.col("power_source").fill_null("").str.strip_chars().str.to_lowercase()
    return word.replace_strict(_NORMAL, default="unknown", return_dtype=pl.String).alias("power_source")


def clock_ahead() -> pl.Expr:
    """Whether a reading is of a time that was yet to come when it was accepted."""
    return (pl.col("timestamp") > pl.col("received_at") + CLOCK_TOLERANCE).alias("clock_ahead")


def jumps(change: pl.Expr, hours: pl.Expr) -> pl.Expr:
    """Whether no battery changes by so many points (percent) in so many `hours`; null where one of them is."""
    return (change > pl.max_horizontal(JUMP_POINTS, hours * RISE_PER_HOUR)) | (
        change < -pl.max_horizontal(JUMP_POINTS, hours * FALL_PER_HOUR)
    )


def runs(touched: pl.DataFrame, apart: timedelta) -> Mapping[str, list[Any]]:
    """Stretches of each device (`device_id`, `first`, `last`) as the arrays of a query.

    Those less than `apart` from each other are one.
    """
    # The end of all that came before: a long stretch reaches over the short ones after it.
    reach = pl.col("last").cum_max().shift(1).over("device_id")
    joined = (
        touched.sort("device_id", "first", "last")
        .with_columns((pl.col("first") > reach + apart).fill_null(True).cum_sum().over("device_id").alias("run"))
        .group_by("device_id", "run", maintain_order=True)
        .agg(pl.col("first").min(), pl.col("last").max())
    )
    return {
        "devices": joined["device_id"].to_list(),
        "firsts": joined["first"].to_list(),
        "lasts": joined["last"].to_list(),
    }
