"""Stretches of time as frames: columns `started_at` and `ended_at` (UTC, microseconds; the end is not included)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

MOMENT: Final = pl.Datetime("us", "UTC")
_NONE: Final = timedelta(0)


def within(stretches: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """What of each stretch lies in [start, end); those that do not touch it are left out.

    One without any length stays if it is in it. Adds `share`: how much of the whole stretch that is, 0 to 1.
    """
    whole = pl.col("ended_at") - pl.col("started_at")
    moment = (whole == _NONE) & pl.col("started_at").is_between(start, end, closed="left")
    inside = pl.col("clipped_end") - pl.col("clipped_start")
    return (
        stretches.with_columns(
            pl.col("started_at").clip(lower_bound=pl.lit(start, MOMENT)).alias("clipped_start"),
            pl.col("ended_at").clip(upper_bound=pl.lit(end, MOMENT)).alias("clipped_end"),
        )
        .filter((pl.col("clipped_start") < pl.col("clipped_end")) | moment)
        .with_columns(
            pl.when(whole > _NONE)
            .then(inside.dt.total_microseconds() / whole.dt.total_microseconds())
            .otherwise(1.0)
            .alias("share"),
            started_at="clipped_start",
            ended_at="clipped_end",
        )
        .drop("clipped_start", "clipped_end")
    )


def joined(stretches: pl.DataFrame, by: Sequence[str] = (), gap: timedelta = _NONE) -> pl.DataFrame:
    """Stretches of the same `by` that overlap, touch, or lie at most `gap` apart as one, in order.

    Gives `by`, `started_at`, `ended_at`, `seconds` (of it covered: a gap is not), `parts` (how many there were) and
    `device_ids`.
    """
    key = list(by)
    reached = pl.col("ended_at").cum_max().shift(1)
    reached = reached.over(key) if key else reached
    apart = (pl.col("started_at") - pl.col("reached")) > gap
    numbered = (
        stretches.sort(*key, "started_at", "ended_at")
        .with_columns(reached.alias("reached"))
        .with_columns(
            (apart | pl.col("reached").is_null()).cum_sum().alias("joint"),
            (pl.col("ended_at") - pl.max_horizontal("started_at", "reached")).clip(lower_bound=_NONE).alias("added"),
        )
    )
    return (
        numbered.group_by(*key, "joint")
        .agg(
            pl.col("started_at").min(),
            pl.col("ended_at").max(),
            seconds("added").sum().alias("seconds"),
            pl.len().cast(pl.Int64).alias("parts"),
            devices(),
        )
        .drop("joint")
        .sort("started_at", "ended_at", *key)
    )


def overlap_seconds(stretches: pl.DataFrame, start: datetime, end: datetime) -> float:
    """How much of [start, end) the stretches cover together."""
    return float(joined(within(stretches, start, end))["seconds"].sum())


def seconds(name: str) -> pl.Expr:
    """The duration column `name` in seconds."""
    return pl.col(name).dt.total_microseconds() / 1e6


def devices() -> pl.Expr:
    """The devices of a group, as a list in order."""
    return pl.col("device_id").unique().sort().alias("device_ids")


def all_devices() -> pl.Expr:
    """The devices of a group whose rows have `device_ids`, as a list in order."""
    return pl.col("device_ids").explode().unique().sort().alias("device_ids")
