"""The events of the phone's own life: applications, screen, networks, each in order of time."""

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from loom_contracts.topic import Topic
from loom_contracts.topics.device_system import APPS_ANDROID_USAGE_RAW, BLUETOOTH_RAW, WIFI_RAW
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_platform.demo.day import Day
from loom_platform.demo.networks import Connection, bluetooth_devices, wifi_state
from loom_platform.demo.phone import Told, Use, app_events, charger_events, screen_events, usage

USAGE_S: Final = 3_600.0
"""How often the phone tells of its UsageStats."""
WIFI_S: Final = 300.0
BLUETOOTH_S: Final = 300.0

Sensed = tuple[Topic, str, float, Mapping[str, Any]]
"""Topic, path, when, and the payload."""


class Moment(float):
    """A time in a payload, seconds from the beginning of the day."""


def applications(day: Day, uses: tuple[Use, ...]) -> Iterator[Sensed]:
    """Applications that come and go."""
    return _as(APP_LIFECYCLE_RAW, "/os-events/app-lifecycle", day, app_events(uses))


def system(day: Day, uses: tuple[Use, ...]) -> Iterator[Sensed]:
    """Screen, lock and charger."""
    told = sorted((*screen_events(uses), *charger_events(day)), key=lambda t: t[0])
    return _as(SYSTEM_EVENTS_RAW, "/os-events/system", day, told)


def usage_stats(day: Day, uses: tuple[Use, ...]) -> Iterator[Sensed]:
    """Every full hour of the day what the phone counted in it."""
    for number in range(1, int(day.seconds / USAGE_S) + 1):
        start, end = (number - 1) * USAGE_S, number * USAGE_S
        found = usage(uses, start, end)
        if found and end < day.seconds:
            period = {"aggregation_period_start": Moment(start), "aggregation_period_end": Moment(end)}
            yield APPS_ANDROID_USAGE_RAW, "/system/apps/android/usage", end, period | {"usage_stats": _stats(found)}


def _stats(found: list[tuple[str, str, float, int, float, float]]) -> list[dict[str, Any]]:
    return [
        {
            "package_name": app,
            "app_name": name,
            "total_time_foreground_ms": round(1_000 * seconds),
            "launch_count": times,
            "first_used_at": Moment(first),
            "last_used_at": Moment(last),
        }
        for app, name, seconds, times, first, last in found
    ]


def wifi(day: Day, connections: tuple[Connection, ...], rng: random.Random) -> Iterator[Sensed]:
    """At every change, and every five minutes."""
    changes = {edge for c in connections for edge in (c.start, c.end) if 0 < edge < day.seconds}
    for at in sorted({*changes, *_regular(day, WIFI_S, rng)}):
        yield WIFI_RAW, "/sensor/wifi", at, wifi_state(connections, at, rng)


def bluetooth(day: Day, connections: tuple[Connection, ...], rng: random.Random) -> Iterator[Sensed]:
    """A scan every five minutes."""
    for at in _regular(day, BLUETOOTH_S, rng):
        network = next((c.network for c in connections if c.start <= at < c.end), None)
        devices = bluetooth_devices(day.activity_at(at), network, rng)
        yield BLUETOOTH_RAW, "/sensor/bluetooth", at, {"devices": devices, "scan_duration_ms": 10_000}


def moment(began: datetime, seconds: float) -> str:
    """ISO 8601 in UTC."""
    return (began + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def on(began: datetime, value: Any) -> Any:
    """`value`, a part of a payload, on a day that began then."""
    if isinstance(value, Moment):
        return moment(began, value)
    if isinstance(value, list):
        return [{k: on(began, v) for k, v in item.items()} for item in value]
    return value


def _as(topic: Topic, path: str, day: Day, told: Iterable[Told]) -> Iterator[Sensed]:
    return ((topic, path, at, payload) for at, payload in told if 0 <= at < day.seconds)


def _regular(day: Day, pause: float, rng: random.Random) -> Iterator[float]:
    at = rng.uniform(0.0, min(pause, 30.0))
    while at < day.seconds:
        yield at
        at += pause
