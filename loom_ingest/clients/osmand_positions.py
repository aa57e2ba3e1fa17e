"""Positions of the OsmAnd protocol as drafts: flat ones, of queries and forms, and nested ones, of JSON.

Format: OsmAndProtocolDecoder.java of the Traccar server (https://github.com/traccar/traccar). A flat one has knots and
percent; a nested one metres per second, a battery from 0 to 1, and -1 for what is not known.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, MOTION_ACTIVITY_RAW
from loom_ingest.clients.loose import label, moment, number, present
from loom_ingest.clients.rest import Rest, spelled
from loom_ingest.clients.taking import Draft, unrecognized_pieces

CLIENT: Final = "osmand"
MPS_PER_KNOT: Final = 1852 / 3600
FASTEST_MPS: Final = 200.0
"""What device.sensor.gps.raw holds; a faster one stays in the report."""
_SECONDS_UNTIL: Final = 2**31 - 1
"""As the Traccar server has it: from here on a timestamp is in milliseconds."""
_LATEST_MS: Final = 253_402_300_799_000.0
_INTEGER: Final = re.compile(r"\d{1,18}")
_UNKNOWN: Final = "unknown"
_TRUE: Final = (True, "true", "1")
_FALSE: Final = (False, "false", "0")
_NAMES: Final = ("id", "deviceid", "device_id")
_COORDINATES: Final = frozenset({"lat", "lon", "location", "latitude", "longitude", "coords"})

Json = dict[str, Any]
Read = tuple[str | None, list[Draft]]
"""What a position says its device is, and its drafts."""


def named(parameters: Json) -> str | None:
    """The device that `parameters` name."""
    for name in _NAMES:
        value = parameters.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
            value = str(int(value))
        if found := label(value):
            return found
    return None


def flat(parameters: Json) -> Read:
    """The position in `parameters`, whose values are text, or numbers in JSON."""
    identity, rest = named(parameters), Rest(CLIENT, parameters, _NAMES)
    at = _time(rest.left.get("timestamp"))
    if at is None and rest.left.get("timestamp") not in (None, ""):
        return identity, unrecognized_pieces(CLIENT, "timestamp is not a time", parameters)
    rest.left.pop("timestamp", None)
    # Now, as the server has it: two positions without a time are two, however alike they are.
    at = at or datetime.now(UTC)
    pair = rest.left.get("location")
    if isinstance(pair, str) and pair.count(",") == 1 and not {"lat", "lon"} & set(rest.left):
        rest.left["lat"], rest.left["lon"] = rest.left.pop("location").split(",")
    speed = rest.number("speed", 0.0, FASTEST_MPS / MPS_PER_KNOT)
    heading = rest.number("bearing", 0.0, 360.0)
    position = _Position(rest, at, parameters)
    position.fix = {
        "latitude": rest.number("lat", -90.0, 90.0),
        "longitude": rest.number("lon", -180.0, 180.0),
        "altitude": rest.number("altitude", -1_000.0, 20_000.0),
        "accuracy": rest.number("accuracy", 0.0, 10_000.0),
        "speed": None if speed is None else round(speed * MPS_PER_KNOT, 4),
        "heading": rest.number("heading", 0.0, 360.0) if heading is None else heading,
    }
    position.valid = rest.left.get("valid") not in _FALSE
    position.battery = rest.number("batt", 0.0, 100.0)
    if rest.left.get("charge") in (*_TRUE, *_FALSE):
        position.charging = rest.left.pop("charge") in _TRUE
    position.activity = rest.label("activity")
    position.alarm = rest.label("alarm")
    return identity, list(position.drafts())


def nested(location: Json) -> Iterator[Draft]:
    """The position in a `location` that has its `coords`."""
    rest = Rest(CLIENT, location)
    at = _time(rest.left.get("timestamp"))
    if at is None:
        yield from unrecognized_pieces(CLIENT, "a location without a time that can be read", location)
        return
    del rest.left["timestamp"]
    coordinates = rest.left.get("coords")
    if isinstance(coordinates, dict):
        del rest.left["coords"]
        rest.left = {**coordinates, **rest.left}
    for name in ("speed", "heading", "accuracy", "speed_accuracy", "heading_accuracy", "altitude_accuracy"):
        if (value := number(rest.left.get(name))) is not None and value < 0:
            del rest.left[name]
    position = _Position(rest, at, location)
    position.fix = {
        "latitude": rest.number("latitude", -90.0, 90.0),
        "longitude": rest.number("longitude", -180.0, 180.0),
        "altitude": rest.number("altitude", -1_000.0, 20_000.0),
        "accuracy": rest.number("accuracy", 0.0, 10_000.0),
        "speed": rest.number("speed", 0.0, FASTEST_MPS),
        "heading": rest.number("heading", 0.0, 360.0),
    }
    battery = rest.left.get("battery")
    if isinstance(battery, dict) and (level := number(battery.get("level"), -1.0, 1.0)) is not None:
        position.battery = None if level < 0 else round(level * 100.0, 2)
        position.charging = battery.get("is_charging") in _TRUE
        if set(battery) <= {"level", "is_charging"}:
            del rest.left["battery"]
    activity = rest.left.get("activity")
    if isinstance(activity, dict) and (doing := label(activity.get("type"))) is not None:
        del rest.left["activity"]
        position.activity, position.confidence = doing, activity.get("confidence")
    position.alarm = rest.label("alarm")
    if rest.left.get("extras") == {}:
        del rest.left["extras"]
    yield from position.drafts()


class _Position:
    """One position that was read; `rest` is what is left of it, `source` what came."""

    def __init__(self, rest: Rest, at: datetime, source: Json) -> None:
        self.fix: Json = {}
        self.valid = True
        self.battery: float | None = None
        self.charging: bool | None = None
        self.activity: str | None = None
        self.confidence: Any = None
        self.alarm: str | None = None
        self._rest = rest
        self._at: Json = {"timestamp": at}
        self._source = source

    def drafts(self) -> Iterator[Draft]:
        """The fix; battery and activity; and what else was said, with an alarm as its event."""
        rest, at = self._rest, self._at
        place = {name: self.fix.get(name) for name in ("latitude", "longitude")}
        placed = None not in place.values()
        tried = not _COORDINATES.isdisjoint(rest.left) or (
            not placed and place != {"latitude": None, "longitude": None}
        )
        event = self.alarm
        if placed and self.valid:
            yield Draft(GPS_RAW, at | present(self.fix), self._source)
        elif placed:
            event = event or "invalid"
        elif tried:
            yield from unrecognized_pieces(CLIENT, "a position without coordinates on Earth", self._source)
        if self.battery is not None:
            power = {"battery_level": self.battery, "is_charging": bool(self.charging), "power_source": _UNKNOWN}
            yield Draft(POWER_RAW, at | power)
        if self.activity is not None and self.activity != _UNKNOWN:
            yield Draft(MOTION_ACTIVITY_RAW, at | present({"activities": [self.activity], "confidence": self._sure()}))
        report: Json = {
            "event": event,
            "vertical_accuracy": rest.number("altitude_accuracy", 0.0, 1e6),
            "speed_accuracy": rest.number("speed_accuracy", 0.0, 1e6),
            "heading_accuracy": rest.number("heading_accuracy", 0.0, 1e6),
        }
        if event is not None:
            report |= place
        details, large = rest.details()
        report = present(report | {"details": details})
        if not report and not placed and not tried and self.battery is None and self.activity is None:
            # A device that says nothing but that it is there.
            report = {"event": "heartbeat"}
        if report:
            yield Draft(LOCATION_REPORT_RAW, at | report, self._source)
        yield from large

    def _sure(self) -> str | None:
        return label(str(self.confidence)) if isinstance(self.confidence, int | float | str) else None


def _time(value: Any) -> datetime | None:
    """As the Traccar server reads it; None when it is none."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if _INTEGER.fullmatch(text) else spelled(text)
        if value is None:
            return moment(text)
    found = number(value, 1.0, _LATEST_MS)
    if found is None:
        return None
    return datetime.fromtimestamp(found if found < _SECONDS_UNTIL else found / 1000, UTC)
