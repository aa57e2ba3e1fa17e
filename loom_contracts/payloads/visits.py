"""Where a device was: fixes that can be believed, stays at places, and the ways between them."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Label, Latitude, Longitude, Share, Text

Rejected = Literal["null_island", "inaccurate", "clock", "duplicate", "stale", "jump"]
TripMode = Literal["walking", "running", "cycling", "in_vehicle", "unknown"]


class CleanedFix(DerivedMessage):
    """Whether a GPS fix can be believed; `timestamp` is the fix's. Every fix has one row.

    `null_island`: at 0/0, which a receiver without a position tells. `inaccurate`: by its own word it is off by more
    than 250 m. `clock`: from a time that was still to come when it was accepted. `duplicate`: another fix of the same
    moment is as good or better. `stale`: a position from before, told again on the way. `jump`: nothing moves so fast.
    """

    latitude: Latitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Of the fix; WGS 84, decimal degrees.")
    accepted: bool = Field(description="Whether it counts for visits and trips.")
    reason: Rejected | None = Field(None, description="Why it does not; null where it does.")


class Visit(DerivedMessage):
    """A stay of six minutes or more at one place; `timestamp` is when it begins.

    While it goes on (`is_open`) the row stays as it is. Without any fix for twelve hours it has ended at the last one.
    """

    ended_at: AwareDatetime | None = Field(None, description="The last fix there; null while it goes on.")
    is_open: bool = Field(description="Whether it goes on, as far as is known.")
    duration_seconds: float | None = Field(None, ge=0.0, description="Its length, seconds; null while it goes on.")
    latitude: Latitude = Field(description="Centre of its first six minutes; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Centre of its first six minutes; WGS 84, decimal degrees.")
    radius_m: float = Field(ge=0.0, description="Nine tenths of the fixes of that time lie so near, metres.")
    place_id: UUID = Field(
        description="The same for all visits of a place, by any device: a saved region's id if in one."
    )
    region_id: UUID | None = Field(None, description="The smallest saved region that it is in.")
    region_name: Label | None = Field(None, description="Its name.")
    region_kind: Label | None = Field(None, description="What it is to the person: home, work, custom.")


class Trip(DerivedMessage):
    """The way from one visit to the next; `timestamp` is when the first one ends, or the first fix where none is known.

    While it goes on (`is_open`) the row stays as it is, and tells nothing but where it began.
    """

    ended_at: AwareDatetime | None = Field(None, description="When the next visit begins; null while it goes on.")
    is_open: bool = Field(description="Whether it goes on, as far as is known.")
    duration_seconds: float | None = Field(None, ge=0.0, description="Its length in time, seconds.")
    distance_m: float | None = Field(None, ge=0.0, description="Along its fixes, metres.")
    mode: TripMode | None = Field(None, description="How most of the distance was covered; null while it goes on.")
    confidence: Share | None = Field(None, description="Share of the distance that was covered so.")
    origin_place_id: UUID | None = Field(None, description="Place of the visit before it.")
    origin_name: Label | None = Field(None, description="Name of the saved region there.")
    destination_place_id: UUID | None = Field(None, description="Place of the visit after it.")
    destination_name: Label | None = Field(None, description="Name of the saved region there.")
    path: Text | None = Field(None, description="The way as an encoded polyline of five digits, to about five metres.")
