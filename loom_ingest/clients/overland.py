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

from loom_ingest.accept import context_of, services_of
from loom_ingest.access.principal import Principal
from loom_ingest.clients.anybody import text_of
from loom_ingest.clients.identities import Identities
from loom_ingest.clients.large import large_bodies
from loom_ingest.clients.loose import label
from loom_ingest.clients.operation import client_operation
from loom_ingest.clients.overland_features import CLIENT, active_trip, feature_drafts, is_news, properties_of
from loom_ingest.clients.taking import Draft, take_many, unrecognized_pieces
from loom_ingest.route import IngestRoute

OK: Final = b'{"result":"ok"}'
router = APIRouter(tags=["clients"], route_class=IngestRoute)


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
        properties = properties_of(feature)
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
            for draft in feature_drafts(feature):
                if is_news(device_id, draft, last):
                    yield device_id, draft
        current = self._batch.get("current")
        if isinstance(current, dict):
            device_id = self._names.of(current)
            for draft in feature_drafts(current):
                yield device_id, draft
        trip = self._batch.get("trip")
        if isinstance(trip, dict):
            yield self._device_id, active_trip(trip)
        if self._left or (not isinstance(self._left, dict) and self._left is not None):
            for draft in unrecognized_pieces(CLIENT, "no part of a batch", self._left):
                yield self._device_id, draft
