"""What a service is: it is asked about cells, many at a time where it can, and answers or fails, never by halves.

A service is told the middle of a cell and nothing else: no time, no device, no track.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import asin, cos, radians, sin, sqrt
from typing import Annotated, Any, Final, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from loom_contracts.payloads.common import Latitude, Longitude, Text
from loom_models.geohash import centre
from loom_models.services.choice import Kind

ADDRESS_CHARACTERS: Final = 8
"""A cell for addresses is about a house: 38 m by 19 m at the equator."""

BUSINESS_CHARACTERS: Final = 7
"""A cell for businesses is about a block: 153 m by 153 m at the equator."""

BUSINESS_RADIUS_M: Final = 160.0
"""How far around the middle of a cell businesses are asked for: all of the cell, and 50 m more."""

CHARACTERS: Final[Mapping[Kind, int]] = {"address": ADDRESS_CHARACTERS, "business": BUSINESS_CHARACTERS}
_EARTH_RADIUS_M: Final = 6_371_008.8


class ServiceError(Exception):
    """A service could not be asked, or what it said cannot be believed. Nothing is known; it is asked again later."""


class AwayError(ServiceError):
    """The service does not answer anyone, or not us: it is left alone, for `retry_after` where it said so."""

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class UnbelievableError(ServiceError):
    """The service answers, and its answer about this cell cannot be right."""


def _clipped(value: object) -> object:
    """Text as a label, whatever a service calls text; what is empty is nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).replace("\x00", "").strip()[:256] or None


def _code(value: object) -> object:
    text = str(value).lower()
    return text if len(text) == 2 and text.isascii() and text.isalpha() else None


Said = Annotated[str | None, BeforeValidator(_clipped)]
"""A label as a service gives it."""


class Answer(BaseModel):
    """What services say, made to fit the tables."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Address(Answer):
    """An address. A position is given only where it is the house's own, so that a distance to it means something."""

    display_name: Annotated[Text | None, BeforeValidator(_clipped)] = None
    house_number: Said = None
    road: Said = None
    suburb: Said = None
    city: Said = None
    state_name: Said = None
    postcode: Said = None
    country: Said = None
    country_code: Annotated[str | None, BeforeValidator(_code)] = None
    provider_place_id: Said = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class Business(Answer):
    """A business or another place with a name."""

    name: Annotated[str, BeforeValidator(_clipped)]
    latitude: Latitude
    longitude: Longitude
    category: Said = None
    address: Said = None
    provider_place_id: Said = None


Found = Address | tuple[Business, ...]
"""The address of a cell, or the businesses around its middle."""


class Service(Protocol):
    """Knows addresses or businesses.

    `at_once` cells can be asked in one request. `interval` must lie between two requests, which is up to who asks;
    `fresh` is how long an answer stands.
    """

    name: str
    kind: Kind
    at_once: int
    interval: timedelta
    fresh: timedelta

    def ask(self, cells: Sequence[str]) -> Mapping[str, Found | UnbelievableError | None]:
        """Of each of `cells` what was found, None where there is nothing, or why its answer is not believed.

        Raises AwayError when there is no answer at all.
        """
        ...

    def close(self) -> None:
        """End its connections."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """The middle of a cell; degrees."""

    cell: str
    latitude: float
    longitude: float

    @classmethod
    def of(cls, cell: str) -> "Point":
        """The middle of `cell`."""
        return cls(cell, *centre(cell))

    def metres_to(self, latitude: float, longitude: float) -> float:
        """The distance to a position, metres, on a sphere."""
        north = sin(radians(latitude - self.latitude) / 2) ** 2
        east = sin(radians(longitude - self.longitude) / 2) ** 2
        half = north + cos(radians(latitude)) * cos(radians(self.latitude)) * east
        return 2 * _EARTH_RADIUS_M * asin(min(1.0, sqrt(half)))


def position(latitude: object, longitude: object) -> tuple[float, float]:
    """A position as a service gives it, degrees; raises UnbelievableError when it is none."""
    try:
        north, east = float(str(latitude)), float(str(longitude))
    except ValueError:
        raise UnbelievableError("an address without a position") from None
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        raise UnbelievableError("an address at a position that does not exist")
    return north, east


FAR_M: Final = 10_000.0
"""An address whose own position is farther away is not that of the cell."""


def believed(point: Point, address: Mapping[str, Any], latitude: float, longitude: float, *, exact: bool) -> Address:
    """The address that a service says is at `point`, with its position where it is `exact`.

    Raises UnbelievableError when its position is elsewhere, or when it says nothing.
    """
    away = point.metres_to(latitude, longitude)
    if away > FAR_M:
        raise UnbelievableError(f"an address {away / 1000:,.0f} km away from what was asked")
    if not any(address.get(name) for name in ("display_name", "road", "city", "country")):
        raise UnbelievableError("an address without a street, a town or a country")
    try:
        where = {"latitude": latitude, "longitude": longitude} if exact else {}
        return Address(**address, **where)
    except ValidationError as error:
        raise UnbelievableError(_first(error)) from None


def nearby(point: Point, found: Sequence[Mapping[str, Any]]) -> tuple[Business, ...] | None:
    """The businesses that a service says are around `point`, nearest first; None where there are none.

    What has no name is left out. Raises UnbelievableError when it named some and all of them are elsewhere.
    """
    near, far = [], 0
    for said in found:
        try:
            business = Business(**said)
        except ValidationError:
            continue
        away = point.metres_to(business.latitude, business.longitude)
        if away > 2 * BUSINESS_RADIUS_M:
            far += 1
        elif away <= BUSINESS_RADIUS_M:
            near.append((away, business.provider_place_id or "", business))
    if far and not near:
        raise UnbelievableError(f"{far} businesses, all of them elsewhere")
    return tuple(b for _, _, b in sorted(near, key=lambda n: n[:2])) or None


def _first(error: ValidationError) -> str:
    told = error.errors()[0]
    return f"{'.'.join(str(part) for part in told['loc'])}: {told['msg']}"
