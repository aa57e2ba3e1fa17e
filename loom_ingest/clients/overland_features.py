"""What one feature of Overland's batches tells, as drafts: GPSLogger/GLManager.m has their properties."""

from collections.abc import Iterator
from typing import Any, Final

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.device_system import WIFI_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, MOTION_ACTIVITY_RAW, TRIP_RAW, VISIT_RAW
from loom_ingest.clients.loose import count, label, moment, number, present, storable
from loom_ingest.clients.taking import Draft, unrecognized_pieces

CLIENT: Final = "overland"

_FIRST_YEAR, _LAST_YEAR = 1900, 3000
"""Apple's distantPast is in the year 1, its distantFuture in 4001: they stand for a time that is not known."""
_PERCENT: Final = 100.0

_REPEATED: Final = frozenset({POWER_RAW.name, WIFI_RAW.name, MOTION_ACTIVITY_RAW.name})


def is_news(device_id: str, draft: Draft, last: dict[tuple[str, str], Any]) -> bool:
    """Whether `draft` says more than the one before it: states are repeated at every position, every second.

    One that did not change is told once a minute.
    """
    if draft.topic.name not in _REPEATED:
        return True
    same = {**draft.fields, "timestamp": draft.fields["timestamp"].replace(second=0, microsecond=0)}
    key = device_id, draft.topic.name
    if last.get(key) == same:
        return False
    last[key] = same
    return True


def properties_of(feature: Any) -> dict[str, Any]:
    """The properties of a feature; none of anything else."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return properties if isinstance(properties, dict) else {}


def _position(feature: Any) -> tuple[Any, Any]:
    """Latitude and longitude of a feature; None for both when it has none."""
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        return None, None
    latitude, longitude = number(coordinates[1], -90.0, 90.0), number(coordinates[0], -180.0, 180.0)
    return (None, None) if latitude is None or longitude is None else (latitude, longitude)


def feature_drafts(feature: Any) -> Iterator[Draft]:
    """What one feature tells: a position, a visit, a finished trip, or an event; and the state of the phone."""
    properties = properties_of(feature)
    timestamp = moment(properties.get("timestamp"))
    latitude, longitude = _position(feature)
    kind = properties.get("action") or properties.get("type")
    if timestamp is None:
        yield from unrecognized_pieces(CLIENT, "a position without a time that can be read", feature)
        return
    at = {"timestamp": timestamp}
    if kind == "trip":
        yield _trip(properties, "finished", timestamp, (latitude, longitude))
    elif latitude is None:
        yield from unrecognized_pieces(CLIENT, "a position without coordinates on Earth", feature)
    elif kind == "visit":
        yield Draft(VISIT_RAW, at | _visit(properties, latitude, longitude), feature)
    else:
        if kind is None:
            fix, rest = _fix(properties, feature)
            yield Draft(GPS_RAW, {**at, "latitude": latitude, "longitude": longitude, **fix}, feature)
        else:
            fix, rest = {}, dict(properties)
        if kind is not None:
            rest = {name: value for name, value in rest.items() if value != kind or label(kind) is None}
        report = _report(rest)
        if kind is not None:
            report |= {"event": label(kind) or "unknown", "latitude": latitude, "longitude": longitude}
        if report:
            yield Draft(LOCATION_REPORT_RAW, at | report, feature)
    yield from _state(properties, at, feature)


_OF_A_FIX: Final = (
    # name here, in the contract, and the contract's range; below zero is invalid by the format.
    ("speed", "speed", 200.0),
    ("course", "heading", 360.0),
    ("horizontal_accuracy", "accuracy", 10_000.0),
)
_OF_A_REPORT: Final = (
    ("vertical_accuracy", "vertical_accuracy"),
    ("speed_accuracy", "speed_accuracy"),
    ("course_accuracy", "heading_accuracy"),
)


def _fix(properties: dict[str, Any], feature: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the fix, and what of the properties is not in it. Numbers that the format calls invalid are neither."""
    rest = dict(properties)
    fields: dict[str, Any] = {}
    for theirs, ours, most in _OF_A_FIX:
        value = number(rest.get(theirs))
        if value is not None and value < 0:
            rest.pop(theirs)
        elif value is not None and value <= most:
            fields[ours] = value
            rest.pop(theirs)
    # An altitude whose accuracy is below zero is not valid; zero altitude is what is then sent.
    accuracy = number(rest.get("vertical_accuracy"))
    altitude = number(rest.get("altitude"), -1_000.0, 20_000.0)
    if accuracy is not None and accuracy < 0:
        rest.pop("altitude", None)
    elif altitude is not None:
        fields["altitude"] = altitude
        rest.pop("altitude")
    extra = {name: value for name, value in feature.items() if name not in ("type", "geometry", "properties")}
    if extra:
        rest["feature"] = extra
    coordinates = feature["geometry"]["coordinates"]
    if len(coordinates) > 2:
        rest["coordinates"] = coordinates
    return fields, rest


