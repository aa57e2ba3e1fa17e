"""The events around what a batch touches, as far as they can matter for who was in front then.

What happened before a border has no say in what comes after it. A border is an event before which, by its nearest
neighbours alone, either nobody or another application was in front: the screen going off, or a beginning that begins a
session. The stretch that a batch can change reaches from the last border before it to the first border after it whose
neighbours, and the beginning (or screen going off) before it, are none of the batch's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_models.app_sessions import END, MOMENT_SCHEMA, OFF, ON, START, TIMEOUT
from loom_models.stage import SPAN_SCHEMA, ContextQuery
from loom_models.wakes import WAKE, woken

SAME_RUN: Final = timedelta(minutes=10)
"""What of a batch lies closer than this is one stretch."""
NEAR: Final = 50
"""So many events of each table are searched for a border, before all of FAR are."""
FAR: Final = timedelta(hours=26)
"""Longer than any session that nothing interrupts."""

_APPS: Final = APP_LIFECYCLE_RAW.table.name
_SYSTEM: Final = SYSTEM_EVENTS_RAW.table.name
SCREEN: Final = "('screen_off', 'device_lock', 'screen_on')"
APP_RANK: Final = f"CASE WHEN e.event_type IN ('launch', 'foreground') THEN {START} ELSE {END} END"
SCREEN_RANK: Final = f"CASE e.event_type WHEN 'screen_on' THEN {ON} ELSE {OFF} END"


def border_sql(search: str, before: bool, limit: int | None) -> str:
    """SQL of the nearest border among the events that fulfil `search`, of `limit` events of either table at most."""
    order = f"ORDER BY e.timestamp {'DESC' if before else 'ASC'} LIMIT {limit}" if limit else ""
    most, least = ("max", "min") if before else ("min", "max")
    # Beyond the last event of a table that was cut off, events of the other one lack their neighbours.
    whole = f"""
        WHERE s.timestamp {">" if before else "<"} ALL (
            SELECT {least}(c.timestamp) FROM nearby c GROUP BY c.is_app HAVING count(*) = {limit}
        )
    """
    return f"""(
        WITH nearby AS (
            (SELECT e.timestamp, {APP_RANK} AS rank, e.message_id, e.app_identifier AS app, true AS is_app
             FROM {_APPS} e WHERE e.device_id = t.device_id AND {search} {order})
            UNION ALL
            (SELECT e.timestamp, {SCREEN_RANK}, e.message_id, NULL, false
             FROM {_SYSTEM} e WHERE e.device_id = t.device_id AND e.event_type IN {SCREEN} AND {search} {order})
        )
        SELECT {most}(b.timestamp) FROM (
            SELECT s.timestamp, s.rank, s.app, lag(s.timestamp) OVER near AS p_at, lag(s.rank) OVER near AS p_rank,
                lag(s.app) OVER near AS p_app, lag(s.rank, 2) OVER near AS q_rank, lag(s.app, 2) OVER near AS q_app,
                count(*) FILTER (WHERE s.rank IN ({OFF}, {START})) OVER near AS heads
            FROM nearby s {whole if limit else ""} WINDOW near AS (ORDER BY s.timestamp, s.rank, s.message_id)
        ) b
        WHERE b.p_at < b.timestamp AND b.heads > {0 if before else 1} AND (
            b.rank = {OFF} OR (b.rank = {START} AND (
                b.timestamp - b.p_at > %(timeout)s OR b.p_rank = {OFF} OR (b.p_rank = {START} AND b.p_app <> b.app)
                OR (b.p_rank = {END} AND (
                    b.p_app = b.app OR b.q_rank = {OFF} OR (b.q_rank = {START} AND b.q_app <> b.app)))
            ))
        )
    )"""


# The first and last moment of all that is read, so that a plan is made for a few days and not for all that there are.
AT_ALL: Final = "e.timestamp BETWEEN %(earliest)s AND %(latest)s"
_BEFORE: Final = f"{AT_ALL} AND e.timestamp < t.first"
_AFTER: Final = f"{AT_ALL} AND e.timestamp > t.last"
LOW: Final = f"""coalesce(
    {border_sql(_BEFORE, True, NEAR)},
    {border_sql(f"{_BEFORE} AND e.timestamp >= t.first - %(far)s", True, None)}, t.first - %(far)s)"""
"""SQL of the border before `t.first`."""
HIGH: Final = f"""coalesce(
    {border_sql(_AFTER, False, NEAR)},
    {border_sql(f"{_AFTER} AND e.timestamp <= t.last + %(far)s", False, None)}, t.last + %(far)s)"""
"""SQL of the border after `t.last`."""
MOMENTS: Final = ContextQuery(
    name="moments",
    # From the last beginning (or screen going off) before the stretch, too: it tells who was in front before.
    sql=f"""
        WITH t AS (
            SELECT * FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
                AS t (device_id, first, last)
        ), framed AS MATERIALIZED (
            SELECT t.device_id, t.first, {LOW} AS low, {HIGH} AS high FROM t
        ), reaching AS MATERIALIZED (
            SELECT t.*, coalesce(greatest(
                (SELECT e.timestamp FROM {_APPS} e
                 WHERE e.device_id = t.device_id AND {AT_ALL} AND e.timestamp < t.low AND e.timestamp >= t.low - %(far)s
                    AND e.event_type IN ('launch', 'foreground') ORDER BY e.timestamp DESC LIMIT 1),
                (SELECT e.timestamp FROM {_SYSTEM} e
                 WHERE e.device_id = t.device_id AND {AT_ALL} AND e.timestamp < t.low AND e.timestamp >= t.low - %(far)s
                    AND e.event_type IN ('screen_off', 'device_lock') ORDER BY e.timestamp DESC LIMIT 1)
            ), t.low) AS reach FROM framed t
        )
        SELECT t.first, t.low, t.high, m.* FROM reaching t CROSS JOIN LATERAL (
            SELECT e.device_id, e.timestamp, e.message_id::text, e.trace_id, e.span_id, e.event_type, {APP_RANK},
                e.app_identifier, e.app_name, e.duration_seconds
            FROM {_APPS} e WHERE e.device_id = t.device_id AND {AT_ALL} AND e.timestamp BETWEEN t.reach AND t.high
            UNION ALL
            SELECT e.device_id, e.timestamp, e.message_id::text, e.trace_id, e.span_id, e.event_type, {SCREEN_RANK},
                NULL, NULL, NULL
            FROM {_SYSTEM} e WHERE e.device_id = t.device_id AND {AT_ALL} AND e.timestamp BETWEEN t.reach AND t.high
                AND e.event_type IN {SCREEN}
        ) m
    """,
    parameters=lambda batch, due: _parameters(batch, due),
    schema=pl.Schema(
        dict.fromkeys(("touched", "low", "high"), MOMENT_SCHEMA["timestamp"]) | dict(MOMENT_SCHEMA.items())
    ),
)


def stretches(moments: pl.DataFrame) -> pl.DataFrame:
    """The stretches that a frame of MOMENTS answers anew, SPAN_SCHEMA; those of a device that meet are one."""
    first, last = pl.col("low").alias("first"), pl.col("high").alias("last")
    return _merged(moments.select("device_id", first, last).unique(), timedelta(0))


def in_stretches(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Those `rows` whose `timestamp` lies in one of the device's `spans`, which do not meet."""
    return (
        rows.sort("timestamp")
        .join_asof(spans.sort("first"), left_on="timestamp", right_on="first", by="device_id", check_sortedness=False)
        .filter(pl.col("timestamp") < pl.col("last"))
        .drop("first", "last")
    )


