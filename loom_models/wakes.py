"""Wakes: a stage is told the minutes of other topics that its answers depend on.

They reach it as timers that are due at once. Landing sets them in the transaction that stores the records, so that a
stage that is woken finds the records that it is woken for.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_models.stage import SPAN_SCHEMA

WAKE: Final = "wake:"
"""How the key of such a timer begins."""
MINUTE: Final = timedelta(minutes=1)
_FORMAT: Final = f"{WAKE}%Y-%m-%dT%H:%MZ"


def wakes_of(landed: pl.DataFrame) -> pl.DataFrame:
    """The wakes (`device_id`, `key`) of landed records (`device_id`, `timestamp`): one a device and minute."""
    minute = pl.col("timestamp").dt.truncate("1m").dt.strftime(_FORMAT)
    return landed.select("device_id", minute.alias("key")).unique().sort("device_id", "key")


def woken(due: pl.DataFrame) -> pl.DataFrame:
    """The minutes that `due` timers tell of, in SPAN_SCHEMA; timers that are no wakes are left out.

    `first` is the beginning of a minute, `last` its end, which is no part of it.
    """
    first = pl.col("key").str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC")
    return (
        due.filter(pl.col("key").str.starts_with(WAKE))
        .select("device_id", first.alias("first"))
        .with_columns((pl.col("first") + MINUTE).alias("last"))
        .match_to_schema(SPAN_SCHEMA)
        .sort("device_id", "first")
    )
