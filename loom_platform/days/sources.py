"""What the datasets of days are made from: rows that tell of one day, with the names that the datasets use.

A stretch that is still open lasts until its device was last heard of: so what is told depends on rows alone, not on
when it is computed.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import CHARGING_DETECTED, POWER_RAW
from loom_contracts.topics.device_system import APPS_ANDROID_USAGE_RECONCILED
from loom_contracts.topics.location import (
    ADDRESS_GEOCODED,
    BUSINESS_IDENTIFIED,
    GPS_CLEANED,
    TRIP_DETECTED,
    VISIT_DETECTED,
)
from loom_contracts.topics.media import VAD_FILTERED
from loom_contracts.topics.motion import ACTIVITY_CLASSIFIED
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, APP_SESSION_DETECTED, SYSTEM_EVENTS_RAW
from loom_models.bounds import bounded
from loom_platform.days.dataset import Source
from loom_platform.days.stretches import MOMENT

SLEEP_REACH: Final = timedelta(hours=18)
"""So long before a day the sleep may have begun that the person woke from in it."""

NEAR: Final = (1, 1)
"""A day of the person's lies within three of UTC."""

_DAY: Final = timedelta(days=1)
"""SQL's days may be an hour longer than this where the session's clock changes: bounds have one more."""

_STRETCH: Final = {"message_id": pl.String(), "device_id": pl.String(), "started_at": MOMENT, "ended_at": MOMENT}
_REACH: Final = f"interval '{SLEEP_REACH // timedelta(hours=1)} hours'"

# Until when a device was heard of at a visit or on a trip that goes on.
_LAST_FIX: Final = f"""(
  SELECT greatest(v.timestamp, max(f.timestamp)) FROM {bounded(f"{GPS_CLEANED.table.name}_current")} f
  WHERE f.device_id = v.device_id AND f.accepted AND f.timestamp >= greatest(v.timestamp, %(start)s - interval '1 day')
    AND f.timestamp < %(end)s
)"""

VISITS: Final = Source(
    "visits",
    # A place that the person did not save is called as the business there, or the address. A visit may go on for any
    # time after the day, and so may they.
    f"""
    SELECT v.message_id::text, v.device_id, v.timestamp, v.until, v.timestamp, v.place_id::text,
           coalesce(v.region_name, b.name, a.address), v.region_kind, v.latitude, v.longitude
    FROM (
      SELECT *, coalesce(v.ended_at, {_LAST_FIX}) AS until FROM {bounded(f"{VISIT_DETECTED.table.name}_current")} v
      WHERE timestamp >= %(start)s - interval '60 days' AND timestamp < %(end)s
        AND (v.ended_at IS NULL OR v.ended_at > %(start)s - {_REACH})
    ) v
    LEFT JOIN LATERAL (
      SELECT name FROM {BUSINESS_IDENTIFIED.table.name}_current f
      WHERE v.region_name IS NULL AND f.device_id = v.device_id AND f.timestamp >= v.timestamp
        AND f.timestamp >= %(earliest)s AND f.timestamp <= v.until AND f.state = 'identified'
      ORDER BY f.timestamp DESC LIMIT 1
    ) b ON true
    LEFT JOIN LATERAL (
      SELECT nullif(concat_ws(', ', nullif(concat_ws(' ', f.road, f.house_number), ''), f.city), '') AS address
      FROM {ADDRESS_GEOCODED.table.name}_current f
      WHERE v.region_name IS NULL AND f.device_id = v.device_id AND f.timestamp >= v.timestamp
        AND f.timestamp >= %(earliest)s AND f.timestamp <= v.until AND f.state = 'found'
      ORDER BY f.timestamp LIMIT 1
    ) a ON true
    """,
    pl.Schema(
        {
            **_STRETCH,
            "arrived_at": MOMENT,
            "place_id": pl.String(),
            "place_name": pl.String(),
            "place_kind": pl.String(),
            "latitude": pl.Float64(),
            "longitude": pl.Float64(),
        }
    ),
    # What changes a day of a longer visit is a fix of that day.
    {VISIT_DETECTED: (3, 1), GPS_CLEANED: NEAR, BUSINESS_IDENTIFIED: NEAR, ADDRESS_GEOCODED: NEAR},
    before=61 * _DAY,
)

TRIPS: Final = Source(
    "trips",
    f"""
    SELECT message_id::text, device_id, timestamp, coalesce(ended_at, {_LAST_FIX}), mode, distance_m, destination_name
    FROM {bounded(f"{TRIP_DETECTED.table.name}_current")} v
    WHERE timestamp >= %(start)s - interval '3 days' AND timestamp < %(end)s
      AND (ended_at IS NULL OR ended_at > %(start)s - {_REACH})
    """,
    pl.Schema({**_STRETCH, "mode": pl.String(), "distance_m": pl.Float64(), "destination_name": pl.String()}),
    {TRIP_DETECTED: (2, 1), GPS_CLEANED: NEAR},
    before=4 * _DAY,
)

