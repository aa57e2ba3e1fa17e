"""Ten devices that send what the five flows read, each at the documented rate: ten times the rates in all.

The rates are those of the processing-flows document, a second and device: 50 accelerometer samples, 2 events of
applications, 0.1 fixes, 0.1 power readings, 0.01 of Wi-Fi and of Bluetooth each. The screen goes on or off twice a
minute beside them.
"""

import json
import math
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Producer

from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW, POWER_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW, WIFI_RAW
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_platform.demo.networks import CAR, HOME
from loom_platform.demo.phone import APPS

Payload = Callable[["Device", int], Mapping[str, Any]]

_TICK_S: Final = 0.02


@dataclass
class Device:
    """One device; every second of them drives about, the others lie at home."""

    name: str
    number: int
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.number)

    @property
    def drives(self) -> bool:
        """Whether it is on the way."""
        return self.number % 2 == 1


def _sample(device: Device, n: int) -> Mapping[str, Any]:
    shake = 0.8 if device.drives else 0.03
    wave, noise = math.sin(n / 7), device.rng.random() - 0.5
    return {"x": shake * noise, "y": 0.3 * shake * wave, "z": 9.81 + shake * noise}


def _fix(device: Device, n: int) -> Mapping[str, Any]:
    # 14 m/s to the north and back again, ten minutes each.
    way = 0.0012 * abs((n + 60) % 120 - 60) if device.drives else 0.0
    jitter = (device.rng.random() - 0.5) * 6e-5
    return {
        "latitude": round(45.2735 + device.number * 0.05 + way + jitter, 7),
        "longitude": round(13.7142 + jitter, 7),
        "accuracy": 6.0,
        "speed": 14.0 if device.drives else 0.0,
    }


def _power(device: Device, n: int) -> Mapping[str, Any]:
    charging = n // 60 % 2 == 0
    level = 50.0 + 30.0 * math.sin(n / 40)
    return {"battery_level": level, "is_charging": charging, "power_source": "USB" if charging else "Battery"}


def _app(device: Device, n: int) -> Mapping[str, Any]:
    identifier, name, *_ = APPS[n // 2 % len(APPS)]
    event = "background" if n % 2 else "foreground"
    return {"app_identifier": identifier, "app_name": name, "event_type": event}


def _screen(device: Device, n: int) -> Mapping[str, Any]:
    return {"event_type": "screen_off" if n % 2 else "screen_on", "event_category": "screen", "severity": "info"}


def _wifi(device: Device, n: int) -> Mapping[str, Any]:
    network = CAR if device.drives else HOME
    return {"connected": True, "ssid": network.ssid, "bssid": network.bssid, "signal_dbm": -50.0}


def _bluetooth(device: Device, n: int) -> Mapping[str, Any]:
    watch = {"address": f"02:4c:6f:6f:01:{device.number:02x}", "name": "Watch", "connected": True, "paired": True}
    return {"devices": [watch], "scan_duration_ms": 10_000}


SENSORS: Final[tuple[tuple[Topic, float, Payload], ...]] = (
    (ACCELEROMETER_RAW, 50.0, _sample),
    (APP_LIFECYCLE_RAW, 2.0, _app),
    (GPS_RAW, 0.1, _fix),
    (POWER_RAW, 0.1, _power),
    (WIFI_RAW, 0.01, _wifi),
    (BLUETOOTH_RAW, 0.01, _bluetooth),
    (SYSTEM_EVENTS_RAW, 1 / 30, _screen),
)
"""Topic, documented rate (a second and device), and the payload of the device's n-th record."""


def message(device: str, payload: Mapping[str, Any]) -> bytes:
    """A record of now, in the wire form that the ingest service writes."""
    head = {
        "schema_version": "1.0",
        "message_id": str(uuid.uuid4()),
        "device_id": device,
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "trace_id": uuid.uuid4().hex,
        "span_id": uuid.uuid4().hex[:16],
    }
    return json.dumps({**head, **payload}, separators=(",", ":")).encode()


def feed(bootstrap_servers: str, prefix: str, devices: list[str], seconds: float) -> int:
    """Send for so long, each record when its time has come; how many there were."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 2})
    every = [Device(name, number) for number, name in enumerate(devices)]
    sent = 0
    began = time.perf_counter()
    for topic, device, payload, n in _due(every, seconds, began):
        producer.produce(topic.on_broker(prefix), message(device.name, payload(device, n)), device.name)
        producer.poll(0)
        sent += 1
    if producer.flush(30):
        raise RuntimeError("not every record was acknowledged")
    return sent


def _due(devices: list[Device], seconds: float, began: float) -> Iterator[tuple[Topic, Device, Payload, int]]:
    """What is to be sent, when it is to be sent. The devices are not in step."""
    streams = [(sensor, device, device.rng.random() / sensor[1]) for sensor in SENSORS for device in devices]
    sent = [0] * len(streams)
    while (now := time.perf_counter() - began) < seconds:
        for i, ((topic, rate, payload), device, first) in enumerate(streams):
            while first + sent[i] / rate <= now:
                yield topic, device, payload, sent[i]
                sent[i] += 1
        time.sleep(_TICK_S)
