"""Regions that a person keeps on their phone, and when the phone came into one or left it."""

from pydantic import AwareDatetime, Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Latitude, Longitude


class RegionTransition(Message):
    """A device came into a region or left it, as the device itself found."""

    event: Label = Field(description="enter, leave, or the device's own word.")
    region_name: Label | None = Field(None, description="Name of the region.")
    region_id: Label | None = Field(None, description="The app's identifier of the region.")
    region_created_at: AwareDatetime | None = Field(
        None, description="When the region was made, UTC: the `timestamp` of its own record."
    )
    trigger: Label | None = Field(None, description="What told: c for a circle, b for a beacon, l for a position.")
    latitude: Latitude | None = Field(None, description="Where the device was; WGS 84, decimal degrees.")
    longitude: Longitude | None = Field(None, description="Where the device was; WGS 84, decimal degrees.")
    accuracy: float | None = Field(None, ge=0.0, description="Accuracy of that position, metres.")
    details: JsonObject | None = Field(None, description="Whatever else was said, in the client's own words.")


class Waypoint(Message):
    """A region as it is on the device; `timestamp` is when it was made, which stays when it is changed."""

    name: Label = Field(description="What the person calls it.")
    region_id: Label | None = Field(None, description="The app's identifier of it.")
    latitude: Latitude | None = Field(None, description="Its middle; WGS 84, decimal degrees.")
    longitude: Longitude | None = Field(None, description="Its middle; WGS 84, decimal degrees.")
    radius_m: float | None = Field(None, ge=0.0, description="Its radius, metres.")
    beacon_uuid: Label | None = Field(None, description="UUID of the BLE beacon that it is, or that stands in it.")
    beacon_major: Count | None = Field(None, description="Major number of that beacon.")
    beacon_minor: Count | None = Field(None, description="Minor number of that beacon.")
    details: JsonObject | None = Field(None, description="Whatever else was said, in the client's own words.")
