"""Topics of a device's operating system."""

from typing import Final

from loom_contracts.payloads.os_events import (
    AppLifecycleEvent,
    AppSession,
    EnrichedAppEvent,
    NotificationEvent,
    SystemEvent,
)
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived, message

APP_LIFECYCLE_RAW: Final = Topic(
    "os.events.app_lifecycle.raw",
    AppLifecycleEvent,
    "Applications that come, go, or change their place.",
    message(
        app_identifier="com.android.chrome",
        app_name="Chrome",
        event_type="background",
        duration_seconds=93.5,
        metadata={"reason": "home_pressed"},
    ),
    consumers=("landing-os-events-app_lifecycle-raw", "app-enrichment", "app-sessions"),
)
SYSTEM_EVENTS_RAW: Final = Topic(
    "os.events.system.raw",
    SystemEvent,
    "Screen on and off, lock and unlock, charger.",
    message(event_type="screen_on", event_category="screen", severity="info", metadata={"locked": True}),
    consumers=("landing-os-events-system-raw",),
)
NOTIFICATIONS_RAW: Final = Topic(
    "os.events.notifications.raw",
    NotificationEvent,
    "Notifications that were shown or answered.",
    message(
        notification_id="0|com.example.chat|17",
        app_identifier="com.example.chat",
        app_name="Chat",
        title="Ada",
        body="See you at nine",
        action="posted",
        priority="high",
        category="message",
    ),
    consumers=("landing-os-events-notifications-raw",),
)
APP_LIFECYCLE_ENRICHED: Final = Topic(
    "os.events.app_lifecycle.enriched",
    EnrichedAppEvent,
    "Applications' events with category and session.",
    derived(
        "app-enrichment",
        app_identifier="com.android.chrome",
        app_name="Chrome",
        event_type="background",
        app_category="browser",
        session_id="b1f8a6e2-5c0d-4d0e-9f6b-7a1b2c3d4e5f",
        session_started_at="2026-01-15T08:28:26.500000Z",
        session_duration_seconds=93.5,
        previous_app_identifier="com.example.chat",
    ),
    producers=("app-enrichment",),
    scope=("timestamp", "device_id", "source_message_id"),
)
APP_SESSION_DETECTED: Final = Topic(
    "os.events.app_session.detected",
    AppSession,
    "Stretches of time with one application in front.",
    derived(
        "app-sessions",
        timestamp="2026-01-15T08:28:26.500000Z",
        session_id="b1f8a6e2-5c0d-4d0e-9f6b-7a1b2c3d4e5f",
        app_identifier="com.android.chrome",
        app_name="Chrome",
        app_category="browser",
        is_open=False,
        started_by="foreground",
        ended_at="2026-01-15T08:30:00.000000Z",
        ended_by="background",
        duration_seconds=93.5,
    ),
    producers=("app-sessions",),
    scope=("timestamp", "device_id", "session_id"),
)
