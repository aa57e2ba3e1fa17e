"""Which rows of its source a derived row was made from: one link for each stage that derives; and what explains a row.

The engine keeps one `source_message_id` in every derived row; a window or a segment was made from many. How those are
found again is the stage's own knowledge, written here once in SQL: `up` from a derived row to its sources, `down` from
a source to what was derived. Parameters are the columns of the row that one starts from.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from loom_contracts.topic import Topic
from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    ACCELEROMETER_WINDOWED,
    AUDIO_RAW,
    CHARGING_DETECTED,
    GPS_RAW,
    POWER_ENRICHED,
    POWER_PATTERNS,
    POWER_RAW,
)
from loom_contracts.topics.device_system import (
    APPS_ANDROID_USAGE_RAW,
    APPS_ANDROID_USAGE_RECONCILED,
    BLUETOOTH_RAW,
    WIFI_RAW,
)
from loom_contracts.topics.location import (
    ADDRESS_GEOCODED,
    BUSINESS_IDENTIFIED,
    GEOREGION_DETECTED,
    GPS_CLEANED,
    TRIP_DETECTED,
    VISIT_DETECTED,
)
from loom_contracts.topics.media import VAD_FILTERED
from loom_contracts.topics.motion import ACTIVITY_CLASSIFIED, SIGNIFICANT_MOTION
from loom_contracts.topics.network import BLUETOOTH_DETECTED, BLUETOOTH_ENRICHED, NETWORK_DETECTED, WIFI_ENRICHED
from loom_contracts.topics.os_events import (
    APP_LIFECYCLE_ENRICHED,
    APP_LIFECYCLE_RAW,
    APP_SESSION_DETECTED,
    SYSTEM_EVENTS_RAW,
)


@dataclass(frozen=True)
class Link:
    """`up` is a condition on rows `r` of `source`, `down` one on rows `r` of `sink`; both keep to few partitions.

    Where `up` names only the source that an answer is of, `touches` is the condition for all that it may have been made
    from. No row was made from one that is further away than `reach`.
    """

    sink: Topic
    source: Topic
    up: str
    down: str
    touches: str | None = None
    reach: timedelta = timedelta(days=1, minutes=2)


def _of_one(sink: Topic, source: Topic, touches: str, reach: timedelta) -> Link:
    """The link of an answer to one row, which others near it in time have a say in."""
    return Link(
        sink,
        source,
        "r.timestamp BETWEEN %(timestamp)s AND %(timestamp)s + interval '12 hours' "
        "AND r.message_id = %(source_message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '12 hours' AND %(timestamp)s "
        "AND r.source_message_id = %(message_id)s",
        f"r.device_id = %(device_id)s AND {touches}",
        reach,
    )


def _since(sink: Topic, source: Topic, back: str, touches: str, reach: timedelta) -> Link:
    """The link of an answer to a row of its own time or, so far `back`, before it; others near it have a say in it."""
    return Link(
        sink,
        source,
        f"r.timestamp BETWEEN %(timestamp)s - interval '{back}' AND %(timestamp)s "
        "AND r.message_id = %(source_message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s "
        f"AND %(timestamp)s + interval '{back}' AND r.source_message_id = %(message_id)s",
        f"r.device_id = %(device_id)s AND {touches}",
        reach,
    )


def _between(sink: Topic, source: Topic, touches: str, reach: timedelta) -> Link:
    """The link of an answer to all rows from its `timestamp` to its `ended_at`; while it is open, to its first one."""
    return Link(
        sink,
        source,
        "r.device_id = %(device_id)s AND r.timestamp >= %(timestamp)s "
        "AND r.timestamp <= coalesce(%(ended_at)s::timestamptz, %(timestamp)s)",
        # Without a bound every partition would be searched; the end of a longer one finds it no more.
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '31 days' AND %(timestamp)s "
        "AND coalesce(r.ended_at, r.timestamp) >= %(timestamp)s",
        f"r.device_id = %(device_id)s AND {touches}",
        reach,
    )


LINKS: Final[tuple[Link, ...]] = (
    Link(
        GEOREGION_DETECTED,
        GPS_RAW,
        "r.timestamp IN (%(timestamp)s, %(previous_timestamp)s) "
        "AND r.message_id IN (%(source_message_id)s, %(previous_message_id)s)",
        "r.device_id = %(device_id)s AND (r.timestamp = %(timestamp)s AND r.source_message_id = %(message_id)s OR "
        "r.timestamp BETWEEN %(timestamp)s AND %(timestamp)s + interval '1 day' "
        "AND r.previous_message_id = %(message_id)s)",
    ),
    # A verdict hears a few moments on either side, which may lie two days away.
    Link(
        GPS_CLEANED,
        GPS_RAW,
        "r.timestamp = %(timestamp)s AND r.message_id = %(source_message_id)s",
        "r.timestamp = %(timestamp)s AND r.source_message_id = %(message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '2 days' "
        "AND %(timestamp)s + interval '2 days'",
        timedelta(days=2),
    ),
    *(
        _between(
            sink,
            GPS_RAW,
            "r.timestamp BETWEEN %(timestamp)s - interval '2 days' "
            "AND coalesce(%(ended_at)s::timestamptz, 'infinity') + interval '2 days'",
            timedelta(days=33),
        )
        for sink in (VISIT_DETECTED, TRIP_DETECTED)
    ),
    Link(
        ADDRESS_GEOCODED,
        GPS_RAW,
        "r.timestamp = %(timestamp)s AND r.message_id = %(source_message_id)s",
        "r.timestamp = %(timestamp)s AND r.source_message_id = %(message_id)s",
    ),
    Link(
        BUSINESS_IDENTIFIED,
        GPS_RAW,
        "r.timestamp = %(timestamp)s AND r.message_id = %(source_message_id)s",
        "r.timestamp = %(timestamp)s AND r.source_message_id = %(message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '30 minutes' AND %(timestamp)s",
        timedelta(minutes=30),
    ),
    Link(
        ACCELEROMETER_WINDOWED,
        ACCELEROMETER_RAW,
        "r.device_id = %(device_id)s AND r.timestamp >= %(timestamp)s AND r.timestamp < %(window_end)s",
        # A window is no longer than an hour; without the bound every partition would be searched.
        "r.device_id = %(device_id)s AND r.timestamp <= %(timestamp)s "
        "AND r.timestamp > %(timestamp)s - interval '1 hour' AND r.window_end > %(timestamp)s",
    ),
    Link(
        VAD_FILTERED,
        AUDIO_RAW,
        # A chunk holds up to a minute, and speech may begin at its end.
        "r.device_id = %(device_id)s AND r.timestamp >= %(timestamp)s - interval '61 seconds' "
        "AND r.timestamp <= %(segment_end)s AND %(source_message_ids)s::jsonb ? r.message_id::text",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '1 day' "
        "AND %(timestamp)s + interval '61 seconds' AND r.source_message_ids ? %(message_id)s::text",
    ),
    _of_one(
        POWER_ENRICHED,
        POWER_RAW,
        "r.timestamp <= %(timestamp)s AND r.timestamp >= %(timestamp)s - interval '8 hours'",
        timedelta(hours=8),
    ),
    # A session lasts no longer than two days. It is told by the reading before it and the one after it, too.
    _of_one(
        CHARGING_DETECTED,
        POWER_RAW,
        "r.timestamp BETWEEN %(timestamp)s - interval '60 hours' AND %(timestamp)s + interval '60 hours'",
        timedelta(hours=60),
    ),
    _of_one(
        POWER_PATTERNS,
        CHARGING_DETECTED,
        "r.timestamp <= %(timestamp)s AND r.timestamp > %(timestamp)s - interval '180 days'",
        timedelta(days=183),
    ),
    _of_one(
        APP_LIFECYCLE_ENRICHED,
        APP_LIFECYCLE_RAW,
        "r.timestamp <= %(timestamp)s AND r.timestamp >= %(timestamp)s - interval '26 hours'",
        timedelta(hours=26),
    ),
    # The event that it began with, and the one that ended it, unless that was the screen.
    Link(
        APP_SESSION_DETECTED,
        APP_LIFECYCLE_RAW,
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s AND %(timestamp)s + interval '26 hours' "
        "AND (r.timestamp = %(timestamp)s OR r.message_id = %(source_message_id)s)",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '26 hours' AND %(timestamp)s "
        "AND (r.timestamp = %(timestamp)s OR r.source_message_id = %(message_id)s)",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '26 hours' "
        "AND %(timestamp)s + interval '26 hours'",
        timedelta(hours=26),
    ),
    Link(
        APPS_ANDROID_USAGE_RECONCILED,
        APPS_ANDROID_USAGE_RAW,
        "r.timestamp = %(timestamp)s AND r.message_id = %(source_message_id)s",
        "r.timestamp = %(timestamp)s AND r.source_message_id = %(message_id)s",
    ),
    # A stop is told at the end of its window.
    Link(
        SIGNIFICANT_MOTION,
        ACCELEROMETER_WINDOWED,
        "r.timestamp BETWEEN %(timestamp)s - interval '1 minute' AND %(timestamp)s "
        "AND r.message_id = %(source_message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s AND %(timestamp)s + interval '1 minute' "
        "AND r.source_message_id = %(message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '1 minute' "
        "AND %(timestamp)s + interval '1 minute'",
        timedelta(minutes=1),
    ),
    # Positions have a say in it too, from two minutes further away: REACH of the stage.
    Link(
        ACTIVITY_CLASSIFIED,
        ACCELEROMETER_WINDOWED,
        "r.timestamp = %(timestamp)s AND r.message_id = %(source_message_id)s",
        "r.timestamp = %(timestamp)s AND r.source_message_id = %(message_id)s",
        "r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '4 minutes' "
        "AND %(timestamp)s + interval '4 minutes'",
        timedelta(minutes=6),
    ),
    _since(
        WIFI_ENRICHED,
        WIFI_RAW,
        "0",
        "r.timestamp BETWEEN %(timestamp)s - interval '12 hours' AND %(timestamp)s",
        timedelta(hours=12),
    ),
    # Whatever of its day is seen, and what is next to that; a day's first row may go on from the day before.
    _since(
        NETWORK_DETECTED,
        WIFI_RAW,
        "12 hours",
        "r.timestamp BETWEEN %(timestamp)s - interval '12 hours' AND %(timestamp)s + interval '36 hours'",
        timedelta(hours=36),
    ),
    _since(
        BLUETOOTH_ENRICHED,
        BLUETOOTH_RAW,
        "0",
        "r.timestamp BETWEEN %(timestamp)s - interval '30 minutes' AND %(timestamp)s",
        timedelta(minutes=30),
    ),
    _since(
        BLUETOOTH_DETECTED,
        BLUETOOTH_RAW,
        "30 minutes",
        "r.timestamp BETWEEN %(timestamp)s - interval '30 minutes' AND %(timestamp)s + interval '25 hours'",
        timedelta(hours=25),
    ),
)


def _heard(sink: Topic, source: Topic, minutes: int) -> Link:
    """The link of an answer to a source that is not its stage's own, and lies that near."""
    touches = (
        f"r.device_id = %(device_id)s AND r.timestamp BETWEEN %(timestamp)s - interval '{minutes} minutes' "
        f"AND %(timestamp)s + interval '{minutes} minutes'"
    )
    return Link(sink, source, "false", "false", touches, timedelta(minutes=minutes))


