"""Addresses by Photon, a geocoder for OpenStreetMap data (https://github.com/komoot/photon, "Reverse").

A person can run one at home. The public server asks for fair use. Answers are © OpenStreetMap contributors, ODbL 1.0.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from loom_models.services.base import Address, AwayError, Found, Point, UnbelievableError, believed, position
from loom_models.services.choice import Kind
from loom_models.services.client import Client, RefusedError

_TYPES: Final = {"N": "node", "W": "way", "R": "relation"}


class Photon:
    """Asks `/reverse` about one cell at a time."""

    name = "photon"
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
        values = {"lat": f"{point.latitude:.6f}", "lon": f"{point.longitude:.6f}", "limit": "1"}
        try:
            return _address(point, self._client.json("GET", "/reverse", params=values))
        except RefusedError as error:
            return UnbelievableError(str(error))
        except UnbelievableError as error:
            return error


def _address(point: Point, said: Any) -> Address | None:
    if not isinstance(said, dict) or not isinstance(said.get("features"), list):
        raise AwayError("an answer of another form")
    if not said["features"]:
        return None
    try:
        feature = said["features"][0]
        parts = feature["properties"]
        longitude, latitude = feature["geometry"]["coordinates"]
    except (KeyError, TypeError, ValueError):
        raise UnbelievableError("an address without a position") from None
    if not isinstance(parts, dict):
        raise UnbelievableError("an address without its parts")
    latitude, longitude = position(latitude, longitude)
    road = parts.get("street") or (parts.get("name") if parts.get("type") == "street" else None)
    street = " ".join(str(p) for p in (road, parts.get("housenumber")) if p)
    town = " ".join(str(p) for p in (parts.get("postcode"), parts.get("city")) if p)
    named = None if parts.get("type") == "street" else parts.get("name")
    line = [named, street, town, parts.get("state"), parts.get("country")]
    kind = _TYPES.get(str(parts.get("osm_type")), parts.get("osm_type"))
    fields = {
        "display_name": ", ".join(str(part) for part in line if part),
        "house_number": parts.get("housenumber"),
        "road": road,
        "suburb": parts.get("district") or parts.get("locality"),
        "city": parts.get("city"),
        "state_name": parts.get("state"),
        "postcode": parts.get("postcode"),
        "country": parts.get("country"),
        "country_code": parts.get("countrycode"),
        "provider_place_id": f"{kind}/{parts.get('osm_id')}" if parts.get("osm_id") else None,
    }
    return believed(point, fields, latitude, longitude, exact="housenumber" in parts)
