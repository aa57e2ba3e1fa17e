"""Overland for iOS: batches of positions with motion, battery and Wi-Fi; visits, trips.

Format: https://github.com/aaronpk/Overland-iOS, README "API" and GPSLogger/GLManager.m. The app keeps a batch until it
gets exactly `{"result":"ok"}`, and then deletes it; so it gets that as soon as all of it is stored, what could not be
read included.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from pydantic_core import from_json

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.device_system import WIFI_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, MOTION_ACTIVITY_RAW, TRIP_RAW, VISIT_RAW
from loom_ingest.accept import context_of, services_of
from loom_ingest.access.principal import Principal
from loom_ingest.clients.anybody import text_of
from loom_ingest.clients.identities import Identities
from loom_ingest.clients.large import large_bodies
from loom_ingest.clients.loose import count, label, moment, number, present, storable
from loom_ingest.clients.operation import client_operation
from loom_ingest.clients.taking import Draft, take_many, unrecognized_pieces
from loom_ingest.route import IngestRoute

CLIENT: Final = "overland"
OK: Final = b'{"result":"ok"}'
router = APIRouter(tags=["clients"], route_class=IngestRoute)

_FIRST_YEAR, _LAST_YEAR = 1900, 3000
"""Apple's distantPast is in the year 1, its distantFuture in 4001: they stand for a time that is not known."""
_PERCENT: Final = 100.0


class OverlandAnswer(BaseModel):
    """All of the batch is stored; the app deletes it."""

    result: Literal["ok"]


_EXAMPLE: Final = {
    "locations": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [13.3777, 52.5163]},
            "properties": {
                "timestamp": "2026-01-15T08:30:00Z",
                "altitude": 35,
                "speed": 4,
                "course": 180,
                "horizontal_accuracy": 10,
                "vertical_accuracy": 4,
                "speed_accuracy": 0.5,
                "course_accuracy": 12.5,
                "motion": ["walking"],
                "battery_state": "charging",
                "battery_level": 0.8,
                "wifi": "home",
                "device_id": "my-phone",
            },
        }
    ]
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "locations": {"type": "array", "items": {"type": "object", "description": "A GeoJSON feature."}},
        "current": {"type": "object", "description": "The newest position, where many more wait."},
        "trip": {"type": "object", "description": "The trip that goes on."},
    },
    "required": ["locations"],
}
_QUERY: Final = {
    "device_id": "The device, where the positions name none.",
    "token": "The API key, where the app cannot send it as a header.",
}


@router.post("/overland", **client_operation(_SCHEMA, _EXAMPLE, OverlandAnswer, query=_QUERY))
async def overland(request: Request) -> Response:
    """Take a batch of Overland's; what cannot be read is kept on `device.unrecognized.raw`."""
    services, principal = services_of(request), context_of(request).principal
    names = _Names(services.identities, principal, request.query_params.get("device_id") or "")
    async with large_bodies(request).read(request, services.settings.max_import_body_bytes) as body:
        try:
            batch = from_json(body)
        except ValueError as error:
            device_id = names.of(None)
            text = text_of(body)
            kept = [(device_id, d) for d in unrecognized_pieces(CLIENT, f"not JSON: {error}", text)] if text else []
            await take_many(request, CLIENT, [device_id], kept)
        else:
            drafts = _Batch(batch, names)
            await take_many(request, CLIENT, drafts.device_ids, drafts.all())
    return Response(OK, media_type="application/json")


class _Names:
    """The devices of one request: what a position says, else the address, else another position, else the client."""

    def __init__(self, identities: Identities, principal: Principal, otherwise: str) -> None:
        self._identities = identities
        self._principal = principal
        self._otherwise = label(otherwise)
        self.first: str | None = None
        self._known: dict[str, str] = {}

    def of(self, feature: Any) -> str:
        """The device of `feature`."""
        identity = self.named(feature) or self.first or CLIENT
        if identity not in self._known:
            self._known[identity] = self._identities.device_of(CLIENT, identity, self._principal)
        return self._known[identity]

    def named(self, feature: Any) -> str | None:
        """What `feature`, or the address, calls the device."""
        properties = _properties(feature)
        return label(properties.get("device_id")) or self._otherwise or label(properties.get("unique_id"))


class _Batch:
    """What one request brought, as drafts."""

    def __init__(self, batch: Any, names: _Names) -> None:
        self._batch = batch if isinstance(batch, dict) else {}
        locations = self._batch.get("locations")
        self._features: list[Any] = locations if isinstance(locations, list) else []
        # Whatever is not where it belongs.
        known = {"locations"} if isinstance(locations, list) else set()
        known |= {name for name in ("current", "trip") if isinstance(self._batch.get(name), dict)}
        left = {name: value for name, value in self._batch.items() if name not in known}
        self._left: Any = left if isinstance(batch, dict) else batch
        self._names = names
        everything = [*self._features, self._batch.get("current")]
        names.first = next((name for each in everything if (name := names.named(each)) is not None), None)
        self._device_id = names.of(None)
        self.device_ids = {self._device_id, *map(names.of, self._features)}
        current = self._batch.get("current")
        if isinstance(current, dict):
            self.device_ids.add(names.of(current))

    def all(self) -> Iterator[tuple[str, Draft]]:
        """Every draft with its device."""
        last: dict[tuple[str, str], Any] = {}
        for feature in self._features:
            device_id = self._names.of(feature)
            for draft in _drafts(feature):
                if _is_news(device_id, draft, last):
                    yield device_id, draft
        current = self._batch.get("current")
        if isinstance(current, dict):
            device_id = self._names.of(current)
            for draft in _drafts(current):
                yield device_id, draft
        trip = self._batch.get("trip")
        if isinstance(trip, dict):
            yield self._device_id, _trip(trip, "active", _current(trip))
        if self._left or (not isinstance(self._left, dict) and self._left is not None):
            for draft in unrecognized_pieces(CLIENT, "no part of a batch", self._left):
                yield self._device_id, draft


_REPEATED: Final = frozenset({POWER_RAW.name, WIFI_RAW.name, MOTION_ACTIVITY_RAW.name})


def _is_news(device_id: str, draft: Draft, last: dict[tuple[str, str], Any]) -> bool:
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


def _properties(feature: Any) -> dict[str, Any]:
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


def _drafts(feature: Any) -> Iterator[Draft]:
    """What one feature tells: a position, a visit, a finished trip, or an event; and the state of the phone."""
    properties = _properties(feature)
    timestamp = moment(properties.get("timestamp"))
    latitude, longitude = _position(feature)
    kind = properties.get("action") or properties.get("type")
    if timestamp is None:
        yield from unrecognized_pieces(CLIENT, "a position without a time that can be read", feature)
        return
    at = {"timestamp": timestamp}
    if kind == "trip":
        yield _trip(properties, "finished", timestamp)
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


def _current(trip: dict[str, Any]) -> Any:
    """The time of the last position of a trip that goes on; that of its start where it has none."""
    return moment(_properties(trip.get("current_location")).get("timestamp")) or moment(trip.get("start"))


def _trip(trip: dict[str, Any], state: str, timestamp: Any) -> Draft:
    start = _position(trip.get("start_location"))
    end = _position(trip.get("end_location") or trip.get("current_location"))
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