def _report(rest: dict[str, Any]) -> dict[str, Any]:
    """Fields of the report: `rest` without what other topics have."""
    details = _without_state(rest)
    fields: dict[str, Any] = {}
    for theirs, ours in _OF_A_REPORT:
        value = number(details.get(theirs))
        if value is not None:
            details.pop(theirs)
            if value >= 0:
                fields[ours] = value
    return present(fields | {"details": storable(details)})


def _state(properties: dict[str, Any], at: dict[str, Any], source: Any) -> Iterator[Draft]:
    """Battery, Wi-Fi and motion, where they were told."""
    level = number(properties.get("battery_level"), 0.0, 1.0)
    state = label(properties.get("battery_state"))
    if level is not None:
        power = {
            "battery_level": round(level * _PERCENT, 2),
            "is_charging": state in ("charging", "full"),
            "power_source": state or "unknown",
        }
        yield Draft(POWER_RAW, at | power, source)
    wifi = properties.get("wifi")
    if isinstance(wifi, str):
        # The app sends an empty name when there is no Wi-Fi.
        yield Draft(WIFI_RAW, at | ({"connected": True, "ssid": wifi} if wifi else {"connected": False}), source)
    motion = properties.get("motion")
    if isinstance(motion, list) and motion:
        yield Draft(MOTION_ACTIVITY_RAW, at | {"activities": motion}, source)


def _without_state(properties: dict[str, Any]) -> dict[str, Any]:
    """`properties` without what the envelope and the topics of `_state` have, as far as it could be read."""
    level = number(properties.get("battery_level"))
    left = {name: value for name, value in properties.items() if value is not None and name != "timestamp"}
    if level is not None and level <= 1.0:
        left.pop("battery_level")
        if label(left.get("battery_state")) and (level >= 0 or left["battery_state"] == "unknown"):
            left.pop("battery_state")
    if isinstance(left.get("wifi"), str):
        left.pop("wifi")
    if isinstance(left.get("motion"), list):
        left.pop("motion")
    if label(left.get("device_id")) or left.get("device_id") == "":
        left.pop("device_id")
    return left


def _visit(properties: dict[str, Any], latitude: float, longitude: float) -> dict[str, Any]:
    details = _without_state(properties)
    accuracy = number(details.get("horizontal_accuracy"), 0.0)
    read = {"action", "type"}
    if accuracy is not None:
        read.add("horizontal_accuracy")
    read |= {name for name in ("arrival_date", "departure_date") if moment(details.get(name)) is not None}
    fields = {
        "latitude": latitude,
        "longitude": longitude,
        "accuracy": accuracy,
        "arrived_at": _known(details.get("arrival_date")),
        "departed_at": _known(details.get("departure_date")),
        "details": storable({name: value for name, value in details.items() if name not in read}),
    }
    return present(fields)


def _known(value: Any) -> Any:
    """The time, unless it is Apple's word for one that is not known."""
    found = moment(value)
    return found if found is not None and _FIRST_YEAR < found.year < _LAST_YEAR else None


def active_trip(trip: dict[str, Any]) -> Draft:
    """A trip that goes on: its time is that of its last position, or of its start where it has none."""
    current = moment(properties_of(trip.get("current_location")).get("timestamp"))
    return _trip(trip, "active", current or moment(trip.get("start")), (None, None))


def _trip(trip: dict[str, Any], state: str, timestamp: Any, last: tuple[Any, Any]) -> Draft:
    start = _position(trip.get("start_location"))
    end = _position(trip.get("end_location") or trip.get("current_location"))
    if end[0] is None:
        end = last
    stopped = trip.get("stopped_automatically")
    fields = {
        "timestamp": timestamp,
        "state": state,
        "mode": label(trip.get("mode")),
        "started_at": _known(trip.get("start")),
        "ended_at": _known(trip.get("end")) if state == "finished" else None,
        "duration_seconds": number(trip.get("duration"), 0.0),
        "distance_m": number(trip.get("distance"), 0.0),
        "steps": count(trip.get("steps")),
        "stopped_automatically": stopped if isinstance(stopped, bool) else None,
        "start_latitude": start[0],
        "start_longitude": start[1],
        "end_latitude": end[0],
        "end_longitude": end[1],
        "details": storable(trip),
    }
    return Draft(TRIP_RAW, present(fields), trip)
