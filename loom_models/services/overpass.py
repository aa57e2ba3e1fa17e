"""Businesses by Overpass, which answers questions about OpenStreetMap (https://wiki.openstreetmap.org/wiki/Overpass_API).

Many cells are one request. A person can run an Overpass of their own; the public servers ask for restraint. Answers are
© OpenStreetMap contributors, ODbL 1.0.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from loom_models.services.base import BUSINESS_RADIUS_M, AwayError, Found, Point, UnbelievableError, nearby
from loom_models.services.choice import Kind
from loom_models.services.client import Client, RefusedError

SECONDS: Final = 25
"""How long the server may work on a question."""

_KEYS: Final = ("amenity", "shop", "leisure", "tourism", "healthcare", "office", "craft", "club")
_NO_BUSINESS: Final = {"bench", "parking_space", "waste_basket", "street_lamp", "bicycle_parking", "vending_machine"}


class Overpass:
    """Asks the interpreter about the named places around up to twenty cells."""

    name = "overpass"
    kind: Kind = "business"
    at_once = 20
    fresh = timedelta(days=90)

    def __init__(self, client: Client, interval: timedelta) -> None:
        self._client, self.interval = client, interval

    def close(self) -> None:
        """See Service."""
        self._client.close()

    def ask(self, cells: Sequence[str]) -> Mapping[str, Found | UnbelievableError | None]:
        """See Service."""
        points = [Point.of(cell) for cell in cells]
        try:
            said = self._client.json("POST", "/api/interpreter", data={"data": question(points)})
        except RefusedError as error:
            raise AwayError(str(error)) from None
        if not isinstance(said, dict) or not isinstance(said.get("elements"), list):
            raise AwayError("an answer of another form")
        if "remark" in said:
            # the server ran out of time or memory: what it found until then is not all there is
            raise AwayError("an answer that is not complete")
        places = [p for e in said["elements"] if isinstance(e, dict) and (p := _place(e)) is not None]
        return {point.cell: self._around(point, places, alone=len(points) == 1) for point in points}

    def _around(self, point: Point, places: list[dict[str, Any]], *, alone: bool) -> Found | UnbelievableError | None:
        # of many points, most places are far from each
        reach = float("inf") if alone else 2 * BUSINESS_RADIUS_M
        some = [p for p in places if point.metres_to(p["latitude"], p["longitude"]) <= reach]
        try:
            return nearby(point, some)
        except UnbelievableError as error:
            return error


def question(points: Sequence[Point]) -> str:
    """The question for the named places around `points`, in Overpass QL."""
    keys = "|".join(_KEYS)
    around = "".join(
        f'nwr(around:{BUSINESS_RADIUS_M:.0f},{p.latitude:.6f},{p.longitude:.6f})["name"][~"^({keys})$"~"."];'
        for p in points
    )
    return f"[out:json][timeout:{SECONDS}];({around});out center tags;"


def _place(element: dict[str, Any]) -> dict[str, Any] | None:
    tags, where = element.get("tags"), element.get("center", element)
    if not isinstance(tags, dict) or not isinstance(where, dict):
        return None
    category = next((tags[key] for key in _KEYS if tags.get(key)), None)
    try:
        latitude, longitude = float(where["lat"]), float(where["lon"])
    except (KeyError, TypeError, ValueError):
        return None
    if category is None or category in _NO_BUSINESS or not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    street = " ".join(str(tags[n]) for n in ("addr:street", "addr:housenumber") if tags.get(n))
    town = " ".join(str(tags[n]) for n in ("addr:postcode", "addr:city") if tags.get(n))
    return {
        "name": tags.get("name"),
        "latitude": latitude,
        "longitude": longitude,
        "category": category,
        "address": ", ".join(part for part in (street, town) if part) or None,
        "provider_place_id": f"{element.get('type')}/{element.get('id')}",
    }
