"""The power flow through the engine: readings, rates, sessions, habits; late records of three topics; a recompute."""

import threading
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from loom_contracts.payloads.os_events import SystemEvent
from loom_contracts.payloads.power import ChargingSession, PowerState
from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import CHARGING_DETECTED, GPS_RAW, POWER_ENRICHED, POWER_PATTERNS, POWER_RAW
from loom_contracts.topics.os_events import SYSTEM_EVENTS_RAW
from loom_models.landing import landing_stage
from loom_models.stages.charging_detected import CHARGING_SESSIONS
from loom_models.stages.power_enriched import POWER_ENRICHER
from loom_models.stages.power_patterns import CHARGING_PATTERNS
from loom_platform.stream.api import recompute
from tests.stream.bench import NOW, Bench, eventually

pytestmark = pytest.mark.integration
LANDING = tuple(landing_stage(topic) for topic in (POWER_RAW, GPS_RAW, SYSTEM_EVENTS_RAW))
FLOW = (*LANDING, POWER_ENRICHER, CHARGING_SESSIONS, CHARGING_PATTERNS)


def envelope(number: int, at: datetime) -> dict[str, object]:
    return {"message_id": UUID(int=number), "device_id": "phone-001", "timestamp": at, "schema_version": "1.0"}


def reading(number: int, minutes: float, level: float, charging: bool) -> PowerState:
    known = envelope(number, NOW + timedelta(minutes=minutes))
    return PowerState.model_validate(known | {"battery_level": level, "is_charging": charging})


def test_from_readings_to_habits(bench: Bench) -> None:
    bench.prepare(*FLOW)
    day = [reading(m + 100, m, 50 - m / 10, False) for m in range(0, 60, 10)]
    day += [reading(m + 100, m, 44 + (m - 60) / 2, True) for m in range(60, 120, 10)]
    late = [day.pop(3), day.pop(7)]
    sessions = f"SELECT timestamp, ended_at, latitude, region_name FROM {CHARGING_DETECTED.table.name}_current"
    with bench.start(*FLOW, idle_timeout=timedelta(seconds=60)):
        bench.send(POWER_RAW, *day, b'{"battery_level": 140, "is_charging": true}')
        # Yesterday's last word: it was on the charger.
        eventually(lambda: bench.rows(sessions) == [(NOW + timedelta(hours=1), day[-1].timestamp, None, None)])
        # Late, and out of order: the charger is told to have come and gone before, and where.
        bench.send(POWER_RAW, *reversed(late), reading(900, 130, 74, False))
        bench.send(
            SYSTEM_EVENTS_RAW,
            *(
                SystemEvent.model_validate(
                    envelope(n, NOW + timedelta(minutes=at)) | {"event_type": kind, "event_category": "power"}
                )
                for n, at, kind in ((1, 52.0, "power_connected"), (2, 124.0, "power_disconnected"))
            ),
        )
        fix = envelope(3, NOW + timedelta(minutes=61)) | {"latitude": 52.5, "longitude": 13.4}
        bench.send(GPS_RAW, GpsFix.model_validate(fix))
        begun, ended = NOW + timedelta(minutes=52), NOW + timedelta(minutes=124)
        eventually(lambda: bench.rows(sessions) == [(begun, ended, 52.5, None)])
        habits = f"SELECT timestamp, session_count, pattern FROM {POWER_PATTERNS.table.name}_current"
        eventually(lambda: bench.rows(habits) == [(begun, 1, "none")])
        rates = f"SELECT count(*), count(rate_percent_per_hour) FROM {POWER_ENRICHED.table.name}_current"
        eventually(lambda: bench.rows(rates) == [(13, 10)])
    sent = [ChargingSession.model_validate_json(v) for v in bench.topic_values(CHARGING_DETECTED)]
    assert len({m.message_id for m in sent}) == len(sent), "what stands is not sent again"
    tables = [topic.table.name for topic in (POWER_ENRICHED, CHARGING_DETECTED, POWER_PATTERNS)]
    standing = [bench.rows(f"SELECT message_id FROM {t} WHERE superseded_at IS NULL ORDER BY 1") for t in tables]
    for stage in (POWER_ENRICHER, CHARGING_SESSIONS, CHARGING_PATTERNS):
        recompute(
            stage, NOW.date(), NOW.date(), bench.config, on_report=lambda _: None, stop=threading.Event(), anew=True
        )
    assert standing == [
        bench.rows(f"SELECT message_id FROM {t} WHERE superseded_at IS NULL ORDER BY 1") for t in tables
    ]
    assert len(bench.topic_values(landing_stage(POWER_RAW).error_topic)) == 1, "140 percent is a dead letter"
