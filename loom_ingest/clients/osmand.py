"""Traccar Client and whatever else speaks the OsmAnd protocol: `GET` and `POST /osmand`.

Format: https://www.traccar.org/osmand/ and OsmAndProtocolDecoder.java of the server. By its sources the app sends a
query (until version 8), JSON with a `location` and a `device_id` (version 9), or a form (since 2026: HttpUploader.kt of
traccar-client-sdk); flat objects in an array where it is told to. It sends the oldest position again until that is
answered with a success, so what cannot be read is kept as it came, and 400 is only for who names no device.
"""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json

from loom_ingest.accept import context_of, services_of
from loom_ingest.clients.anybody import read_any, text_of
from loom_ingest.clients.osmand_positions import CLIENT, Json, Read, flat, named, nested
from loom_ingest.clients.taking import Draft, take_many, unrecognized_pieces
from loom_ingest.errors import ApiError, Code
from loom_ingest.openapi import ERRORS
from loom_ingest.route import IngestRoute

router = APIRouter(tags=["clients"], route_class=IngestRoute)

_PARAMETERS: Final[tuple[tuple[str, str], ...]] = (
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
_FLAT_EXAMPLE: Final = {"id": "12345678", "timestamp": "1768465800", "lat": "52.5163", "lon": "13.3777", "speed": "7.6"}
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


_ID: Final[dict[str, Any]] = {"type": "string", "pattern": r"^[^\x00]*[^\x00\s][^\x00]*$", "maxLength": 256}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {name: _ID if name == "id" else {"type": "string"} for name, _ in _PARAMETERS},
    "required": ["id"],
}
_OBJECT: Final[dict[str, Any]] = {
    # Of the rest whatever comes is kept.
    "type": "object",
    "anyOf": [
        {"properties": {name: {"anyOf": [_ID, {"type": "integer"}]}}, "required": [name]}
        for name in ("device_id", "id")
    ],
}


def _operation(*, body: bool) -> dict[str, Any]:
    errors = {code: answer for code, answer in ERRORS.items() if code not in (415, 422)}
    errors[400] = {**errors[400], "description": "It names no device."}
    extra: dict[str, Any] = {
        "parameters": [_parameter(*each) for each in _PARAMETERS if not body or each[0] == "token"]
    }
    if body:
        content = {
            "application/x-www-form-urlencoded": {"schema": _FORM, "example": _FLAT_EXAMPLE},
            "application/json": {
                "schema": {"anyOf": [_OBJECT, {"type": "array", "items": _OBJECT}]},
                "example": _EXAMPLE,
            },
        }
        extra["requestBody"] = {"required": True, "content": content}
    stored = {"description": "It is stored; the answer is empty."}
    return {
        "status_code": 200,
        "response_class": Response,
        "responses": {200: stored, **errors},
        "openapi_extra": extra,
    }


def _parameter(name: str, description: str) -> dict[str, Any]:
    schema = _ID if name == "id" else {"type": "string"}
    return {"name": name, "in": "query", "required": name == "id", "schema": schema, "description": description}


@router.get("/osmand", **_operation(body=False))
async def report(request: Request) -> Response:
    """Take one position, told in the query."""
    return await _take(request, [flat(_parameters(request.scope["query_string"]))])


@router.post("/osmand", **_operation(body=True))
async def upload(request: Request) -> Response:
    """Take positions as a form or as JSON; what a GET has in its query may be in that of a POST, too."""
    query = _parameters(request.scope["query_string"])
    body = await read_any(request, services_of(request).settings.max_body_bytes)
    announced = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if announced == "application/json" or body.lstrip()[:1] in (b"{", b"["):
        try:
            content = from_json(body)
        except ValueError as error:
            return await _take(
                request, [(named(query), unrecognized_pieces(CLIENT, f"not JSON: {error}", text_of(body)))]
            )
        items = content if isinstance(content, list) else [content]
        return await _take(request, [read for item in items for read in _json(item, query)])
    return await _take(request, [flat(query | _parameters(body))])


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


def _json(item: Any, query: Json) -> Iterator[Read]:
    """The positions in one object: nested as version 9 has them, or flat."""
    if not isinstance(item, dict):
        yield named(query), unrecognized_pieces(CLIENT, "a position is an object", item)
        return
    location = item.get("location")
    if isinstance(location, str) or location is None:
        yield flat(query | {name: value for name, value in item.items() if name != "token"})
        return
    identity = named(item) or named(query)
    # Everything beside the device and its positions.
    extra = {name: value for name, value in item.items() if name not in ("location", "device_id", "id", "token")}
    for each in location if isinstance(location, list) else [location]:
        if isinstance(each, dict):
            yield identity, list(nested({**extra, **each}))
        else:
            yield identity, unrecognized_pieces(CLIENT, "a location is an object", each)