def key_of(started_at: pl.Expr) -> pl.Expr:
    """A session's timer is called by when the session began, in microseconds since the epoch."""
    return started_at.dt.epoch("us").cast(pl.String).alias("key")


def touched(batch: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """What a batch, wakes and the timers of sessions touch: stretches in SPAN_SCHEMA, of which `last` is a part."""
    at = pl.col("timestamp")
    timed = pl.from_epoch(pl.col("key").cast(pl.Int64), "us").dt.replace_time_zone("UTC")
    points = [
        batch.select("device_id", at.alias("first"), at.alias("last")),
        woken(due),
        due.filter(~pl.col("key").str.starts_with(WAKE)).select("device_id", timed.alias("first"), timed.alias("last")),
    ]
    return _merged(pl.concat(p.match_to_schema(SPAN_SCHEMA) for p in points), SAME_RUN)


def _merged(spans: pl.DataFrame, gap: timedelta) -> pl.DataFrame:
    """`spans` in order; those of a device that are no further apart than `gap` are one."""
    first, last = pl.col("first"), pl.col("last")
    apart = (first - last.cum_max().shift(1) > gap).over("device_id").fill_null(False)
    return (
        spans.sort("device_id", "first", "last")
        .with_columns(apart.cum_sum().over("device_id").alias("number"))
        .group_by("device_id", "number", maintain_order=True)
        .agg(first.min(), last.max())
        .select(SPAN_SCHEMA.names())
    )


def _parameters(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
    spans = touched(batch, due)
    if spans.is_empty():
        return None
    firsts, lasts = spans["first"].to_list(), spans["last"].to_list()
    return {"devices": spans["device_id"].to_list(), "firsts": firsts, "lasts": lasts, **limits(firsts, lasts)}


def limits(firsts: Sequence[datetime], lasts: Sequence[datetime]) -> Mapping[str, object]:
    """What the SQL of LOW, HIGH and AT_ALL takes, for stretches from `firsts` to `lasts`."""
    return {"timeout": TIMEOUT, "far": FAR, "earliest": min(firsts) - 2 * FAR, "latest": max(lasts) + FAR}
