"""The dataset `places_visited`: where the person was on a day, from all devices together. No dagster here."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import polars as pl
import psycopg

from loom_contracts.table import Column, ColumnType
from loom_contracts.topics.location import GEOREGION_DETECTED

TABLE: Final = "places_visited"
COLUMNS: Final = (
    Column("region_id", ColumnType.UUID, False, "The saved place."),
    Column("region_name", ColumnType.TEXT, False, "Its name as last seen that day."),
    Column("region_kind", ColumnType.TEXT, False, "home, work or custom."),
    Column("first_seen_at", ColumnType.TIMESTAMP, False, "Start of the first visit, within the day."),
    Column("last_seen_at", ColumnType.TIMESTAMP, False, "End of the last visit, within the day."),
    Column("total_seconds", ColumnType.FLOAT, False, "Time there, counted once however many devices were."),
    Column("visits", ColumnType.INTEGER, False, "Stays that lie more than five minutes apart."),
    Column("device_ids", ColumnType.JSON, False, "Devices that were there."),
)

SAME_VISIT: Final = timedelta(minutes=5)
"""A shorter absence, such as a stray fix at the border, does not end a visit."""

REACH: Final = timedelta(days=1)
"""A fix counts as the one before another for so long, so a stay over midnight is told by the next day's first fix."""

PRESENCE_SCHEMA: Final = pl.Schema(
    [
        ("region_id", pl.String()),
        ("region_name", pl.String()),
        ("region_kind", pl.String()),
        ("device_id", pl.String()),
        ("event", pl.String()),
        ("timestamp", pl.Datetime("us", "UTC")),
        ("previous_timestamp", pl.Datetime("us", "UTC")),
    ]
)
_PRESENCE = f"""
SELECT region_id::text, region_name, region_kind, device_id, event, timestamp, previous_timestamp
FROM {GEOREGION_DETECTED.table.name}_current
WHERE timestamp >= %(start)s AND timestamp < %(reach)s AND region_id IS NOT NULL AND event IN ('enter', 'dwell')
  AND (timestamp < %(end)s OR previous_timestamp < %(end)s)
"""
_INSERT = f"""
INSERT INTO {TABLE} (day, region_id, region_name, region_kind, first_seen_at, last_seen_at, total_seconds, visits,
                     device_ids, run_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def places_visited(presence: pl.DataFrame, day: date) -> pl.DataFrame:
    """The places of `day` from `presence` (PRESENCE_SCHEMA: `enter` and `dwell` rows, also of the next day's start).

    An `enter` is a moment, a `dwell` the stretch since the device's previous fix. Stretches are clipped to the UTC
    day and joined over devices. Gives the columns of COLUMNS, sorted by `first_seen_at`.
    """
    start, end = bounds(day)
    stretch_start = (
        pl.when((pl.col("event") == "dwell") & pl.col("previous_timestamp").is_not_null())
        .then(pl.col("previous_timestamp"))
        .otherwise(pl.col("timestamp"))
        .clip(lower_bound=pl.lit(start))
    )
    reached = pl.col("end").cum_max().shift(1).over("region_id")
    absence = pl.col("start") - pl.col("reached")
    return (
        presence.sort("timestamp")
        .with_columns(
            stretch_start.alias("start"),
            pl.col("timestamp").clip(upper_bound=pl.lit(end)).alias("end"),
            pl.col("region_name", "region_kind").last().over("region_id"),
        )
        .filter(pl.col("start") < end, pl.col("start") <= pl.col("end"))
        .sort("region_id", "start", "end")
        .with_columns(reached.alias("reached"))
        .with_columns(
            # What this stretch adds to those before it.
            (pl.col("end") - pl.max_horizontal("start", "reached")).clip(lower_bound=timedelta(0)).alias("added"),
            (absence.is_null() | (absence > SAME_VISIT)).alias("arrives"),
        )
        .group_by("region_id", "region_name", "region_kind")
        .agg(
            pl.col("start").min().alias("first_seen_at"),
            pl.col("end").max().alias("last_seen_at"),
            (pl.col("added").sum().dt.total_microseconds() / 1e6).alias("total_seconds"),
            pl.col("arrives").sum().cast(pl.Int64).alias("visits"),
            pl.col("device_id").unique().sort().alias("device_ids"),
        )
        .sort("first_seen_at", "region_id")
    )


def bounds(day: date) -> tuple[datetime, datetime]:
    """First moment of the UTC day and of the next."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def read_presence(connection: psycopg.Connection[Any], day: date) -> pl.DataFrame:
    """The presence rows that tell of `day`."""
    start, end = bounds(day)
    rows = connection.execute(_PRESENCE, {"start": start, "end": end, "reach": end + REACH}).fetchall()
    return pl.DataFrame(rows, schema=PRESENCE_SCHEMA, orient="row")


def replace_day(connection: psycopg.Connection[Any], day: date, places: pl.DataFrame, run_id: str) -> None:
    """Write the places of `day` in place of what was there, in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        # Two runs of one day follow each other.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", (TABLE, day.toordinal()))
        cursor.execute(f"DELETE FROM {TABLE} WHERE day = %s", (day,))
        cursor.executemany(_INSERT, [(day, *row, run_id) for row in places.iter_rows()])


def compute_day(connection: psycopg.Connection[Any], day: date, run_id: str) -> pl.DataFrame:
    """Read, compute and write one day; gives its places."""
    places = places_visited(read_presence(connection, day), day)
    replace_day(connection, day, places, run_id)
    return places
