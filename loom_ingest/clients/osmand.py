"""Traccar Client and whatever else speaks the OsmAnd protocol: `GET` and `POST /osmand`.

Format: https://www.traccar.org/osmand/ and OsmAndProtocolDecoder.java of the server. By its sources the app sends a
query (until version 8), `{"location": {..}, "device_id": ..}` in JSON (version 9), or a form (since 2026: HttpUploader.kt,
traccar-client-sdk); flat objects in an array where it is told to. It sends the oldest position again until that is
answered with a success, so what cannot be read is kept as it came, and 400 is only for who names no device.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, MOTION_ACTIVITY_RAW
from loom_ingest.accept import context_of, services_of
from loom_ingest.clients.anybody import read_any, text_of
from loom_ingest.clients.loose import label, moment, number, present, storable
from loom_ingest.clients.owntracks_messages import spelled
from loom_ingest.clients.taking import Draft, take_many, unrecognized_pieces
from loom_ingest.errors import ApiError, Code
from loom_ingest.openapi import ERRORS
from loom_ingest.route import IngestRoute

CLIENT: Final = "osmand"
MPS_PER_KNOT: Final = 1852 / 3600
FASTEST_MPS: Final = 200.0
"""What device.sensor.gps.raw holds; a faster one stays in the report."""
_SECONDS_UNTIL: Final = 2**31 - 1
"""As the Traccar server has it: from here on a timestamp is in milliseconds."""
_INTEGER: Final = re.compile(r"\d{1,18}")
_UNKNOWN: Final = "unknown"
_TRUE: Final = (True, "true", "1", 1)
router = APIRouter(tags=["clients"], route_class=IngestRoute)

Json = dict[str, Any]

_PARAMETERS: Final = (
    ("id", "The device; `deviceid` is the same."),
    ("timestamp", "Unix seconds or milliseconds, ISO 8601, or `yyyy-MM-dd HH:mm:ss`; UTC without a zone."),
    ("lat", "WGS 84 latitude, decimal degrees."),
    ("lon", "WGS 84 longitude, decimal degrees."),
    ("location", "Both, with a comma between them."),
    ("speed", "Knots."),
    ("bearing", "Degrees from north; `heading` is the same."),
    ("altitude", "Metres."),
    ("accuracy", "Metres."),
    ("batt", "Percent."),
    ("charge", "`true` while it is charged."),
    ("token", "The API key, where the app cannot send it as a header."),
)
_EXAMPLE: Final = {
    "device_id": "12345678",
    "location": {
        "timestamp": "2026-01-15T08:30:00.000Z",
        "coords": {
            "latitude": 52.5163,
            "longitude": 13.3777,
            "accuracy": 8,
            "speed": 3.9,
            "heading": 180,
            "altitude": 35,
        },
        "is_moving": True,
        "activity": {"type": "on_bicycle", "confidence": 100},
        "battery": {"level": 0.8, "is_charging": False},
    },
}


def _operation(*, body: bool) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": description}
        for name, description in _PARAMETERS
    ]
    errors = {code: answer for code, answer in ERRORS.items() if code not in (415, 422)}
    stored = {"description": "It is stored; the answer is empty."}
    errors[400] = {**errors[400], "description": "It names no device."}
    extra: dict[str, Any] = {"parameters": parameters}
    if body:
        form = {"type": "object", "properties": {name: {"type": "string"} for name, _ in _PARAMETERS}}
        content = {
            "application/x-www-form-urlencoded": {
                "schema": form,
                "example": {"id": "12345678", "lat": "52.5", "lon": "13.4"},
            },
            "application/json": {
                "schema": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
                "example": _EXAMPLE,
            },
        }
        extra["requestBody"] = {"required": False, "content": content}
    return {
        "status_code": 200,
        "response_class": Response,
        "responses": {200: stored, **errors},
        "openapi_extra": extra,
    }


@router.get("/osmand", **_operation(body=False))
async def report(request: Request) -> Response:
    """Take one position, told in the query."""
    return await _take(request, [_flat(_parameters(request.scope["query_string"]))])


@router.post("/osmand", **_operation(body=True))
async def upload(request: Request) -> Response:
    """Take positions, told in the query, as a form or as JSON."""
    query = _parameters(request.scope["query_string"])
    body = await read_any(request, services_of(request).settings.max_body_bytes)
    announced = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if announced == "application/json" or body.lstrip()[:1] in (b"{", b"["):
        try:
            content = from_json(body)
        except ValueError as error:
            return await _take(
                request, [(_named(query), unrecognized_pieces(CLIENT, f"not JSON: {error}", text_of(body)))]
            )
        items = content if isinstance(content, list) else [content]
        return await _take(request, [read for item in items for read in _json(item, query)])
    return await _take(request, [_flat(query | _parameters(body))])


Read = tuple[str | None, list[Draft]]
"""What a position says its device is, and its drafts."""


async def _take(request: Request, positions: list[Read]) -> Response:
    services, principal = services_of(request), context_of(request).principal
    drafts: list[tuple[str, Draft]] = []
    for identity, found in positions:
        if identity is None:
            raise ApiError(
                400,
                Code.MISSING_FIELD,
                "There is no id; send the device's identifier as `id`, or as `device_id` in JSON",
                details={"id": "it is missing"},
            )
        device_id = services.identities.device_of(CLIENT, identity, principal)
        drafts += [(device_id, draft) for draft in found]
    await take_many(request, CLIENT, {device_id for device_id, _ in drafts}, drafts)
    return Response(status_code=200)


def _parameters(query: bytes) -> Json:
    """Parameters by name, of those that are repeated all (`cell`, `wifi`) or the last; without the key."""
    found: Json = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"):
        if name == "token":
            continue
        if name in ("cell", "wifi"):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _named(parameters: Json) -> str | None:
    for name in ("id", "deviceid", "device_id"):
        value = parameters.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if found := label(value):
            return found
    return None


def _json(item: Any, query: Json) -> Iterator[Read]:
    """The positions in one object: nested as version 9 has them, or flat."""
    if not isinstance(item, dict):
        yield _named(query), unrecognized_pieces(CLIENT, "a position is an object", item)
        return
    location = item.get("location")
    if isinstance(location, str) or location is None:
        yield _flat(query | {name: value for name, value in item.items() if name != "token"})
        return
    identity = _named(item) or _named(query)
    # Everything beside the device and its positions.
    extra = {name: value for name, value in item.items() if name not in ("location", "device_id", "id", "token")}
    for each in location if isinstance(location, list) else [location]:
        if isinstance(each, dict):
            yield identity, list(_nested({**extra, **each}, each))
        else:
            yield identity, unrecognized_pieces(CLIENT, "a location is an object", each)


def _flat(parameters: Json) -> Read:
    """The position in `parameters`, whose values are text, or numbers in JSON."""
    identity = _named(parameters)
    rest = {name: value for name, value in parameters.items() if name not in ("id", "deviceid", "device_id")}
    at = _time(rest.get("timestamp"))
    if at is None and rest.get("timestamp"):
        return identity, unrecognized_pieces(CLIENT, "timestamp is not a time", parameters)
    rest.pop("timestamp", None)
    pair = rest.get("location")
    if isinstance(pair, str) and pair.count(",") == 1 and "lat" not in rest and "lon" not in rest:
        rest["lat"], rest["lon"] = pair.split(",")
        del rest["location"]
    position = Position(rest, at, parameters)
    position.take("latitude", "lat", -90.0, 90.0)
    position.take("longitude", "lon", -180.0, 180.0)
    position.take("altitude", "altitude", -1_000.0, 20_000.0)
    position.take("accuracy", "accuracy", 0.0, 10_000.0)
    position.take("speed", "speed", 0.0, FASTEST_MPS / MPS_PER_KNOT, times=MPS_PER_KNOT)
    for name in ("bearing", "heading"):
        position.take("heading", name, 0.0, 360.0)
    charging = rest.pop("charge", None) in _TRUE
    battery = position.number("batt", 0.0, 100.0)
    activity = label(rest.get("activity"))
    if activity is not None:
        del rest["activity"]
    event = label(rest.get("alarm"))
    if event is not None:
        del rest["alarm"]
    invalid = rest.get("valid") in ("false", "0", False)
    return identity, list(position.drafts(battery, charging, activity, event, invalid=invalid))


def _nested(location: Json, source: Json) -> Iterator[Draft]:
    """The position in a `location` of version 9: metres per second, a battery from 0 to 1, -1 for what is unknown."""
    rest = dict(location)
    at = _time(rest.get("timestamp"))
    if at is None:
        yield from unrecognized_pieces(CLIENT, "a location without a time that can be read", source)
        return
    del rest["timestamp"]
    coordinates = rest.pop("coords", None)
    if isinstance(coordinates, dict):
        rest = {**coordinates, **rest}
    elif coordinates is not None:
        rest["coords"] = coordinates
    for name in ("speed", "heading", "accuracy", "speed_accuracy", "heading_accuracy", "altitude_accuracy"):
        # Invalid by the format.
        if (value := number(rest.get(name))) is not None and value < 0:
            del rest[name]
    position = Position(rest, at, source)
    for name, least, most in _NESTED:
        position.take(name, name, least, most)
    battery, charging = rest.get("battery"), False
    level = None
    if isinstance(battery, dict):
        share = number(battery.get("level"), 0.0, 1.0)
        level = None if share is None else round(share * 100.0, 2)
        charging = battery.get("is_charging") in _TRUE
        # A level of -1 is one that is not known.
        if set(battery) <= {"level", "is_charging"} and number(battery.get("level"), -1.0, 1.0) is not None:
            del rest["battery"]
    doing = rest.get("activity")
    activity = label(doing.get("type")) if isinstance(doing, dict) else None
    if activity is not None and isinstance(doing, dict):
        del rest["activity"]
        position.confidence = doing.get("confidence")
    event = label(rest.get("alarm"))
    if event is not None:
        del rest["alarm"]
    if rest.get("extras") == {}:
        del rest["extras"]
    yield from position.drafts(level, charging, activity, event)


_NESTED: Final = (
    ("latitude", -90.0, 90.0),
    ("longitude", -180.0, 180.0),
    ("altitude", -1_000.0, 20_000.0),
    ("accuracy", 0.0, 10_000.0),
    ("speed", 0.0, FASTEST_MPS),
    ("heading", 0.0, 360.0),
)


class Position:
    """A fix that is being read, and what is not read yet in `rest`; what is out of its range stays there."""

    def __init__(self, rest: Json, at: datetime | None, source: Json) -> None:
        self.confidence: Any = None
        self._fix: Json = {}
        self._rest = rest
        self._at: Json = present({"timestamp": at})
        self._source = source

    def number(self, name: str, least: float, most: float) -> float | None:
        """The number called `name`, no longer in `rest`."""
        value = self._rest.get(name)
        if isinstance(value, str):
            value = spelled(value)
        found = number(value, least, most)
        if found is not None:
            del self._rest[name]
        return found

    def take(self, field: str, name: str, least: float, most: float, *, times: float = 1.0) -> None:
        """The number called `name` into the fix as `field`."""
        found = self.number(name, least, most)
        if found is not None:
            self._fix[field] = found if times == 1.0 else round(found * times, 4)

    def drafts(
        self, battery: float | None, charging: bool, activity: str | None, event: str | None, *, invalid: bool = False
    ) -> Iterator[Draft]:
        """The fix, or what takes its place; battery, activity; and what else was said, with an alarm as its event."""
        rest, at = self._rest, self._at
        placed = "latitude" in self._fix and "longitude" in self._fix
        tried = {"lat", "lon", "location", "latitude", "longitude"} & set(rest)
        report: Json = {}
        if placed and not invalid:
            yield Draft(GPS_RAW, at | self._fix, self._source)
        elif tried:
            yield from unrecognized_pieces(CLIENT, "a position without coordinates on Earth", self._source)
        elif placed:
            report = {"event": "invalid", "latitude": self._fix["latitude"], "longitude": self._fix["longitude"]}
        if battery is not None:
            power = {"battery_level": battery, "is_charging": charging, "power_source": _UNKNOWN}
            yield Draft(POWER_RAW, at | power)
        if activity is not None and activity != _UNKNOWN:
            told = {"activities": [activity], "confidence": _text(self.confidence)}
            yield Draft(MOTION_ACTIVITY_RAW, at | present(told))
        for theirs, ours in _ACCURACIES:
            report[ours] = self.number(theirs, 0.0, 1e6)
        if event is not None:
            report["event"] = event
            report |= {name: self._fix[name] for name in ("latitude", "longitude") if placed}
        told = present(report | {"details": storable(rest)})
        if told:
            yield Draft(LOCATION_REPORT_RAW, at | told, self._source)
        elif not placed and not tried and battery is None and activity is None:
            # A device that says nothing but that it is there.
            yield Draft(LOCATION_REPORT_RAW, at | {"event": "heartbeat"})


_ACCURACIES: Final = (
    ("altitude_accuracy", "vertical_accuracy"),
    ("speed_accuracy", "speed_accuracy"),
    ("heading_accuracy", "heading_accuracy"),
)


def _text(value: Any) -> str | None:
    return label(str(value)) if isinstance(value, int | float | str) else None


def _time(value: Any) -> datetime | None:
    """As the Traccar server reads it; None when it is none."""
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    elif isinstance(value, str) and (seconds := spelled(value)) is not None:
        value = seconds
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = number(value, 1.0, 253_402_300_799_000.0)
        if found is None:
            return None
        try:
            return datetime.fromtimestamp(found if found < _SECONDS_UNTIL else found / 1000, UTC)
        except (OverflowError, ValueError, OSError):
            return None
    return moment(value) if isinstance(value, str) else None
