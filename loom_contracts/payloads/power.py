"""The battery and what charges it."""

from pydantic import Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Label


class PowerState(Message):
    """State of a device's battery."""

    battery_level: float = Field(ge=0.0, le=100.0, description="Charge, percent.")
    is_charging: bool = Field(description="Whether it is being charged.")
    power_source: Label | None = Field(None, description="USB, AC, Wireless, Battery, or the device's own word.")
