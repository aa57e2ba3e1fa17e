"""What the stage charging-sessions reads: of any number of readings those few that tell the sessions around a moment.

Two landed readings off the charger, the nearest before and after what was touched, enclose everything that it can
change. Between them are the edges of each stretch on the charger, and the first and last reading of each quarter of an
hour.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.os_events import SYSTEM_EVENTS_RAW
from loom_models.frames import UTC_MICROS
from loom_models.power import COUNTS_SQL, PLUGGED_SQL, runs
from loom_models.stage import ContextQuery
from loom_models.wakes import woken

FLICKER: Final = timedelta(minutes=2)
CLOSE: Final = timedelta(hours=1)
SILENCE: Final = timedelta(hours=12)
"""Phones that are not looked at say nothing for a night."""
TRACE: Final = timedelta(minutes=15)
"""Of each stretch so long, aligned to the epoch, the first and the last reading tell how the charge rises."""
NEAR: Final = timedelta(minutes=30)
"""How far from its beginning the fix may be that tells where a session is."""
SAME_RUN: Final = timedelta(minutes=30)
"""What is touched within so long is read from the table as one stretch."""

BEFORE: Final = timedelta(hours=60)
AFTER: Final = timedelta(hours=84)
"""How far a session and its neighbours reach, from the beginning of the first and of the last day that were touched."""
OPEN: Final = "open:"
"""How the key of an open session's timer begins; its beginning in microseconds since the epoch follows."""

# With these bounds the planner leaves out all days but a few, which is most of what such a query takes.
_TABLE, _EVENTS, _FIXES = (
    f"(SELECT * FROM {topic.table.name} WHERE timestamp >= %(since)s AND timestamp <= %(until)s)"
    for topic in (POWER_RAW, SYSTEM_EVENTS_RAW, GPS_RAW)
)
_EDGE: Final = f"""
    SELECT n.timestamp, n.message_id FROM {_TABLE} n WHERE n.device_id = run.device_id AND NOT {PLUGGED_SQL}
    AND {COUNTS_SQL} AND (
        SELECT true FROM {_TABLE} o WHERE device_id = run.device_id AND {PLUGGED_SQL} AND {COUNTS_SQL}
        AND timestamp >= n.timestamp AND timestamp <= n.timestamp + %(flicker)s LIMIT 1) IS NULL
"""
_PLUGGED: Final = f"""
    SELECT p.* FROM {_TABLE} p WHERE p.device_id = run.device_id AND {PLUGGED_SQL} AND {COUNTS_SQL}
"""
_COLUMNS: Final = """p.message_id, p.device_id, p.timestamp, p.trace_id, p.span_id, p.battery_level, p.is_charging,
                   p.power_source"""
