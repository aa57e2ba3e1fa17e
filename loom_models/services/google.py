"""Businesses by Google's Places API (New), with a key; it names the twenty nearest at most.

https://developers.google.com/maps/documentation/places/web-service/nearby-search
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from loom_models.services.base import BUSINESS_RADIUS_M, AwayError, Found, Point, UnbelievableError, nearby
from loom_models.services.choice import Kind
from loom_models.services.client import Client, RefusedError

_FIELDS: Final = "places.id,places.displayName,places.location,places.primaryType,places.formattedAddress"
_MOST: Final = 20


def headers(key: str) -> dict[str, str]:
    """What a request with `key` carries."""
    return {"x-goog-api-key": key, "x-goog-fieldmask": _FIELDS}


class Google:
    """Asks `places:searchNearby` about one cell at a time."""

    name = "google"
    kind: Kind = "business"
    at_once = 1
    fresh = timedelta(days=30)

    def __init__(self, client: Client, interval: timedelta) -> None:
        self._client, self.interval = client, interval

    def close(self) -> None:
        """See Service."""
        self._client.close()

    def ask(self, cells: Sequence[str]) -> Mapping[str, Found | UnbelievableError | None]:
        """See Service."""
        return {cell: self._one(Point.of(cell)) for cell in cells}

    def _one(self, point: Point) -> Found | UnbelievableError | None:
        middle = {"latitude": point.latitude, "longitude": point.longitude}
        question = {
            "maxResultCount": _MOST,
            "rankPreference": "DISTANCE",
            "locationRestriction": {"circle": {"center": middle, "radius": BUSINESS_RADIUS_M}},
        }
        try:
            said = self._client.json("POST", "/v1/places:searchNearby", json=question)
            # without a place in it, the answer is {}
            if not isinstance(said, dict) or not isinstance(said.get("places", []), list) or "error" in said:
                raise AwayError("an answer of another form")
            return nearby(point, [_place(place) for place in said.get("places", []) if isinstance(place, dict)])
        except RefusedError as error:
            return UnbelievableError(str(error))
        except UnbelievableError as error:
            return error


def _place(said: dict[str, Any]) -> dict[str, Any]:
    name, where = said.get("displayName"), said.get("location")
    where = where if isinstance(where, dict) else {}
    return {
        "name": name.get("text") if isinstance(name, dict) else None,
        "latitude": where.get("latitude"),
        "longitude": where.get("longitude"),
        "category": said.get("primaryType"),
        "address": said.get("formattedAddress"),
        "provider_place_id": said.get("id"),
    }
