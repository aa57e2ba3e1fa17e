"""Messages of OwnTracks, each as the drafts of Loom's own messages.

Format: https://owntracks.org/booklet/tech/json/, and where the apps differ from it their sources: the iOS app writes
`ssid` and `bssid` in lower case (OwnTracking.m), and a beacon into the name of its region.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic_core import to_json

from loom_contracts.topics.device import BAROMETER_RAW, GPS_RAW, POWER_RAW, STEPS_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW, CAMERA_RAW, METADATA_RAW, WIFI_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, MOTION_ACTIVITY_RAW
from loom_contracts.topics.region import REGION_TRANSITION_RAW, REGION_WAYPOINT_RAW
from loom_ingest.clients.loose import label, present, storable
from loom_ingest.clients.rest import LONGEST_DETAILS, Rest
from loom_ingest.clients.taking import Draft, unrecognized_pieces

CLIENT: Final = "owntracks"
KMH: Final = 3.6
HPA_PER_KPA: Final = 10.0
_STEPS_AT_MOST: Final = 7 * 86_400
_BATTERY: Final = ("unknown", "unplugged", "charging", "full")
_NO_NETWORK: Final = ("<unknown ssid>", "02:00:00:00:00:00")
"""What Android says when it may not tell."""
_TRANSPORT: Final = ("_type", "topic", "modeId", "qos", "retained")
_BEACON: Final = re.compile(
    r"(.*?):([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(?::(\d{1,5}))?(?::(\d{1,5}))?"
)
_SECRET: Final = frozenset(
    {"password", "passphrase", "encryptionkey", "tlsclientcrtpassword", "opencageapikey", "httpheaders"}
)

Json = dict[str, Any]


def drafts_of(message: Any, latest: datetime) -> list[Draft]:
    """What `message` says; a message that is later than `latest`, or of an unknown type, as it came."""
    if not isinstance(message, dict):
        return unrecognized_pieces(CLIENT, "a message is an object", message)
    kind = message.get("_type")
    read = _KINDS.get(kind) if isinstance(kind, str) else None
    if read is None:
        shown = kind[:64] if isinstance(kind, str) else type(kind).__name__
        return unrecognized_pieces(CLIENT, f"there is no _type {shown!r}", message)
    rest = Rest(CLIENT, message, _TRANSPORT)
    at = rest.time("tst")
    if at is None and message.get("tst") is not None:
        return unrecognized_pieces(CLIENT, "tst is not a time", message)
    if at is not None and at > latest:
        return unrecognized_pieces(CLIENT, "tst is in the future; correct the device's clock", message)
    # A message without a time is of now: two of them are two, however alike they are.
    return read(rest, at or datetime.now(UTC), message)


def _location(rest: Rest, at: datetime, message: Json) -> list[Draft]:
    fix: Json = {
        "latitude": rest.number("lat", -90.0, 90.0),
        "longitude": rest.number("lon", -180.0, 180.0),
        "altitude": rest.number("alt", -1_000.0, 20_000.0),
        "accuracy": rest.number("acc", 0.0, 10_000.0),
        "heading": rest.number("cog", 0.0, 360.0),
    }
    speed = rest.number("vel", 0.0, 200.0 * KMH)
    if speed is not None:
        fix["speed"] = round(speed / KMH, 4)
    time: Json = {"timestamp": at}
    # The phone may tell an old position; the rest is as of the moment at which it does.
    told: Json = {"timestamp": Rest(CLIENT, message).time("created_at") or at}
    # A position without coordinates is none of the contract's: it is then kept whole, once.
    without = fix["latitude"] is None or fix["longitude"] is None
    drafts = [Draft(GPS_RAW, time | present(fix), _without_image(message))]
    drafts += _state(rest, told)
    drafts += _image(rest, told | present({"latitude": fix["latitude"], "longitude": fix["longitude"]}))
    report = {"vertical_accuracy": rest.number("vac", 0.0, 1e6), "place": label(rest.left.get("poi"))}
    if without:
        return drafts
    details, large = rest.details()
    report = present(report | {"details": details})
    if report:
        drafts.append(Draft(LOCATION_REPORT_RAW, time | report))
    return drafts + large


def _state(rest: Rest, at: Json) -> list[Draft]:
    """Battery, network, air and motion, where they were told."""
    drafts = []
    battery = rest.number("batt", 0.0, 100.0)
    if battery is not None:
        state = rest.left.get("bs")
        known = isinstance(state, int) and not isinstance(state, bool) and 0 <= state < len(_BATTERY)
        word = _BATTERY[rest.left.pop("bs")] if known else "unknown"
        power = {"battery_level": battery, "is_charging": word in ("charging", "full"), "power_source": word}
        drafts.append(Draft(POWER_RAW, at | power))
    names = {}
    for ours, theirs in (("ssid", ("SSID", "ssid")), ("bssid", ("BSSID", "bssid"))):
        for name in theirs:
            if ours not in names and rest.left.get(name) not in _NO_NETWORK and (value := rest.label(name)):
                names[ours] = value
    connection = rest.left.get("conn")
    if names or connection in ("w", "m", "o"):
        connected = connection == "w" if connection in ("w", "m", "o") else True
        drafts.append(Draft(WIFI_RAW, at | {"connected": connected, **names}))
    pressure = rest.number("p", 0.0, 1_000.0)
    if pressure is not None:
        air = {"pressure": round(pressure * HPA_PER_KPA, 4)}
        drafts.append(Draft(BAROMETER_RAW, at | {"sensor_type": "barometer", "value": air, "unit": "hPa"}))
    motion = rest.left.get("motionactivities")
    if isinstance(motion, list) and motion and len(motion) <= 32 and all(label(word) for word in motion):
        del rest.left["motionactivities"]
        drafts.append(Draft(MOTION_ACTIVITY_RAW, at | {"activities": motion}))
    return drafts


def _image(rest: Rest, fields: Json) -> list[Draft]:
    """The picture of a point of interest."""
    image = rest.left.pop("image", None)
    if image is None:
        return []
    kind = None
    if isinstance(image, str):
        kind = "jpeg" if image.startswith("/9j/") else "png" if image.startswith("iVBOR") else None
    if kind is None:
        return unrecognized_pieces(CLIENT, "an image that is neither JPEG nor PNG", image)
    name = label(rest.left.get("imagename"))
    picture = {"image_data": image, "format": kind, "file_name": name, "trigger": "manual"}
    return [Draft(CAMERA_RAW, fields | present(picture), image)]


def _without_image(message: Json) -> Json:
    return {name: value for name, value in message.items() if name != "image"}


def _transition(rest: Rest, at: datetime, message: Json) -> list[Draft]:
    fields = {
        "timestamp": at,
        "event": rest.label("event"),
        "region_name": rest.label("desc"),
        "region_id": rest.label("rid"),
        "region_created_at": rest.time("wtst"),
        "trigger": rest.label("t"),
        "latitude": rest.number("lat", -90.0, 90.0),
        "longitude": rest.number("lon", -180.0, 180.0),
        "accuracy": rest.number("acc", 0.0, 1e9),
    }
    details, large = rest.details()
    return [Draft(REGION_TRANSITION_RAW, present(fields | {"details": details}), message), *large]


def _waypoint(rest: Rest, at: datetime, message: Json) -> list[Draft]:
    name = rest.label("desc")
    fields: Json = {"timestamp": at, "name": name}
    beacon = _BEACON.fullmatch(name) if name else None
    if beacon is not None and "uuid" not in message:
        fields["name"] = beacon[1] or name
        fields |= {"beacon_uuid": beacon[2], "beacon_major": int(beacon[3] or 0), "beacon_minor": int(beacon[4] or 0)}
    else:
        fields |= {"beacon_uuid": rest.label("uuid")}
        fields |= {"beacon_major": rest.count("major"), "beacon_minor": rest.count("minor")}
    fields |= {
        "region_id": rest.label("rid"),
        "latitude": rest.number("lat", -90.0, 90.0),
        "longitude": rest.number("lon", -180.0, 180.0),
        "radius_m": rest.number("rad", 0.0, 1e9),
    }
    details, large = rest.details()
    return [Draft(REGION_WAYPOINT_RAW, present(fields | {"details": details}), message), *large]


def _waypoints(_rest: Rest, _at: datetime, message: Json) -> list[Draft]:
    waypoints = message.get("waypoints")
    if not isinstance(waypoints, list):
        return unrecognized_pieces(CLIENT, "waypoints is not a list", message)
    latest = datetime.max.replace(tzinfo=UTC)
    drafts: list[Draft] = []
    for waypoint in waypoints:
        if isinstance(waypoint, dict) and waypoint.get("_type", "waypoint") == "waypoint":
            drafts += drafts_of({**waypoint, "_type": "waypoint"}, latest)
        else:
            drafts += unrecognized_pieces(CLIENT, "not a waypoint", waypoint)
    return drafts


def _steps(rest: Rest, at: datetime, message: Json) -> list[Draft]:
    begin, end = rest.time("from"), rest.time("to")
    seconds = (end - begin).total_seconds() if begin and end else 0.0
    fields = {
        "timestamp": end or at,
        "steps": rest.count("steps"),
        "interval_seconds": seconds if 0.0 < seconds <= _STEPS_AT_MOST else None,
        "distance_m": rest.number("distance", 0.0, 1e9),
        "floors_climbed": rest.count("floorsup"),
    }
    # A phone that does not count them says -1: kept as it came, like any number of steps that is none.
    return [Draft(STEPS_RAW, present(fields), message)]


def _beacon(rest: Rest, at: datetime, message: Json) -> list[Draft]:
    """A beacon that is near: as a Bluetooth device, and with what else is said of it as an event."""
    identity = ":".join(str(message[name])[:64] for name in ("uuid", "major", "minor") if name in message)
    time: Json = {"timestamp": at}
    device: Json = {"address": label(identity) or "unknown", "name": rest.label("desc"), "device_class": "beacon"}
    device["signal_dbm"] = rest.number("rssi", -150.0, 0.0)
    details, large = rest.details()
    drafts = [Draft(BLUETOOTH_RAW, time | {"devices": [present(device)]}, message)]
    return [*drafts, Draft(LOCATION_REPORT_RAW, time | present({"event": "beacon", "details": details})), *large]


def _metadata(_rest: Rest, at: datetime, message: Json) -> list[Draft]:
    """Cards, states of the app, settings and the like: what seldom changes, without its passwords."""
    metadata = _harmless({name: value for name, value in message.items() if name not in _TRANSPORT})
    if len(to_json(metadata, inf_nan_mode="strings")) > LONGEST_DETAILS:
        return unrecognized_pieces(CLIENT, "more than metadata can hold", metadata)
    kind = f"{CLIENT}.{message['_type']}"
    return [Draft(METADATA_RAW, {"timestamp": at, "metadata_type": kind, "metadata": storable(metadata)})]


def _harmless(value: Any) -> Any:
    """`value` without passwords, at any depth; of addresses without the user's."""
    if isinstance(value, dict):
        return {name: "left out" if name.lower() in _SECRET else _harmless(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    if isinstance(value, str) and "://" in value and "@" in value:
        return _without_user(value)
    return value


def _without_user(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "left out"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


_KINDS: Final[dict[str, Callable[[Rest, datetime, Json], list[Draft]]]] = {
    "location": _location,
    "transition": _transition,
    "waypoint": _waypoint,
    "waypoints": _waypoints,
    "steps": _steps,
    "beacon": _beacon,
    "card": _metadata,
    "lwt": _metadata,
    "status": _metadata,
    "configuration": _metadata,
    "dump": _metadata,
    "request": _metadata,
    "cmd": _metadata,
}
