"""Stretches of time of devices: what a batch touches, widened and joined. Their frames are in SPAN_SCHEMA."""

from collections.abc import Mapping
from datetime import timedelta

import polars as pl

from loom_models.bounds import bounds
from loom_models.stage import SPAN_SCHEMA


def joined(spans: pl.DataFrame, before: timedelta, after: timedelta) -> pl.DataFrame:
    """`spans`, each begun `before` earlier and ended `after` later; those of a device that meet are one. In order."""
    first, last = pl.col("first"), pl.col("last")
    return (
        spans.with_columns(first - before, last + after)
        .sort("device_id", "first", "last")
        .with_columns(
            (first > last.cum_max().shift(1).over("device_id")).fill_null(False).cum_sum().over("device_id").alias("n")
        )
        .group_by("device_id", "n", maintain_order=True)
        .agg(first.min(), last.max())
        .match_to_schema(SPAN_SCHEMA, extra_columns="ignore")
    )


def within(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The `rows` (`device_id`, `timestamp`) that lie in one of `spans`, which do not overlap; in order of time."""
    return (
        rows.sort("timestamp")
        .join_asof(
            spans.select("device_id", "first", "last").sort("first"),
            left_on="timestamp",
            right_on="first",
            by="device_id",
            strategy="backward",
            check_sortedness=False,
        )
        .filter(pl.col("timestamp") < pl.col("last"))
        .drop("first", "last")
        .sort("device_id", "timestamp")
    )


def parameters(spans: pl.DataFrame) -> Mapping[str, object] | None:
    """`spans` for a ContextQuery: `devices`, `firsts` and `lasts`, and the bounds of them all; None without any."""
    if spans.is_empty():
        return None
    firsts, lasts = spans["first"].to_list(), spans["last"].to_list()
    around = bounds([*firsts, *lasts], timedelta(0), timedelta(0))
    return {"devices": spans["device_id"].to_list(), "firsts": firsts, "lasts": lasts, **around}
