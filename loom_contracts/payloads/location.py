"""Places: regions that a person saved, addresses and businesses."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Count, Geohash, Label, Latitude, Longitude, Share, Text


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
    """The address of a position; `timestamp` is the fix's. Every fix has one row, in one of four states.

    `found`: the provider knows it. `none`: the provider says that there is none, as at sea. `pending`: the service has
    not been asked, or could not answer, so nothing is said yet. `skipped`: the position is of no use for it.
    """

    latitude: Latitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    state: Literal["found", "none", "pending", "skipped"] = Field(description="What is known.")
    cell: Geohash | None = Field(None, description="The cell of the fix: all that a service is ever told.")
    display_name: Text | None = Field(None, description="The address in one line; null when there is none.")
    house_number: Label | None = Field(None, description="House number.")
    road: Label | None = Field(None, description="Street.")
    suburb: Label | None = Field(None, description="Part of the town.")
    city: Label | None = Field(None, description="Town.")
    state_name: Label | None = Field(None, description="State or region.")
    postcode: Label | None = Field(None, description="Postal code.")
    country: Label | None = Field(None, description="Country.")
    country_code: str | None = Field(None, pattern=r"^[a-z]{2}$", description="ISO 3166-1 code, lower case.")
    provider: Label | None = Field(None, description="Who is asked: offline, nominatim, photon; null for skipped.")
    provider_place_id: Label | None = Field(None, description="The provider's identifier.")
    distance_m: float | None = Field(None, ge=0.0, description="From the fix to what was found, metres.")


class IdentifiedBusiness(DerivedMessage):
    """The business or other named place that a device stays at; `timestamp` is the fix's. Every fix has one row.

    `identified`: the device stays, and this place is much likelier than the others. `none`: it stays, and nothing near
    stands out. `pending`: the service has not been asked, or could not answer. `moving`: it does not stay, so nobody is
    asked. `skipped`: the position is of no use for it.
    """

    latitude: Latitude | None = Field(None, description="Of the business; WGS 84, decimal degrees.")
    longitude: Longitude | None = Field(None, description="Of the business; WGS 84, decimal degrees.")
    state: Literal["identified", "none", "pending", "moving", "skipped"] = Field(description="What is known.")
    cell: Geohash | None = Field(None, description="The cell of the fix: all that a service is ever told.")
    name: Label | None = Field(None, description="Its name.")
    category: Label | None = Field(None, description="What it is, such as cafe.")
    address: Text | None = Field(None, description="Its address in one line.")
    distance_m: float | None = Field(None, ge=0.0, description="From where the device stays to it, metres.")
    confidence: Share | None = Field(None, description="How likely it is that the person is there.")
    provider: Label | None = Field(None, description="Who knew it: own (a place of the person's), overpass, ...")
    provider_place_id: Label | None = Field(None, description="The provider's identifier.")
    visit_count: Count | None = Field(None, description="Earlier days of the four weeks before with a visit.")
