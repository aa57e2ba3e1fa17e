"""What the sensors of a phone and a watch read while a person does something."""

import math
import random
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from loom_platform.demo.day import Activity, ActivityKind, Day
from loom_platform.demo.tracks import Point, bearing_deg, distance_m, offset

ACCELEROMETER_HZ: Final = 50
GRAVITY_MPS2: Final = 9.80665
_LIMIT_MPS2: Final = 50.0

# Steps per second and how hard they are; strength of noise, all in metres per second squared but the first.
_MOTION: Final[dict[ActivityKind, tuple[float, float, float]]] = {
    "sleep": (0.0, 0.0, 0.01),
    "rest": (0.0, 0.0, 0.05),
    "walk": (1.9, 2.6, 0.35),
    "hike": (1.7, 3.2, 0.5),
    "drive": (0.0, 0.0, 0.6),
}
_PULSE_BPM: Final[dict[ActivityKind, int]] = {"sleep": 54, "rest": 68, "drive": 76, "walk": 98, "hike": 122}

# Percent of charge per hour.
_DRAIN: Final[dict[ActivityKind, float]] = {"sleep": 0.8, "rest": 3.0, "walk": 6.0, "hike": 6.0, "drive": 8.0}
_CHARGE: Final = 28.0
_FIRST_LEVEL: Final = 62.0


def acceleration(kind: ActivityKind, first: float, count: int, rng: random.Random) -> npt.NDArray[np.float64]:
    """`count` samples at 50 Hz from `first` (seconds), with gravity: shape (count, 3), metres per second squared."""
    generator = np.random.default_rng(rng.getrandbits(64))
    step_hz, step, noise = _MOTION[kind]
    tilt, turn = rng.uniform(0.1, 0.6), rng.uniform(0, 2 * math.pi)
    down = np.array([math.sin(tilt) * math.cos(turn), math.sin(tilt) * math.sin(turn), math.cos(tilt)])
    time = first + np.arange(count) / ACCELEROMETER_HZ
    vertical = step * (np.sin(2 * np.pi * step_hz * time) + 0.35 * np.sin(4 * np.pi * step_hz * time + 0.8))
    samples = np.outer(GRAVITY_MPS2 + vertical, down) + noise * generator.standard_normal((count, 3))
    return np.clip(samples, -_LIMIT_MPS2, _LIMIT_MPS2).round(4).astype(np.float64)


def pulse(activity: Activity, seconds: float, rng: random.Random) -> tuple[int, float]:
    """Beats per minute and the sensor's confidence; effort builds up over the first minutes."""
    effort = 1 - math.exp(-(seconds - activity.start) / 120)
    target = _PULSE_BPM[activity.kind]
    bpm = 68 + (target - 68) * effort + rng.gauss(0, 2.5)
    return int(min(max(round(bpm), 40), 200)), round(rng.uniform(0.82, 0.99), 3)


def battery_level(day: Day, seconds: float) -> float:
    """Percent of charge then, from the plan alone."""
    level = _FIRST_LEVEL
    edges = sorted(
        {0.0, seconds, *(e for s in day.charging for e in (s.start, s.end)), *(a.end for a in day.activities)}
    )
    for start, end in pairwise(edges):
        if start >= seconds:
            break
        hours = (min(end, seconds) - start) / 3_600
        rate = _CHARGE if day.charging_at(start) else -_DRAIN[day.activity_at(start).kind]
        level = min(max(level + rate * hours, 3.0), 100.0)
    return round(level, 2)


def fix(day: Day, seconds: float, rng: random.Random) -> dict[str, float | None]:
    """What GPS says then: the position with an error, and course and speed while moving."""
    activity = day.activity_at(seconds)
    accuracy = round(rng.uniform(3.0, 9.0) if activity.moving else rng.uniform(6.0, 18.0), 1)
    here = day.position_at(seconds)
    seen = offset(here, rng.gauss(0, accuracy / 4), rng.gauss(0, accuracy / 4))
    heading, speed = _motion(activity, here, seconds)
    return {
        "latitude": round(seen.latitude, 7),
        "longitude": round(seen.longitude, 7),
        "altitude": None if here.altitude is None else round(here.altitude + rng.gauss(0, 2), 1),
        "accuracy": accuracy,
        "heading": heading,
        "speed": speed,
    }


def _motion(activity: Activity, here: Point, seconds: float) -> tuple[float | None, float]:
    if not activity.moving:
        return None, 0.0
    before = activity.track.at(seconds - activity.start - 5.0)
    metres = distance_m(before, here)
    if metres < 0.5:
        return None, 0.0
    return round(bearing_deg(before, here), 1), round(min(metres / 5.0, 199.0), 2)


def ambient(sensor_type: str, day: Day, seconds: float, rng: random.Random) -> tuple[dict[str, float | bool], str]:
    """Value and unit of a generic sensor then."""
    activity = day.activity_at(seconds)
    outside = activity.kind in ("walk", "hike")
    swing = math.sin(2 * math.pi * seconds / 86_400)
    height = day.position_at(seconds).altitude or 0.0
    pressure = round(1_013.25 * math.exp(-height / 8_434.0) + rng.gauss(0, 0.05), 2)
    if sensor_type == "temperature":
        return {"temperature": round((14.0 if outside else 21.5) + 2 * swing + rng.gauss(0, 0.1), 2)}, "celsius"
    if sensor_type == "humidity":
        return {"humidity": round((62.0 if outside else 44.0) - 4 * swing + rng.gauss(0, 0.4), 1)}, "percent"
    if sensor_type in ("pressure", "barometer"):
        return {"pressure": pressure}, "hPa"
    if sensor_type == "light":
        level = 0.3 if activity.kind == "sleep" else 9_000.0 if outside else 240.0
        return {"illuminance": round(level * rng.uniform(0.8, 1.2), 1)}, "lux"
    if sensor_type == "proximity":
        near = rng.random() < (0.5 if activity.moving else 0.1)
        return {"distance": 0.0 if near else 5.0, "near": near}, "cm"
    strength = 0.8 if outside else 0.15 if activity.moving else 0.01
    if sensor_type == "gyroscope":
        return {axis: round(rng.gauss(0, strength), 4) for axis in "xyz"}, "rad/s"
    if sensor_type == "magnetometer":
        return {"x": round(22 + rng.gauss(0, 1), 2), "y": round(-5 + rng.gauss(0, 1), 2), "z": -43.0}, "uT"
    raise ValueError(f"no signal for sensor type {sensor_type!r}")
