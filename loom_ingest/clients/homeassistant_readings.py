"""Locations and states of sensors of Home Assistant's companion app, as messages.

https://developers.home-assistant.io/docs/api/native-app-integration/sending-data and `sensors`; the ids of sensors are
those of the iOS and the Android app. The app sends no time: it is the server's, unless `timestamp` is there.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import to_json

from loom_contracts.topics.device import GPS_RAW, HEARTRATE_RAW, POWER_RAW, STEPS_RAW
from loom_contracts.topics.device_system import WIFI_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, MOTION_ACTIVITY_RAW, SENSOR_STATE_RAW
from loom_ingest.clients.loose import count, label, moment, number, present, storable
from loom_ingest.clients.taking import Draft

_GPS: Final = (
    ("gps_accuracy", "accuracy", 0.0, 10_000.0),
    ("altitude", "altitude", -1_000.0, 20_000.0),
    ("course", "heading", 0.0, 360.0),
    ("speed", "speed", 0.0, 200.0),
)
_NEVER_BELOW_ZERO: Final = ("gps_accuracy", "course", "speed", "vertical_accuracy")


def location_drafts(data: dict[str, Any], states: Mapping[str, Any]) -> Iterator[Draft]:
    """What `update_location` brings: a fix, the battery, and whatever else is said of the position."""
    left = {name: value for name, value in data.items() if value is not None}
    at = {"timestamp": _time(left)}
    gps = left.get("gps")
    fix: dict[str, Any] = {}
    if isinstance(gps, list) and len(gps) == 2:
        latitude, longitude = number(gps[0], -90.0, 90.0), number(gps[1], -180.0, 180.0)
        if latitude is not None and longitude is not None:
            left.pop("gps")
            fix = {"latitude": latitude, "longitude": longitude}
            for theirs, ours, least, most in _GPS:
                value = number(left.get(theirs), least, most)
                if value is not None:
                    fix[ours] = value
                    left.pop(theirs)
            yield Draft(GPS_RAW, at | fix, data)
    for name in _NEVER_BELOW_ZERO:
        value = number(left.get(name))
        if value is not None and value < 0:
            left.pop(name)
    battery = number(left.get("battery"), 0.0, 100.0)
    if battery is not None:
        left.pop("battery")
        yield Draft(POWER_RAW, at | _power(battery, states), data)
    report: dict[str, Any] = {"vertical_accuracy": number(left.get("vertical_accuracy"), 0.0)}
    if report["vertical_accuracy"] is not None:
        left.pop("vertical_accuracy")
    report["place"] = label(left.get("location_name"))
    if report["place"] is not None:
        left.pop("location_name")
    if not fix:
        report["event"] = "location"
    report = present(report | {"details": storable(left)})
    if report.keys() - {"event"}:
        yield Draft(LOCATION_REPORT_RAW, at | report, data)


def state_drafts(sensor_id: str, sensor: Mapping[str, Any], update: dict[str, Any]) -> Iterator[Draft]:
    """The state of one sensor; `sensor` is what is registered of it."""
    state, attributes = update.get("state"), update.get("attributes")
    left = {n: v for n, v in update.items() if n not in _KNOWN and v is not None}
    if attributes is not None and not isinstance(attributes, dict):
        left["attributes"] = attributes
    fields = {
        "timestamp": _time(left),
        "sensor_id": sensor_id,
        "name": label(sensor.get("name")),
        "kind": label(sensor.get("type")),
        "state": _text(state),
        "value": number(state),
        "unit": label(sensor.get("unit_of_measurement")),
        "device_class": label(sensor.get("device_class")),
        "attributes": storable((attributes if isinstance(attributes, dict) else {}) | left),
    }
    yield Draft(SENSOR_STATE_RAW, present(fields), update)


_KNOWN: Final = frozenset(
    {"attributes", "device_class", "disabled", "entity_category", "icon", "name", "state", "state_class", "type"}
    | {"unique_id", "unit_of_measurement"}
)


def event_draft(kind: str, state: Any, attributes: Any) -> Draft:
    """Something that happened in the app: an event that it fires, a tag that it scanned."""
    fields = {"timestamp": datetime.now(UTC), "sensor_id": kind, "kind": "event", "state": _text(state)}
    details = attributes if isinstance(attributes, dict) else {"data": attributes} if attributes is not None else None
    return Draft(SENSOR_STATE_RAW, present(fields | {"attributes": storable(details)}), attributes)


_CHARGING: Final = frozenset({"charging", "full"})
_BATTERY: Final = frozenset({"battery_level", "battery_state", "is_charging"})
_WIFI: Final = {
    # ids of iOS, then of Android
    "connectivity_ssid": "ssid",
    "connectivity_bssid": "bssid",
    "wifi_connection": "ssid",
    "wifi_bssid": "bssid",
    "wifi_ip_address": "ip_address",
}
_WIFI_NUMBERS: Final = {
    "wifi_signal_strength": ("signal_dbm", -150.0, 50.0),
    "wifi_frequency": ("frequency_mhz", 0.0, 100_000.0),
    "wifi_link_speed": ("link_speed_mbps", 0.0, 1e9),
}
_NO_WIFI: Final = frozenset(
    {"", "<not connected>", "not connected", "<unknown ssid>", "unknown", "unavailable", "none"}
)
_STEPS: Final = frozenset({"pedometer_steps", "steps_sensor", "health_steps", "health_connect_steps"})
_PULSE: Final = frozenset({"health_heart_rate", "health_connect_heart_rate"})
_ACTIVITY: Final = frozenset({"activity", "detected_activity"})


def known_drafts(updates: Mapping[str, dict[str, Any]], states: Mapping[str, Any]) -> Iterator[Draft]:
    """What the known sensors among `updates` say, on the topics that other devices fill too.

    `states` are the newest of all sensors of the phone, these included: the app sends only what changed.
    """
    at = {"timestamp": datetime.now(UTC)}
    level = number(states.get("battery_level"), 0.0, 100.0)
    if _BATTERY & updates.keys() and level is not None:
        yield Draft(POWER_RAW, at | _power(level, states))
    if (_WIFI.keys() | _WIFI_NUMBERS.keys()) & updates.keys():
        yield from _wifi(at, states)
    for sensor_id, update in updates.items():
        state = update.get("state")
        steps = count(state)
        if sensor_id in _STEPS and steps is not None:
            yield Draft(STEPS_RAW, at | {"steps": steps}, update)
        pulse = number(state, 29.5, 250.0)
        if sensor_id in _PULSE and pulse is not None:
            yield Draft(HEARTRATE_RAW, at | {"bpm": round(pulse)}, update)
        if sensor_id in _ACTIVITY and (word := label(state)) is not None:
            yield _activity(at, word, update)


def _power(level: float, states: Mapping[str, Any]) -> dict[str, Any]:
    """The battery's state: Charging, Not Charging and Full of iOS; charging, discharging, .. of Android."""
    state, plugged = label(states.get("battery_state")), states.get("is_charging")
    charging = state.strip().lower() in _CHARGING if state is not None else plugged in (True, "on")
    source = label(states.get("charger_type")) or state or "unknown"
    return {"battery_level": level, "is_charging": charging, "power_source": source}


