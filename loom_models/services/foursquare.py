"""Businesses by Foursquare's Places API, with a service key (https://docs.foursquare.com, "Place Search").

Both forms of its answers are read: the one of 2025, and v3, which older keys still get from a URL of their own.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from loom_models.services.base import BUSINESS_RADIUS_M, AwayError, Found, Point, UnbelievableError, nearby
from loom_models.services.choice import Kind
from loom_models.services.client import Client, RefusedError

API_VERSION: Final = "2025-06-17"


def headers(key: str) -> dict[str, str]:
    """What a request with `key` carries."""
    return {"authorization": f"Bearer {key}", "x-places-api-version": API_VERSION}


class Foursquare:
    """Asks `/places/search` about one cell at a time."""

    name = "foursquare"
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
        where = f"{point.latitude:.6f},{point.longitude:.6f}"
        values = {"ll": where, "radius": f"{BUSINESS_RADIUS_M:.0f}", "sort": "DISTANCE", "limit": "50"}
        try:
            said = self._client.json("GET", "/places/search", params=values)
            if not isinstance(said, dict) or not isinstance(said.get("results"), list):
                raise AwayError("an answer of another form")
            return nearby(point, [_place(place) for place in said["results"] if isinstance(place, dict)])
        except RefusedError as error:
            return UnbelievableError(str(error))
        except UnbelievableError as error:
            return error


def _place(said: dict[str, Any]) -> dict[str, Any]:
    main = _part(_part(said, "geocodes"), "main")
    categories = said.get("categories")
    first = categories[0] if isinstance(categories, list) and categories else {}
    return {
        "name": said.get("name"),
        "latitude": said.get("latitude", main.get("latitude")),
        "longitude": said.get("longitude", main.get("longitude")),
        "category": first.get("name") if isinstance(first, dict) else None,
        "address": _part(said, "location").get("formatted_address"),
        "provider_place_id": said.get("fsq_place_id", said.get("fsq_id")),
    }


def _part(said: dict[str, Any], name: str) -> dict[str, Any]:
    part = said.get(name)
    return part if isinstance(part, dict) else {}
