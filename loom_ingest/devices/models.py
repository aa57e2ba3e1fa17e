"""A device as `/devices` takes and gives it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from loom_contracts.message import DeviceId
from loom_contracts.payloads.common import JsonObject, Label


class DeviceDescription(BaseModel):
    """What a person can say of a device; every field is optional."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Label | None = Field(None, description="What the person calls it.")
    device_type: Label | None = Field(None, description="Such as phone, watch, laptop, sensor.")
    platform: Label | None = Field(None, description="Such as android, ios, macos, linux.")
    manufacturer: Label | None = Field(None, description="Who made it.")
    model: Label | None = Field(None, description="Its model.")
    os_version: Label | None = Field(None, description="Version of its operating system.")
    app_version: Label | None = Field(None, description="Version of the application that sends.")
    tags: list[Label] = Field(default_factory=list, max_length=64, description="Words to find it by.")
    metadata: JsonObject = Field(default_factory=dict, description="Anything else.")


class DeviceRegistration(DeviceDescription):
    """A device to register."""

    device_id: DeviceId = Field(description="The device_id that it sends with.")


class Device(BaseModel):
    """One device, as it is in the table; what clients of other makers wrote there is not held to these rules."""

    device_id: str
    name: str | None
    device_type: str | None
    platform: str | None
    manufacturer: str | None
    model: str | None
    os_version: str | None
    app_version: str | None
    tags: list[str]
    metadata: dict[str, Any]
    registered: bool = Field(description="Whether it was registered, rather than seen alone.")
    registered_at: datetime | None
    first_seen_at: datetime | None = Field(description="When it first sent something.")
    last_seen_at: datetime | None = Field(description="When it last sent something, some seconds late.")
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = Field(description="When it was deleted; it can be registered again.")


class DeviceList(BaseModel):
    """Devices, those seen last first."""

    devices: list[Device]
    total: int = Field(description="How many there are, on all pages.")


class TopicActivity(BaseModel):
    """What one device sent to one topic."""

    topic: str
    message_count: int
    first_seen_at: datetime
    last_seen_at: datetime


class DeviceActivity(BaseModel):
    """What one device sent."""

    device_id: str
    name: str | None
    status: Literal["active", "inactive"] = Field(description="Active when it sent within the last `active_seconds`.")
    message_count: int
    last_seen_at: datetime
    topics: list[TopicActivity]


class ActivitySummary(BaseModel):
    """What all devices sent."""

    total_devices: int
    active_devices: int
    active_seconds: int
    message_count: int
    devices: list[DeviceActivity]


class Registered(BaseModel):
    """The answer to a change: the device as it is now."""

    status: Literal["success"] = "success"
    device: Device
