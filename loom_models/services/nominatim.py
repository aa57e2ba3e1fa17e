"""Addresses by Nominatim, the geocoder of OpenStreetMap (https://nominatim.org/release-docs/latest/api/Reverse/).

The public server asks for one request a second at most, an agent that says who asks, and that answers are kept
(https://operations.osmfoundation.org/policies/nominatim/). Answers are © OpenStreetMap contributors, ODbL 1.0.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from loom_models.services.base import Address, AwayError, Found, Point, UnbelievableError, believed, position
from loom_models.services.choice import Kind
from loom_models.services.client import Client, RefusedError

_CITY: Final = ("city", "town", "village", "municipality", "hamlet")
_SUBURB: Final = ("suburb", "city_district", "borough", "quarter", "neighbourhood")
_ROAD: Final = ("road", "pedestrian", "footway", "path", "square")


class Nominatim:
    """Asks `/reverse` about one cell at a time."""

    name = "nominatim"
    kind: Kind = "address"
    at_once = 1
    fresh = timedelta(days=365)

    def __init__(self, client: Client, interval: timedelta) -> None:
        self._client, self.interval = client, interval

    def close(self) -> None:
        """See Service."""
        self._client.close()

    def ask(self, cells: Sequence[str]) -> Mapping[str, Found | UnbelievableError | None]:
        """See Service."""
        return {cell: self._one(Point.of(cell)) for cell in cells}

    def _one(self, point: Point) -> Address | UnbelievableError | None:
        values = {"format": "jsonv2", "lat": f"{point.latitude:.6f}", "lon": f"{point.longitude:.6f}", "zoom": "18"}
        try:
            said = self._client.json("GET", "/reverse", params=values | {"addressdetails": "1"})
            return _address(point, said)
        except RefusedError as error:
            return UnbelievableError(str(error))
        except UnbelievableError as error:
            return error


def _address(point: Point, said: Any) -> Address | None:
    if not isinstance(said, dict):
        raise AwayError("an answer of another form")
    if "error" in said:
        if said["error"] == "Unable to geocode":
            return None
        raise AwayError("the service tells of an error")
    parts = said.get("address")
    latitude, longitude = position(said.get("lat"), said.get("lon"))
    if not isinstance(parts, dict):
        raise UnbelievableError("an address without its parts")
    fields = {
        "display_name": said.get("display_name"),
        "house_number": parts.get("house_number"),
        "road": _first(parts, _ROAD),
        "suburb": _first(parts, _SUBURB),
        "city": _first(parts, _CITY),
        "state_name": parts.get("state"),
        "postcode": parts.get("postcode"),
        "country": parts.get("country"),
        "country_code": parts.get("country_code"),
        "provider_place_id": f"{said.get('osm_type')}/{said.get('osm_id')}" if said.get("osm_id") else None,
    }
    return believed(point, fields, *_within(point, said, latitude, longitude), exact="house_number" in parts)


def _within(point: Point, said: dict[str, Any], latitude: float, longitude: float) -> tuple[float, float]:
    """Where the object is: a long road or a forest is where its box holds the point, however far its middle is."""
    try:
        south, north, west, east = (float(v) for v in said["boundingbox"])
    except (KeyError, TypeError, ValueError):
        return latitude, longitude
    if east - west < 10 and south <= point.latitude <= north and west <= point.longitude <= east:
        return (
            (latitude, longitude) if point.metres_to(latitude, longitude) < 1_000 else (point.latitude, point.longitude)
        )
    return latitude, longitude


def _first(parts: dict[str, Any], names: Sequence[str]) -> Any:
    return next((parts[name] for name in names if parts.get(name)), None)
