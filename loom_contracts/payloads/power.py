"""The battery and what charges it."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import Count, Label, Latitude, Longitude, Part, Share

PowerSource = Literal["usb", "ac", "wireless", "battery", "unknown"]


class PowerState(Message):
    """State of a device's battery."""

    battery_level: float = Field(ge=0.0, le=100.0, description="Charge, percent.")
    is_charging: bool = Field(description="Whether it is being charged.")
    power_source: Label | None = Field(None, description="USB, AC, Wireless, Battery, or the device's own word.")


class EnrichedPower(DerivedMessage):
    """The battery's state with how fast it changes; `timestamp` is the reading's. Every reading has one."""

    battery_level: float = Field(ge=0.0, le=100.0, description="Charge, percent.")
    is_charging: bool = Field(description="Whether it is being charged.")
    is_plugged: bool = Field(description="Whether it hangs on a charger, be it full or not.")
    power_source: PowerSource = Field(description="What it runs on.")
    quality: Literal["ok", "jump", "clock_ahead"] = Field(
        description="jump: no battery gets there from the reading before; clock_ahead: of a time that was yet to come."
    )
    rate_percent_per_hour: float | None = Field(None, description="Change of the charge; negative while it drains.")
    rate_seconds: float | None = Field(None, ge=0.0, description="The time over which that was measured, seconds.")
    seconds_to_full: float | None = Field(None, ge=0.0, description="Time to full charge at that rate, seconds.")
    seconds_to_empty: float | None = Field(None, ge=0.0, description="Time to empty at that rate, seconds.")


class ChargingSession(DerivedMessage):
    """A stretch of time on a charger; `timestamp` is when it was plugged in.

    While it lasts only what was true at its beginning is given. A device that hangs on its charger for longer than a
    day has a session for each UTC day.
    """

    is_open: bool = Field(description="Whether it still goes on, as far as is known.")
    ended_at: AwareDatetime | None = Field(None, description="When it was unplugged, or last seen plugged in; UTC.")
    ended_by: Literal["unplugged", "silence", "day"] | None = Field(
        None, description="silence: no reading followed; day: it goes on in the next session."
    )
    duration_seconds: float | None = Field(None, ge=0.0, description="From beginning to end, seconds.")
    power_source: PowerSource = Field(description="What charged it, as its first readings say.")
    start_level: float = Field(ge=0.0, le=100.0, description="Charge at its beginning, percent.")
    end_level: float | None = Field(None, ge=0.0, le=100.0, description="Charge at its end, percent.")
    rate_percent_per_hour: float | None = Field(
        None, description="Speed of charging up to 80 percent, where chargers do not slow down yet."
    )
    full_at: AwareDatetime | None = Field(None, description="When it was seen full, to a quarter of an hour; UTC.")
    latitude: Latitude | None = Field(None, description="Where it began, by a fix near in time; WGS 84, degrees.")
    longitude: Longitude | None = Field(None, description="Where it began, by a fix near in time; WGS 84, degrees.")
    region_name: Label | None = Field(None, description="The saved region that this lies in; the smallest of several.")


class ChargingPlace(Part):
    """A place where a device is charged."""

    name: Label | None = Field(None, description="Name of the saved region; null where there is none.")
    latitude: Latitude = Field(description="Middle of the sessions there; WGS 84, decimal degrees.")
    longitude: Longitude = Field(description="Middle of the sessions there; WGS 84, decimal degrees.")
    share: Share = Field(description="Its share of the sessions whose place is known.")


class ChargingPattern(DerivedMessage):
    """Habits of charging and the battery's wear, as seen at one charging session; `timestamp` is the session's.

    Habits are those of the 28 days up to that moment. The trends are those of the 180 days up to it: a battery that
    wears out charges and drains faster, as the same current is a larger share of what it holds.
    """

    window_start: AwareDatetime = Field(description="Since when habits are looked at, UTC.")
    pattern: Literal["overnight", "daytime", "top_up", "docked", "mixed", "none"] = Field(
        description="What most sessions are like; none: too few of them."
    )
    confidence: Share = Field(description="Share of the sessions that are like that.")
    session_count: Count = Field(description="Charging sessions since then, this one included.")
    typical_start_hour: float | None = Field(None, ge=0.0, lt=24.0, description="Mean hour of plugging in, UTC.")
    start_hour_spread: Share | None = Field(None, description="0: always at that hour; 1: at any hour.")
    typical_duration_seconds: float | None = Field(None, ge=0.0, description="Median length, seconds.")
    mean_start_level: float | None = Field(None, ge=0.0, le=100.0, description="Mean charge at the beginning, percent.")
    mean_end_level: float | None = Field(None, ge=0.0, le=100.0, description="Mean charge at the end, percent.")
    hours: list[Share] = Field(description="For each of the 24 hours UTC: share of days plugged in at some time in it.")
    places: list[ChargingPlace] = Field(description="Where it is charged, the usual place first; five at most.")
    cycles_per_day: float | None = Field(None, ge=0.0, description="Full charges a day that the sessions add up to.")
    charge_rate_percent_per_hour: float | None = Field(None, description="Median speed of charging, up to 80 percent.")
    drain_rate_percent_per_hour: float | None = Field(None, description="Median speed of draining between sessions.")
    charge_trend_percent_per_month: float | None = Field(None, description="Growth of the speed of charging.")
    drain_trend_percent_per_month: float | None = Field(None, description="Growth of the speed of draining.")
    battery_trend: Literal["steady", "fading", "unknown"] = Field(
        description="fading: it charges faster by 0.5 percent a month or more and drains no slower; unknown: too early."
    )