def _wifi(at: dict[str, Any], states: Mapping[str, Any]) -> Iterator[Draft]:
    fields: dict[str, Any] = {}
    for theirs, ours in _WIFI.items():
        value = label(states.get(theirs))
        if value is not None and value.strip().lower() not in _NO_WIFI:
            fields[ours] = value
    for theirs, (ours, least, most) in _WIFI_NUMBERS.items():
        measured = number(states.get(theirs), least, most)
        if measured is not None:
            fields[ours] = measured
    connected = "ssid" in fields
    yield Draft(WIFI_RAW, at | {"connected": connected} | (fields if connected else {}))


def _activity(at: dict[str, Any], word: str, update: dict[str, Any]) -> Draft:
    """The activity: Walking, Automotive, .. of iOS; on_foot, in_vehicle, .. of Android."""
    attributes = update.get("attributes")
    details = attributes if isinstance(attributes, dict) else {}
    confidence = details.get("Confidence", details.get("confidence"))
    fields = {
        "activities": [] if word.lower() == "unknown" else [word.lower()],
        "confidence": label(confidence if isinstance(confidence, str) else None),
        "details": storable(details),
    }
    return Draft(MOTION_ACTIVITY_RAW, at | present(fields), update)


def _time(left: dict[str, Any]) -> datetime:
    """The time that is told, taken out of `left`, or now."""
    told = moment(left.get("timestamp"))
    if told is None:
        return datetime.now(UTC)
    left.pop("timestamp")
    return told


def _text(state: Any) -> str | None:
    if isinstance(state, bool):
        return "on" if state else "off"
    if state is None or isinstance(state, str):
        return None if state is None else state.replace("\x00", "\ufffd")
    return to_json(state, inf_nan_mode="strings").decode()
