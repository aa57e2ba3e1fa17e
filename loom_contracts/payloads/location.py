"""Places: regions that a person saved, addresses and businesses."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Count, Label, Latitude, Longitude, Share, Text


class GeoregionPresence(DerivedMessage):
    """Where one GPS fix lies with respect to the saved regions; `timestamp` is the fix's.

    A fix has one row for each region that it is inside of (`enter` or `dwell`), one for each that the previous
    fix was inside of and it is not (`leave`), or a single row with event `none` and no region.
    """

    latitude: Latitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    accuracy: float | None = Field(None, ge=0.0, description="Horizontal accuracy of the fix, metres.")
    event: Literal["enter", "dwell", "leave", "none"] = Field(description="What the fix says about the region.")
    region_id: UUID | None = Field(None, description="The region; null for event none.")
    region_name: Label | None = Field(None, description="Its name.")
    region_kind: Label | None = Field(None, description="What it is to the person: home, work, custom.")
    region_revision: int | None = Field(None, ge=1, description="Revision of its shape that was used.")
    distance_m: float | None = Field(None, ge=0.0, description="From the fix to the region's centre, metres.")
    previous_message_id: UUID | None = Field(None, description="The device's fix before this one, if within 24 h.")
    previous_timestamp: AwareDatetime | None = Field(None, description="When that was, UTC.")
    seconds_since_previous: float | None = Field(None, ge=0.0, description="Time between the two, seconds.")


class GeocodedAddress(DerivedMessage):
    """The address of a position; `timestamp` is the fix's."""

    latitude: Latitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    display_name: Text | None = Field(None, description="The address in one line; null when there is none.")
    house_number: Label | None = Field(None, description="House number.")
    road: Label | None = Field(None, description="Street.")
    suburb: Label | None = Field(None, description="Part of the town.")
    city: Label | None = Field(None, description="Town.")
    state: Label | None = Field(None, description="State or region.")
    postcode: Label | None = Field(None, description="Postal code.")
    country: Label | None = Field(None, description="Country.")
    country_code: str | None = Field(None, pattern=r"^[a-z]{2}$", description="ISO 3166-1 code, lower case.")
    provider: Label = Field(description="Who knew it, such as nominatim.")
    provider_place_id: Label | None = Field(None, description="The provider's identifier.")
    distance_m: float | None = Field(None, ge=0.0, description="From the fix to the address, metres.")


class IdentifiedBusiness(DerivedMessage):
    """The business that a device is at; `timestamp` is the fix's."""

    latitude: Latitude = Field(description="Of the business; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Of the business; WGS 84, decimal degrees.")
    name: Label = Field(description="Its name.")
    category: Label | None = Field(None, description="What it is, such as cafe.")
    address: Text | None = Field(None, description="Its address in one line.")
    distance_m: float = Field(ge=0.0, description="From the fix to it, metres.")
    confidence: Share = Field(description="How likely it is that the person is there.")
    provider: Label = Field(description="Who knew it, such as openstreetmap.")
    provider_place_id: Label | None = Field(None, description="The provider's identifier.")
    visit_count: Count | None = Field(None, description="Earlier visits of the person.")