APPS: Final = Source(
    "apps",
    f"""
    SELECT message_id::text, device_id, timestamp, coalesce(ended_at, (
             SELECT greatest(s.timestamp, max(e.timestamp)) FROM {bounded(APP_LIFECYCLE_RAW.table.name)} e
             WHERE e.device_id = s.device_id AND e.timestamp >= s.timestamp
               AND e.timestamp < s.timestamp + interval '1 day')),
           app_identifier, app_name, app_category
    FROM {bounded(f"{APP_SESSION_DETECTED.table.name}_current")} s
    WHERE timestamp >= %(start)s - {_REACH} - interval '1 day' AND timestamp < %(end)s
    """,
    pl.Schema({**_STRETCH, "app_identifier": pl.String(), "app_name": pl.String(), "app_category": pl.String()}),
    {APP_SESSION_DETECTED: NEAR},
    before=SLEEP_REACH + 2 * _DAY,
    after=2 * _DAY,
)

USAGE: Final = Source(
    "usage",
    # A device tells of the same stretch again and again while it grows: the longest counts.
    f"""
    SELECT * FROM (
      SELECT DISTINCT ON (device_id, app_identifier, period_start)
        message_id::text, device_id, period_start, period_end, app_identifier, app_name, app_category,
        CASE WHEN believed = 'usage' THEN coalesce(seconds - events_seconds, 0) ELSE 0 END AS more_seconds, launch_count
      FROM {bounded(f"{APPS_ANDROID_USAGE_RECONCILED.table.name}_current")} r
      WHERE timestamp >= %(start)s - interval '1 day' AND timestamp < %(end)s + interval '2 days'
        AND period_start < %(end)s AND period_end > %(start)s AND period_end - period_start <= interval '2 days'
      ORDER BY device_id, app_identifier, period_start, period_end DESC, timestamp DESC
    ) u WHERE more_seconds <> 0
    """,
    pl.Schema(
        {
            **_STRETCH,
            "app_identifier": pl.String(),
            "app_name": pl.String(),
            "app_category": pl.String(),
            "more_seconds": pl.Float64(),
            "launch_count": pl.Int64(),
        }
    ),
    {APPS_ANDROID_USAGE_RECONCILED: (1, 2)},
    before=2 * _DAY,
    after=3 * _DAY,
)

ACTIVITY: Final = Source(
    "activity",
    # Windows of some seconds, summed by minute: 1,440 rows a device.
    f"""
    SELECT device_id, date_bin('1 minute', timestamp, timestamptz '2000-01-01 00:00:00+00') AS minute, activity,
           sum(extract(epoch FROM window_end - timestamp))::float8,
           sum(confidence * extract(epoch FROM window_end - timestamp))::float8
    FROM {bounded(f"{ACTIVITY_CLASSIFIED.table.name}_current")} a
    WHERE timestamp >= %(start)s - {_REACH} AND timestamp < %(end)s AND window_end > timestamp
    GROUP BY 1, 2, 3
    """,
    pl.Schema(
        {
            "device_id": pl.String(),
            "minute": MOMENT,
            "activity": pl.String(),
            "seconds": pl.Float64(),
            "certain_seconds": pl.Float64(),
        }
    ),
    {ACTIVITY_CLASSIFIED: NEAR},
    before=SLEEP_REACH,
)

SCREEN: Final = Source(
    "screen",
    f"""
    SELECT device_id, timestamp, event_type FROM {bounded(SYSTEM_EVENTS_RAW.table.name)} e
    WHERE timestamp >= %(start)s - {_REACH} AND timestamp < %(end)s + interval '1 hour'
      AND event_type IN ('screen_on', 'screen_off', 'device_lock', 'device_unlock')
    """,
    pl.Schema({"device_id": pl.String(), "timestamp": MOMENT, "event_type": pl.String()}),
    {SYSTEM_EVENTS_RAW: NEAR},
    before=SLEEP_REACH,
    after=timedelta(hours=1),
)

CHARGING: Final = Source(
    "charging",
    f"""
    SELECT message_id::text, device_id, timestamp, coalesce(ended_at, (
             SELECT greatest(c.timestamp, max(p.timestamp)) FROM {bounded(POWER_RAW.table.name)} p
             WHERE p.device_id = c.device_id AND p.timestamp >= c.timestamp
               AND p.timestamp < c.timestamp + interval '1 day')),
           start_level, end_level, region_name
    FROM {bounded(f"{CHARGING_DETECTED.table.name}_current")} c
    WHERE timestamp >= %(start)s - {_REACH} - interval '1 day' AND timestamp < %(end)s
    """,
    pl.Schema({**_STRETCH, "start_level": pl.Float64(), "end_level": pl.Float64(), "region_name": pl.String()}),
    # A session is of one UTC day.
    {CHARGING_DETECTED: NEAR, POWER_RAW: NEAR},
    before=SLEEP_REACH + 2 * _DAY,
    after=2 * _DAY,
)

SPEECH: Final = Source(
    "speech",
    f"""
    SELECT message_id::text, device_id, timestamp, segment_end FROM {bounded(f"{VAD_FILTERED.table.name}_current")} s
    WHERE timestamp >= %(start)s - interval '1 hour' AND timestamp < %(end)s
    """,
    pl.Schema(_STRETCH),
    {VAD_FILTERED: NEAR},
    before=timedelta(hours=1),
)
