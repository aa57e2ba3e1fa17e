"""From samples to what the person does, through the real engine: live, with a fix that comes late, and again."""

import math
import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from loom_contracts.payloads.sensor import AccelerometerSample, GpsFix
from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW
from loom_models.landing import landing_stage
from loom_models.stage import Stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_models.stages.activity_classifier import ACTIVITY_CLASSIFIER
from loom_models.stages.motion_detector import MOTION_DETECTOR
from loom_platform.stream.api import recompute
from tests.stream.bench import NOW, Bench, eventually

pytestmark = pytest.mark.integration

LANDING, GPS_LANDING = landing_stage(ACCELEROMETER_RAW), landing_stage(GPS_RAW)
ALL = (LANDING, GPS_LANDING, ACCELEROMETER_WINDOW, MOTION_DETECTOR, ACTIVITY_CLASSIFIER)
DEVICE = "phone-001"
HERTZ = 8
WALK = (30.0, 70.0)
RIDE = 110.0


def envelope(seconds: float) -> dict[str, Any]:
    return {
        "message_id": uuid4(),
        "device_id": DEVICE,
        "timestamp": NOW + timedelta(seconds=seconds),
        "schema_version": "1.0",
    }


def sample(seconds: float) -> AccelerometerSample:
    """Lying, with steps in the walk; the ride is as smooth as a table."""
    steps = 3.0 * math.sin(2 * math.pi * 1.8 * seconds) if WALK[0] <= seconds < WALK[1] else 0.0
    return AccelerometerSample(**envelope(seconds), x=0.0, y=0.01 * math.sin(seconds * 40), z=9.8 + steps)


def fix(seconds: float, speed: float) -> GpsFix:
    return GpsFix(**envelope(seconds), latitude=52.5, longitude=13.4, accuracy=5.0, speed=speed)


def activities(bench: Bench) -> dict[float, str]:
    """Seconds of the beginning of each window, and what the person does."""
    rows = bench.rows("SELECT timestamp, activity FROM motion_classification_activity WHERE superseded_at IS NULL")
    return {since(timestamp): activity for timestamp, activity in rows}


def events(bench: Bench) -> list[tuple[float, str]]:
    query = "SELECT timestamp, event FROM motion_events_significant WHERE superseded_at IS NULL ORDER BY timestamp"
    return [(since(timestamp), event) for timestamp, event in bench.rows(query)]


def since(timestamp: datetime) -> float:
    return (timestamp - NOW).total_seconds()


def again(bench: Bench, stage: Stage) -> None:
    day = NOW.date()
    recompute(stage, day, day, bench.config, on_report=lambda _: None, stop=threading.Event(), anew=True)


def test_a_walk_and_a_ride_whose_positions_come_late(bench: Bench) -> None:
    bench.prepare(*ALL)
    bench.send(ACCELEROMETER_RAW, *(sample(n / HERTZ) for n in range(150 * HERTZ)))
    with bench.start(*ALL) as running:
        eventually(lambda: len(activities(bench)) == 30)
        wanted = {5.0 * n: "walking" if WALK[0] <= 5 * n < WALK[1] else "still" for n in range(30)}
        assert activities(bench) == wanted
        assert events(bench) == [(WALK[0], "start"), (WALK[1], "stop")]
        bench.send(GPS_RAW, *(fix(seconds, 30.0) for seconds in (RIDE, 120.0, 130.0, 140.0)))
        eventually(lambda: activities(bench)[145.0] == "in_vehicle")
        running.stop.set()
        running.end()
    live = activities(bench)
    assert {a for at, a in live.items() if at >= RIDE} == {"in_vehicle"}
    assert {at: a for at, a in live.items() if at < 80.0} == {at: a for at, a in wanted.items() if at < 80.0}

    query = "SELECT message_id FROM motion_classification_activity WHERE superseded_at IS NULL ORDER BY 1"
    rows = bench.rows(query)
    again(bench, ACTIVITY_CLASSIFIER)
    again(bench, MOTION_DETECTOR)
    assert bench.rows(query) == rows
    assert events(bench) == [(WALK[0], "start"), (WALK[1], "stop")]
