"""The battery and what charges it."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import Count, Label, Share


class PowerState(Message):
    """State of a device's battery."""

    battery_level: float = Field(ge=0.0, le=100.0, description="Charge, percent.")
    is_charging: bool = Field(description="Whether it is being charged.")
    power_source: Label | None = Field(None, description="USB, AC, Wireless, Battery, or the device's own word.")


class EnrichedPower(DerivedMessage):
    """The battery's state with how fast it changes."""

    battery_level: float = Field(ge=0.0, le=100.0, description="Charge, percent.")
    is_charging: bool = Field(description="Whether it is being charged.")
    power_source: Literal["usb", "ac", "wireless", "battery", "unknown"] = Field(description="What it runs on.")
    rate_percent_per_hour: float | None = Field(None, description="Change of the charge; negative while it drains.")
    seconds_to_full: float | None = Field(None, ge=0.0, description="Time to full charge at that rate, seconds.")
    seconds_to_empty: float | None = Field(None, ge=0.0, description="Time to empty at that rate, seconds.")
    session_id: UUID | None = Field(None, description="Same for all states of one charging session.")
    session_started_at: AwareDatetime | None = Field(None, description="When that session began, UTC.")


class ChargingPattern(DerivedMessage):
    """A habit of charging seen over several days; `timestamp` is when the stretch looked at begins."""

    window_end: AwareDatetime = Field(description="When that stretch ends, UTC.")
    pattern: Label = Field(description="Such as overnight, opportunistic, desk, none.")
    confidence: Share = Field(description="How well it fits.")
    session_count: Count = Field(description="Charging sessions in that stretch.")
    typical_start_hour: float | None = Field(None, ge=0.0, lt=24.0, description="When sessions begin, hours UTC.")
    typical_duration_seconds: float | None = Field(None, ge=0.0, description="How long they last, seconds.")
    mean_start_level: float | None = Field(None, ge=0.0, le=100.0, description="Charge when they begin, percent.")
    mean_end_level: float | None = Field(None, ge=0.0, le=100.0, description="Charge when they end, percent.")