STRETCHES: Final = ContextQuery(
    name="stretches",
    # `u` and `v` are the readings off the charger next to what was touched, or null where there is none near; before,
    # within and after it, what tells the sessions between these two. Of a reading at which one may begin or end, the
    # system's event and the nearest fix.
    sql=f"""
        WITH touched AS (
            SELECT t.*, date_bin('1 day', first, 'epoch') - %(before)s AS lo,
                   date_bin('1 day', last, 'epoch') + %(after)s AS hi
            FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
                 WITH ORDINALITY AS t (device_id, first, last, run)
        ), run AS (
            SELECT run.*, u.timestamp AS u_at, u.message_id AS u_id, v.timestamp AS v_at, v.message_id AS v_id,
                   greatest(u.timestamp, e.timestamp) AS lower, least(v.timestamp, l.timestamp) AS upper
            FROM touched run
            LEFT JOIN LATERAL ({_EDGE} AND n.timestamp < run.first AND n.timestamp >= run.lo
                               ORDER BY n.timestamp DESC, n.message_id DESC LIMIT 1) u ON true
            LEFT JOIN LATERAL ({_EDGE} AND n.timestamp > run.last AND n.timestamp <= run.hi
                               ORDER BY n.timestamp, n.message_id LIMIT 1) v ON true
            LEFT JOIN LATERAL (SELECT timestamp FROM {_TABLE} o WHERE device_id = run.device_id AND timestamp >= run.lo
                               AND timestamp < run.first ORDER BY timestamp LIMIT 1) e ON true
            LEFT JOIN LATERAL (SELECT timestamp FROM {_TABLE} o WHERE device_id = run.device_id AND timestamp > run.last
                               AND timestamp <= run.hi ORDER BY timestamp DESC LIMIT 1) l ON true
        ), within AS (
            SELECT run.run, p.*, {PLUGGED_SQL} AS is_plugged, run.last,
                   min(timestamp) FILTER (WHERE {PLUGGED_SQL}) OVER from_the_end AS next_plugged
            FROM run JOIN {_TABLE} p ON p.device_id = run.device_id AND p.timestamp >= run.first
                 AND p.timestamp <= run.last + %(flicker)s AND {COUNTS_SQL}
            WINDOW from_the_end AS (PARTITION BY run.run ORDER BY timestamp DESC, {PLUGGED_SQL} DESC, message_id DESC
                                    ROWS UNBOUNDED PRECEDING)
        ), edges AS (
            SELECT *, lag(is_plugged) OVER w AS before, lead(is_plugged) OVER w AS after,
                   row_number() OVER (PARTITION BY run, is_plugged, date_bin(%(trace)s, timestamp, 'epoch')
                                      ORDER BY timestamp, message_id) AS number,
                   row_number() OVER (PARTITION BY run, is_plugged, date_bin(%(trace)s, timestamp, 'epoch')
                                      ORDER BY timestamp DESC, message_id DESC) AS number_back
            FROM within WHERE is_plugged OR next_plugged IS NULL OR next_plugged > timestamp + %(flicker)s
            WINDOW w AS (PARTITION BY run ORDER BY timestamp, is_plugged, message_id)
        ), chosen AS (
            SELECT run, {_COLUMNS} FROM edges p WHERE timestamp <= last AND (
                before IS DISTINCT FROM is_plugged OR after IS DISTINCT FROM is_plugged
                OR is_plugged AND (number = 1 OR number_back = 1))
            UNION
            SELECT run.run, {_COLUMNS} FROM run CROSS JOIN LATERAL (
                SELECT * FROM {_TABLE} p
                WHERE p.timestamp IN (run.u_at, run.v_at) AND p.message_id IN (run.u_id, run.v_id)
            ) p
            UNION
            SELECT run.run, {_COLUMNS} FROM run
            CROSS JOIN LATERAL generate_series(date_bin(%(trace)s, lower, 'epoch'), first, %(trace)s) AS bin (at)
            CROSS JOIN LATERAL (
                ({_PLUGGED} AND p.timestamp >= greatest(bin.at, run.lower)
                 AND p.timestamp < least(bin.at + %(trace)s, run.first) ORDER BY p.timestamp, p.message_id LIMIT 1)
                UNION ALL
                ({_PLUGGED} AND p.timestamp >= greatest(bin.at, run.lower)
                 AND p.timestamp < least(bin.at + %(trace)s, run.first)
                 ORDER BY p.timestamp DESC, p.message_id DESC LIMIT 1)
            ) p
            UNION
            SELECT run.run, {_COLUMNS} FROM run
            CROSS JOIN LATERAL generate_series(date_bin(%(trace)s, last, 'epoch'), upper, %(trace)s) AS bin (at)
            CROSS JOIN LATERAL (
                ({_PLUGGED} AND p.timestamp > run.last AND p.timestamp >= bin.at AND p.timestamp < bin.at + %(trace)s
                 AND p.timestamp <= run.upper ORDER BY p.timestamp, p.message_id LIMIT 1)
                UNION ALL
                ({_PLUGGED} AND p.timestamp > run.last AND p.timestamp >= bin.at AND p.timestamp < bin.at + %(trace)s
                 AND p.timestamp <= run.upper ORDER BY p.timestamp DESC, p.message_id DESC LIMIT 1)
            ) p
        ), ordered AS (
            SELECT *, lag(is_plugged) OVER w AS before, lag(timestamp) OVER w AS before_at
            FROM (SELECT *, {PLUGGED_SQL} AS is_plugged FROM chosen) c
            WINDOW w AS (PARTITION BY run ORDER BY timestamp, is_plugged, message_id)
        )
        SELECT r.run, r.message_id::text, r.device_id, r.timestamp, r.trace_id, r.span_id, r.battery_level,
               r.power_source, r.is_plugged, coalesce(c.timestamp, d.timestamp), f.latitude, f.longitude,
               coalesce(run.u_at + interval '1 microsecond', run.lo + interval '36 hours'),
               coalesce(run.v_at, run.hi - interval '48 hours'),
               CASE WHEN run.u_at IS NULL THEN run.lo + interval '12 hours' END
        FROM ordered r JOIN run USING (run)
        LEFT JOIN LATERAL (
            SELECT c.timestamp FROM {_EVENTS} c WHERE c.device_id = r.device_id AND c.timestamp > r.before_at
            AND c.timestamp <= r.timestamp AND c.timestamp >= date_bin('1 day', r.timestamp, 'epoch')
            AND c.timestamp > r.timestamp - %(silence)s AND c.event_type IN ('power_connected', 'power_disconnected')
            AND c.event_type = 'power_connected' AND NOT EXISTS (
                SELECT FROM {_EVENTS} d WHERE d.device_id = r.device_id AND d.timestamp > c.timestamp
                AND d.timestamp <= r.timestamp AND d.event_type IN ('power_connected', 'power_disconnected')
                AND d.event_type = 'power_disconnected')
            ORDER BY c.timestamp LIMIT 1) c ON r.is_plugged AND NOT r.before
        LEFT JOIN LATERAL (
            SELECT d.timestamp FROM {_EVENTS} d WHERE d.device_id = r.device_id AND d.timestamp > r.before_at
            AND d.timestamp <= r.timestamp AND d.timestamp > r.timestamp - %(silence)s
            AND d.event_type IN ('power_connected', 'power_disconnected') AND d.event_type = 'power_disconnected'
            ORDER BY d.timestamp LIMIT 1) d ON r.before AND NOT r.is_plugged
        LEFT JOIN LATERAL (
            SELECT n.latitude, n.longitude FROM (
                (SELECT g.* FROM {_FIXES} g WHERE g.device_id = r.device_id AND g.timestamp <= r.timestamp
                 AND g.timestamp >= r.timestamp - %(near)s AND (g.accuracy IS NULL OR g.accuracy <= 250)
                 AND (g.latitude <> 0 OR g.longitude <> 0) ORDER BY g.timestamp DESC, g.message_id DESC LIMIT 1)
                UNION ALL
                (SELECT g.* FROM {_FIXES} g WHERE g.device_id = r.device_id AND g.timestamp > r.timestamp
                 AND g.timestamp <= r.timestamp + %(near)s AND (g.accuracy IS NULL OR g.accuracy <= 250)
                 AND (g.latitude <> 0 OR g.longitude <> 0) ORDER BY g.timestamp, g.message_id LIMIT 1)
            ) n ORDER BY greatest(n.timestamp - r.timestamp, r.timestamp - n.timestamp), n.timestamp LIMIT 1
        ) f ON r.is_plugged AND (NOT r.before OR r.before IS NULL OR r.timestamp - r.before_at > %(close)s
                                 OR date_bin('1 day', r.timestamp, 'epoch') > r.before_at)
    """,
    parameters=lambda batch, due: _parameters(batch, due),
    schema=pl.Schema(
        {
            "run": pl.Int64(),
            "message_id": pl.String(),
            "device_id": pl.String(),
            "timestamp": UTC_MICROS,
            "trace_id": pl.String(),
            "span_id": pl.String(),
            "battery_level": pl.Float64(),
            "power_source": pl.String(),
            "is_plugged": pl.Boolean(),
            "event_at": UTC_MICROS,
            "latitude": pl.Float64(),
            "longitude": pl.Float64(),
            "span_first": UTC_MICROS,
            "span_last": UTC_MICROS,
            "known_from": UTC_MICROS,
        }
    ),
)
"""`event_at` is the system's event of the charger at an edge. Sessions that begin from `span_first` up to `span_last`
are there as a whole, and so is what follows a beginning from `known_from` on (null: any)."""


def _parameters(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
    closing = due.filter(pl.col("key").str.starts_with(OPEN)).select(
        "device_id", first=pl.col("key").str.strip_prefix(OPEN).cast(pl.Int64).cast(UTC_MICROS)
    )
    touched = pl.concat(
        [
            batch.select("device_id", first="timestamp", last="timestamp"),
            # A fix may be of a session that begins before or after it.
            woken(due).select("device_id", pl.col("first") - NEAR, pl.col("last") + NEAR),
            closing.select("device_id", "first", last="first"),
        ]
    )
    if touched.is_empty():
        return None
    found = runs(touched, SAME_RUN)
    widths = {"flicker": FLICKER, "close": CLOSE, "silence": SILENCE, "trace": TRACE, "near": NEAR}
    since, until = _day(min(found["firsts"])) - BEFORE, _day(max(found["lasts"])) + AFTER
    return {**found, **widths, "before": BEFORE, "after": AFTER, "since": since, "until": until}


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
