"""The apps flow on the engine: events and the screen have topics of their own, late ones amend, a person corrects."""

import threading
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from loom_contracts.message import Message
from loom_contracts.payloads.os_events import AppLifecycleEvent, SystemEvent
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_models.landing import landing_stage
from loom_models.stages.app_enriched import APP_ENRICHMENT
from loom_models.stages.app_sessions import APP_SESSIONS
from loom_platform.app_categories import set_category
from loom_platform.stream.api import recompute
from tests.stream.bench import NOW, Bench, eventually

pytestmark = pytest.mark.integration

LANDING = (landing_stage(APP_LIFECYCLE_RAW), landing_stage(SYSTEM_EVENTS_RAW))
STAGES = (*LANDING, APP_ENRICHMENT, APP_SESSIONS)
_SESSIONS = """
SELECT extract(epoch FROM timestamp - %s)::int, app_identifier, app_category, duration_seconds, ended_by
FROM os_events_app_session_detected_current ORDER BY timestamp
"""


def event(second: float, kind: str, app: str) -> AppLifecycleEvent:
    return AppLifecycleEvent.model_validate(
        {"device_id": "phone-001", "timestamp": NOW + timedelta(seconds=second), "event_type": kind}
        | {"app_identifier": app}
    )


def screen(second: float, kind: str) -> SystemEvent:
    return SystemEvent.model_validate(
        {"device_id": "phone-001", "timestamp": NOW + timedelta(seconds=second), "event_type": kind}
        | {"event_category": "screen"}
    )


def sessions(bench: Bench) -> list[tuple[Any, ...]]:
    return bench.rows(_SESSIONS, NOW)


def test_late_screen_events_amend_and_a_category_corrects_the_day(bench: Bench) -> None:
    bench.prepare(*STAGES)
    told: tuple[Message, ...] = (
        event(0, "foreground", "com.whatsapp"),
        event(60, "foreground", "org.example.diary"),
        event(90, "background", "org.example.diary"),
        event(4_000, "foreground", "com.whatsapp"),
    )
    bench.send(APP_LIFECYCLE_RAW, *told)
    bench.drain(*STAGES)
    diary = (60, "org.example.diary", "unknown", 30, "background")
    first = [(0, "com.whatsapp", "communication", 60, "other_app"), diary]
    # a day ago, so its time is out
    assert sessions(bench) == [*first, (4_000, "com.whatsapp", "communication", 0, "timeout")]

    bench.send(SYSTEM_EVENTS_RAW, screen(30, "screen_off"), screen(4_020, "screen_off"))
    amended = [
        (0, "com.whatsapp", "communication", 30, "screen_off"),
        diary,
        (4_000, "com.whatsapp", "communication", 20, "screen_off"),
    ]
    with bench.start(*STAGES):
        eventually(lambda: sessions(bench) == amended)

    with psycopg.connect(bench.owner_url, autocommit=True) as connection:
        set_category(connection, "org.example.*", "writing")
    for stage in (APP_SESSIONS, APP_ENRICHMENT):
        recompute(stage, NOW.date(), NOW.date(), bench.config, on_report=lambda _: None, stop=threading.Event())
    assert sessions(bench) == [amended[0], (60, "org.example.diary", "writing", 30, "background"), amended[2]]
    enriched = bench.rows(
        "SELECT event_type, app_category, session_duration_seconds, previous_app_identifier "
        "FROM os_events_app_lifecycle_enriched_current ORDER BY timestamp"
    )
    assert enriched == [
        ("foreground", "communication", 0, None),
        ("foreground", "writing", 0, None),
        ("background", "writing", 30, None),
        ("foreground", "communication", 0, "org.example.diary"),
    ]