HEARD: Final[tuple[Link, ...]] = (
    # A session's place is that of a fix near its first reading, which may come twelve hours after the charger's event.
    _heard(CHARGING_DETECTED, GPS_RAW, 13 * 60),
    _heard(CHARGING_DETECTED, SYSTEM_EVENTS_RAW, 60 * 60),
    _heard(ACTIVITY_CLASSIFIED, GPS_RAW, 6),
    _heard(NETWORK_DETECTED, GPS_RAW, 36 * 60),
    _heard(WIFI_ENRICHED, GPS_RAW, 15),
    _heard(APP_SESSION_DETECTED, SYSTEM_EVENTS_RAW, 26 * 60),
)
"""Other sources that have a say in answers. They explain nothing; what is erased of them takes those answers along."""

EXPLAINED: Final[frozenset[str]] = frozenset(
    {"timestamp", "message_id", "device_id", "trace_id", "span_id", "source_message_id", "source_message_ids",
     "previous_message_id", "previous_timestamp", "window_end", "segment_end", "stage", "stage_version",
     "run_id", "kafka_partition", "kafka_offset", "received_at", "stored_at", "computed_at", "superseded_at"}
)  # fmt: skip
"""Columns that tell where a row came from and what came of it, and not what it says."""
OF_A_STRETCH: Final = "ended_at"
"""It tells what a derived row stretches over; in a landed one it is what a device says."""
OF_A_BODY: Final = ("_ref", "_sha256", "_size_bytes")
"""Endings of the columns that tell where a stored body lies."""


def explained(topic: Topic) -> tuple[str, ...]:
    """The columns of the topic's table that explain a row, in the table's order."""
    names = {*EXPLAINED, OF_A_STRETCH} if topic.table.derived else EXPLAINED
    return tuple(c.name for c in topic.table.columns if c.name in names or c.name.endswith(OF_A_BODY))
