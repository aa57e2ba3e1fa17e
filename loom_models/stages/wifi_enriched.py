"""States of the Wi-Fi connection: what changed, and where the device was by its GPS.

The answer for a state depends on the landed state before it (within 12 h), on one landed fix, and on the saved regions.
The fix is the last usable one of the ten minutes before the state, or else the first of the ten minutes after: so the
answer that is given live stands, whatever fixes follow. A late state has the one after it answered again, and a late
fix those states that now have it.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.device_system import WIFI_RAW
from loom_contracts.topics.network import WIFI_ENRICHED
from loom_models import networks, stretches
from loom_models.bounds import bounded, bounds
from loom_models.cleaning import USABLE_SQL
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import SPAN_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.stages import georegion
from loom_models.wakes import woken

NEAR: Final = timedelta(minutes=10)
"""How far in time a fix may be from a state."""
LOOK_BACK: Final = timedelta(hours=12)
SAME_RUN: Final = timedelta(minutes=30)
"""What is touched within so long is read from the table as one range."""

_MICROSECOND: Final = timedelta(microseconds=1)
_FAR: Final = LOOK_BACK + NEAR
"""From what is touched to a state next to it, and from there to that state's fix."""
_TABLE, _FIXES = bounded(WIFI_RAW.table.name), bounded(GPS_RAW.table.name)
_TEXTS: Final = ("message_id", "device_id", "trace_id", "span_id", "ssid", "bssid", "ip_address", "security")
_FLOATS: Final = ("signal_dbm", "frequency_mhz", "latitude", "longitude", "accuracy")
STATES: Final = ContextQuery(
    name="states",
    # Every landed state from the first to the last of a run, and the one on either side of it; each with its fix.
    sql=f"""
        SELECT s.message_id::text, s.device_id, s.trace_id, s.span_id, s.ssid, s.bssid, s.ip_address, s.security,
               s.signal_dbm, s.frequency_mhz, coalesce(b.latitude, a.latitude), coalesce(b.longitude, a.longitude),
               CASE WHEN b.timestamp IS NULL THEN a.accuracy ELSE b.accuracy END,
               s.timestamp, coalesce(b.timestamp, a.timestamp), s.connected
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS run (device_id, first, last)
        CROSS JOIN LATERAL (
            (SELECT * FROM {_TABLE} w WHERE w.device_id = run.device_id AND w.timestamp < run.first
             AND w.timestamp >= run.first - %(back)s ORDER BY w.timestamp DESC, w.message_id DESC LIMIT 1)
            UNION ALL
            (SELECT * FROM {_TABLE} w WHERE w.device_id = run.device_id AND w.timestamp >= run.first
             AND w.timestamp < run.last)
            UNION ALL
            (SELECT * FROM {_TABLE} w WHERE w.device_id = run.device_id AND w.timestamp >= run.last
             AND w.timestamp <= run.last + %(back)s ORDER BY w.timestamp, w.message_id LIMIT 1)
        ) s
        LEFT JOIN LATERAL (
            SELECT * FROM {_FIXES} f WHERE device_id = s.device_id AND timestamp <= s.timestamp
            AND timestamp >= s.timestamp - %(near)s AND {USABLE_SQL}
            ORDER BY timestamp DESC, message_id DESC LIMIT 1
        ) b ON true
        LEFT JOIN LATERAL (
            SELECT * FROM {_FIXES} f WHERE device_id = s.device_id AND timestamp > s.timestamp
            AND timestamp <= s.timestamp + %(near)s AND {USABLE_SQL}
            ORDER BY timestamp, message_id LIMIT 1
        ) a ON b.timestamp IS NULL
    """,
    parameters=lambda batch, due: _parameters(batch, due),
    schema=pl.Schema(
        {
            **{n: pl.String() for n in _TEXTS},
            **{n: pl.Float64() for n in _FLOATS},
            "timestamp": UTC_MICROS,
            "fix_at": UTC_MICROS,
            "connected": pl.Boolean(),
        }
    ),
)
REGIONS: Final = ContextQuery(
    georegion.REGIONS.name,
    georegion.REGIONS.sql,
    lambda batch, due: {} if batch.height or due.height else None,
    georegion.REGIONS.schema,
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's states and those that follow them, and for states that a fix has come to."""
    landed = context.frames[STATES.name]
    # A minute's fixes may be those of states before and after it.
    fixed = landed.select("device_id", "message_id", timestamp="fix_at").drop_nulls("timestamp")
    met = stretches.within(fixed, woken(context.due)).select("message_id")
    if batch.is_empty() and met.is_empty():
        return Output({})
    states = with_previous(landed, batch)
    wanted = pl.concat([states.filter("target"), states.join(met, on="message_id", how="semi")])
    rows = enriched(
        wanted.unique(["timestamp", "message_id"], maintain_order=True), context.frames[REGIONS.name], context.version
    )
    again = rows.join(met, left_on="source_message_id", right_on="message_id", how="semi")
    spans = again.select("device_id", first="timestamp", last=pl.col("timestamp") + _MICROSECOND).unique()
    return Output({WIFI_ENRICHED: rows}, spans={WIFI_ENRICHED: spans.match_to_schema(SPAN_SCHEMA)})


def with_previous(landed: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """The states in order of (device, time, id), with what the one before said; those to be answered are `target`.

    States of the same device and time are targets together.
    """
    given = batch.select("timestamp", "message_id", pl.lit(True).alias("target")).unique()
    states = (
        landed.unique(["timestamp", "message_id"], keep="first")
        .join(given, on=["timestamp", "message_id"], how="left")
        .sort("device_id", "timestamp", "message_id")
        .with_columns(networks.network(), networks.bssid(), networks.is_open(), networks.hint())
    )
    gap = pl.col("timestamp") - pl.col("timestamp").shift(1)
    follows = (pl.col("device_id") == pl.col("device_id").shift(1)) & (gap <= LOOK_BACK)
    target = (pl.col("target") | (follows & pl.col("target").shift(1))).fill_null(False)
    return states.with_columns(
        target.alias("target"),
        *(pl.when(follows).then(pl.col(n).shift(1)).alias(f"previous_{n}") for n in ("connected", "network", "bssid")),
        pl.when(follows).then(gap.dt.total_microseconds() * 1e-6).alias("seconds_since_previous"),
    ).with_columns(pl.col("target").any().over("device_id", "timestamp"))


def enriched(states: pl.DataFrame, regions: pl.DataFrame, version: str) -> pl.DataFrame:
    """The rows of `states` (see `with_previous`); `regions` has the columns of `REGIONS`."""
    before = pl.col("previous_connected").fill_null(False)
    named = pl.col("network").is_not_null() & pl.col("previous_network").is_not_null()
    roamed = (pl.col("bssid") != pl.col("previous_bssid")).fill_null(False)
    event = (
        pl.when(~pl.col("connected"))
        .then(pl.when(before).then(pl.lit("disconnected")).otherwise(pl.lit("none")))
        .when(~before)
        .then(pl.lit("connected"))
        .when(named & (pl.col("network") != pl.col("previous_network")))
        .then(pl.lit("switched"))
        .when(roamed)
        .then(pl.lit("roamed"))
        .otherwise(pl.lit("stays"))
    )
    rows = (
        states.join(located(states, regions), on=["timestamp", "message_id"], how="left")
        .with_columns(
            event.alias("event"),
            networks.signal_quality(),
            pl.when("connected").then(networks.band()).alias("band"),
            pl.when("connected").then(networks.channel()).alias("channel"),
            ((pl.col("timestamp") - pl.col("fix_at")).dt.total_microseconds() * 1e-6).alias("seconds_to_fix"),
        )
        .rename({"message_id": "source_message_id"})
        .sort("device_id", "timestamp", "source_message_id")
    )
    at = pl.col("timestamp").dt.epoch("us")
    content = (pl.col(n) for n in (*_EVENT, *_PLACE, "region_revision"))
    rows = with_ids(rows, namespace_of(STAGE_NAME, version), at, pl.col("source_message_id"), *content)
    return rows.select(
        "timestamp", "message_id", "device_id", "trace_id", "span_id", "source_message_id", *_EVENT, *_STATE, *_PLACE
    )


_EVENT: Final = ("event", "network", "bssid", "seconds_since_previous")
_STATE: Final = ("signal_quality", "band", "channel", "is_open", "hint")
_PLACE: Final = ("latitude", "longitude", "accuracy", "seconds_to_fix", "region_id", "region_name", "region_kind")


def located(states: pl.DataFrame, regions: pl.DataFrame) -> pl.DataFrame:
    """Of each state (`timestamp`, `message_id`) whose fix lies in saved regions that one whose centre is nearest."""
    placed = states.filter(pl.col("latitude").is_not_null())
    found = pl.concat([georegion.inside_circles(placed, regions), georegion.inside_polygons(placed, regions)])
    centres = regions.select(
        "region_id", "region_name", "region_kind", "region_revision", centre_lat="latitude", centre_lon="longitude"
    )
    east = (pl.col("longitude") - pl.col("centre_lon")) * pl.col("latitude").radians().cos()
    away = (pl.col("latitude") - pl.col("centre_lat")).pow(2) + east.pow(2)
    return (
        found.join(centres, on="region_id")
        .join(placed.select("timestamp", "message_id", "latitude", "longitude"), on=["timestamp", "message_id"])
        .with_columns(away.alias("away"))
        .sort("away", "region_id")
        .unique(["timestamp", "message_id"], keep="first", maintain_order=True)
        .select("timestamp", "message_id", "region_id", "region_name", "region_kind", "region_revision")
    )


def _parameters(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
    touched = pl.concat(
        [
            batch.select("device_id", first="timestamp", last=pl.col("timestamp") + _MICROSECOND),
            woken(due).select("device_id", pl.col("first") - NEAR, pl.col("last") + NEAR),
        ]
    )
    # What is read between two runs that are one here is not touched by it: its answers stand.
    runs = stretches.joined(touched, timedelta(0), SAME_RUN)
    given = stretches.parameters(runs)
    if given is None:
        return None
    return {**given, "back": LOOK_BACK, "near": NEAR, **bounds([*runs["first"], *runs["last"]], _FAR, _FAR)}


STAGE_NAME: Final = "wifi-enricher"
WIFI_ENRICHER: Final = Stage(
    name=STAGE_NAME,
    source=WIFI_RAW,
    sinks=(WIFI_ENRICHED,),
    version="1",
    transform=transform,
    description="Wi-Fi: network, band, what changed, and the position and saved place near in time.",
    policy=BatchPolicy(max_rows=5_000),
    context=(STATES, REGIONS),
    inputs="(SELECT coalesce(max(revision), 0)::text FROM georegions)",
    wakes=(GPS_RAW,),
)
