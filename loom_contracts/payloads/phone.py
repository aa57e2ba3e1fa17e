"""What a phone's own apps tell beside its positions: motion, visits, trips, states of any sensor."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Latitude, Longitude, Text


class MotionActivity(Message):
    """What a device takes its bearer to be doing."""

    activities: list[Label] = Field(
        max_length=32,
        description="In the device's own words: walking, running, cycling, driving, stationary; several may hold at "
        "once, and none when it does not know.",
    )
    confidence: Label | None = Field(None, description="How sure it is, in its own words.")
    details: JsonObject | None = Field(None, description="What else it said of it.")


class LocationReport(Message):
    """What a device said of a position besides the fix, which has the same time; or an event at that position."""

    event: Label | None = Field(None, description="What happened, such as paused_location_updates; null for a fix.")
    latitude: Latitude | None = Field(None, description="Where, if it was an event; WGS 84, decimal degrees.")
    longitude: Longitude | None = Field(None, description="Where, if it was an event; WGS 84, decimal degrees.")
    vertical_accuracy: float | None = Field(None, ge=0.0, description="Accuracy of the altitude, metres.")
    speed_accuracy: float | None = Field(None, ge=0.0, description="Accuracy of the speed, metres per second.")
    heading_accuracy: float | None = Field(None, ge=0.0, description="Accuracy of the course, degrees.")
    place: Label | None = Field(None, description="The device's own name of the place, such as home.")
    details: JsonObject | None = Field(None, description="Whatever else was said, in the client's own words.")


class Visit(Message):
    """A stay at a place, as the device found it; `timestamp` is when it told."""

    latitude: Latitude = Field(description="Middle of the place; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Middle of the place; WGS 84, decimal degrees.")
    accuracy: float | None = Field(None, ge=0.0, description="Horizontal accuracy, metres.")
    arrived_at: AwareDatetime | None = Field(None, description="When the person came, UTC; null when it is not known.")
    departed_at: AwareDatetime | None = Field(None, description="When the person left, UTC; null while they are there.")
    details: JsonObject | None = Field(None, description="What else was said of it.")


class Trip(Message):
    """A trip that the person recorded; `timestamp` is that of the last position known of it."""

    state: Literal["active", "finished"] = Field(description="Whether it goes on.")
    mode: Label | None = Field(None, description="walk, bicycle, car, train, or the device's own word.")
    started_at: AwareDatetime | None = Field(None, description="When it began, UTC.")
    ended_at: AwareDatetime | None = Field(None, description="When it ended, UTC.")
    duration_seconds: float | None = Field(None, ge=0.0, description="How long it took, seconds.")
    distance_m: float | None = Field(None, ge=0.0, description="Distance covered, metres.")
    steps: Count | None = Field(None, description="Steps taken.")
    stopped_automatically: bool | None = Field(None, description="Whether the device ended it by itself.")
    start_latitude: Latitude | None = Field(None, description="Where it began; WGS 84, decimal degrees.")
    start_longitude: Longitude | None = Field(None, description="Where it began; WGS 84, decimal degrees.")
    end_latitude: Latitude | None = Field(None, description="Its last position; WGS 84, decimal degrees.")
    end_longitude: Longitude | None = Field(None, description="Its last position; WGS 84, decimal degrees.")
    details: JsonObject | None = Field(None, description="All that was said of it, in the client's own words.")


class SensorState(Message):
    """State of any one sensor of a device, as its app tells it."""

    sensor_id: Label = Field(description="The app's identifier of the sensor, such as battery_level.")
    name: Label | None = Field(None, description="Its name.")
    kind: Label | None = Field(None, description="sensor, binary_sensor, or another word of the app.")
    state: Text | None = Field(None, description="Its state as text: on and off for true and false; null if unknown.")
    value: float | None = Field(None, description="Its state, when that is a number.")
    unit: Label | None = Field(None, description="Unit of the state.")
    device_class: Label | None = Field(None, description="What it measures: battery, temperature, ...")
    attributes: JsonObject | None = Field(None, description="What else the app says of the state.")
