"""The networks around the phone: the Wi-Fi that it is connected to, and the Bluetooth devices nearby.

Addresses are of the range that no maker has (locally administered). Times are seconds from the beginning of the day.
"""

import random
from dataclasses import dataclass
from typing import Any, Final, Literal

from loom_platform.demo.day import Activity, Day, Stay

Category = Literal["home", "work", "public", "hotspot"]


@dataclass(frozen=True, slots=True)
class Network:
    """A Wi-Fi network, and what it is to the person."""

    ssid: str
    bssid: str
    category: Category
    frequency_mhz: float = 5_180.0


@dataclass(frozen=True, slots=True)
class Connection:
    """The phone is connected to `network` from `start` to `end`."""

    network: Network
    start: float
    end: float


HOME: Final = Network("Demo home", "02:4c:6f:6f:00:01", "home")
WORK: Final = Network("Demo office", "02:4c:6f:6f:00:02", "work")
HUT: Final = Network("Hut guests", "02:4c:6f:6f:00:03", "public", 2_437.0)
CAR: Final = Network("Demo car", "02:4c:6f:6f:00:04", "hotspot", 2_412.0)

_SETTLE_S: Final = 20.0
_LONG_DRIVE_S: Final = 600.0
_LONG_STOP_S: Final = 1_200.0

Device = tuple[str, str, str, bool]
"""Address, name, class, and whether it is paired."""
_WATCH: Final[Device] = ("02:4c:6f:6f:01:01", "Demo watch", "wearable", True)
_CAR: Final[Device] = ("02:4c:6f:6f:01:02", "Demo car", "car", True)
_HEADSET: Final[Device] = ("02:4c:6f:6f:01:03", "Demo headset", "headset", True)
_HOME: Final[tuple[Device, ...]] = (
    ("02:4c:6f:6f:01:04", "Living room TV", "tv", False),
    ("02:4c:6f:6f:01:05", "Kitchen speaker", "speaker", True),
)
_WORK: Final[tuple[Device, ...]] = (
    ("02:4c:6f:6f:01:06", "Desk keyboard", "keyboard", False),
    ("02:4c:6f:6f:01:07", "Ada's phone", "phone", False),
)


def plan_connections(day: Day, stays: tuple[Stay, ...]) -> tuple[Connection, ...]:
    """Where there is Wi-Fi: at home, at work, at a long stop on the way, and in the car on a longer drive."""
    found: list[Connection] = []
    for stay in stays:
        network = {"Demo home": HOME, "Demo office": WORK}.get(stay.place or "")
        if network is None and stay.place is None and stay.end - stay.start >= _LONG_STOP_S:
            network = HUT
        if network is not None:
            start = stay.start + (_SETTLE_S if stay.start else 0.0)
            found.append(Connection(network, start, stay.end))
    drives = (a for a in day.activities if a.kind == "drive" and a.end - a.start >= _LONG_DRIVE_S)
    found += [Connection(CAR, drive.start + _SETTLE_S, drive.end) for drive in drives]
    return tuple(sorted((c for c in found if c.end - c.start > _SETTLE_S), key=lambda c: c.start))


def wifi_state(connections: tuple[Connection, ...], at: float, rng: random.Random) -> dict[str, Any]:
    """What the phone says of its Wi-Fi then."""
    now = next((c for c in connections if c.start <= at < c.end), None)
    if now is None:
        return {"connected": False}
    return {
        "connected": True,
        "ssid": now.network.ssid,
        "bssid": now.network.bssid,
        "signal_dbm": round(rng.uniform(-68.0, -42.0), 1),
        "frequency_mhz": now.network.frequency_mhz,
        "link_speed_mbps": rng.choice((72.0, 144.0, 433.0, 866.0)),
        "security": "open" if now.network.category == "public" else "WPA3",
    }


def bluetooth_devices(activity: Activity, network: Network | None, rng: random.Random) -> list[dict[str, Any]]:
    """What a scan finds: what is the person's own, what belongs to the place, and strangers."""
    near: list[Device] = [_WATCH] if rng.random() < 0.98 else []
    if activity.kind == "drive":
        near.append(_CAR)
    if activity.kind == "walk":
        near.append(_HEADSET)
    near += [d for d in (_HOME if network is HOME else _WORK if network is WORK else ()) if rng.random() < 0.95]
    found = [
        {
            "address": address,
            "name": name,
            "signal_dbm": round(rng.uniform(-80.0, -40.0), 1),
            "connected": device_class in ("wearable", "car", "headset"),
            "paired": paired,
            "device_class": device_class,
        }
        for address, name, device_class, paired in near
    ]
    strangers = rng.choice((0, 1, 2, 4)) if activity.moving else rng.choice((0, 0, 0, 1))
    for _ in range(strangers):
        address = ":".join(f"{byte:02x}" for byte in (0x4A, *rng.randbytes(5)))
        found.append({"address": address, "signal_dbm": round(rng.uniform(-98.0, -75.0), 1), "connected": False})
    return found
