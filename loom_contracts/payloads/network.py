"""What a device sees of the networks around it."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import Label, Part

SignalDbm = Annotated[float, Field(ge=-150.0, le=50.0)]


class WifiState(Message):
    """State of a device's Wi-Fi connection."""

    connected: bool = Field(description="Whether it is connected.")
    ssid: Label | None = Field(None, description="Name of the network.")
    bssid: Label | None = Field(None, description="Address of the access point.")
    signal_dbm: SignalDbm | None = Field(None, description="Strength of the signal, dBm.")
    frequency_mhz: float | None = Field(None, ge=0.0, le=100_000.0, description="Frequency, megahertz.")
    link_speed_mbps: float | None = Field(None, ge=0.0, description="Speed of the link, megabits per second.")
    ip_address: Label | None = Field(None, description="The device's address in that network.")
    security: Label | None = Field(None, description="How the network is secured, such as WPA3.")


class BluetoothDevice(Part):
    """One device nearby."""

    address: Label = Field(description="Its address, or the identifier that the system gives in its place.")
    name: Label | None = Field(None, description="The name it tells.")
    signal_dbm: SignalDbm | None = Field(None, description="Strength of the signal, dBm.")
    connected: bool | None = Field(None, description="Whether it is connected.")
    paired: bool | None = Field(None, description="Whether it is paired.")
    device_class: Label | None = Field(None, description="Kind of device, such as headset.")


class BluetoothScan(Message):
    """The Bluetooth devices that one scan found."""

    devices: list[BluetoothDevice] = Field(max_length=1_000, description="Those found; empty when there were none.")
    scan_duration_ms: int | None = Field(None, ge=0, le=3_600_000, description="Length of the scan, milliseconds.")


WifiEvent = Literal["connected", "stays", "roamed", "switched", "disconnected", "none"]
NetworkHint = Literal["hotspot", "public"]


class EnrichedWifi(DerivedMessage):
    """A state of the Wi-Fi connection, what changed by it, and where the device was; `timestamp` is the state's."""

    event: WifiEvent = Field(description="What is new: roamed is another access point of the same network.")
    network: str | None = Field(description="The network's name, or its access point's address; null without one.")
    bssid: str | None = Field(description="Address of the access point, in small letters.")
    signal_quality: float | None = Field(ge=0.0, le=1.0, description="0 at -100 dBm or less, 1 at -50 dBm or more.")
    band: str | None = Field(description="2.4 GHz, 5 GHz, 6 GHz or 60 GHz.")
    channel: int | None = Field(description="Number of the channel in its band.")
    is_open: bool | None = Field(description="Whether anybody can join it; null where nothing is told.")
    hint: NetworkHint | None = Field(description="What its name or addresses tell of the network.")
    seconds_since_previous: float | None = Field(description="Since the device's state before, of the last 12 hours.")
    latitude: float | None = Field(description="Of the fix near in time, degrees; null without one.")
    longitude: float | None = Field(description="Of the fix near in time, degrees.")
    accuracy: float | None = Field(description="Of the fix near in time, metres.")
    seconds_to_fix: float | None = Field(description="From the fix to the state; negative where the fix came after.")
    region_id: UUID | None = Field(description="The saved place that the fix lies in; of several, the nearest centre.")
    region_name: str | None = Field(description="Its name.")
    region_kind: str | None = Field(description="home, work or custom.")


class NetworkStay(DerivedMessage):
    """A device was on a Wi-Fi network from `timestamp` on. At midnight (UTC) a stay goes on in another row."""

    network: str = Field(description="The network's name, or its access point's address where it tells none.")
    bssid: str | None = Field(description="The first access point, in small letters.")
    ended_at: AwareDatetime | None = Field(description="When it ended, midnight at the latest; null while it lasts.")
    is_open: bool = Field(description="Whether it still lasts.")
    is_continued: bool = Field(description="Whether it is the rest of a stay that began before midnight (UTC).")
    duration_seconds: float | None = Field(ge=0.0, description="Its length; null while it lasts.")
    observed_share: float | None = Field(
        ge=0.0, le=1.0, description="Share of it with a state at least each half an hour; null while it lasts."
    )
    hint: NetworkHint | None = Field(description="What its name or addresses tell of the network.")


class EnrichedScan(DerivedMessage):
    """A scan for Bluetooth devices, and what is new in it; `timestamp` is the scan's."""

    device_count: int = Field(ge=0, description="Devices nearby.")
    connected_count: int = Field(ge=0, description="Of them connected.")
    paired_count: int = Field(ge=0, description="Of them paired.")
    named_count: int = Field(ge=0, description="Of them with a name.")
    arrived_count: int = Field(ge=0, description="Not seen in the half an hour before.")
    left_count: int = Field(ge=0, description="In the scan before, no older than half an hour, but not here.")
    nearest_name: str | None = Field(description="Name, or else address, of the one with the strongest signal.")
    nearest_dbm: float | None = Field(description="Strength of its signal, dBm.")
    connected_names: list[str] = Field(description="Names, or else addresses, of those connected, in order.")


class DevicePresence(DerivedMessage):
    """A Bluetooth device was near from `timestamp` on. At midnight (UTC) a presence goes on in another row.

    Strangers that pass, or that change their address, have none: a device that is neither paired nor connected has to
    be near for 20 minutes.
    """

    address: str = Field(description="Its address, in small letters, or the identifier that the system gives.")
    name: str | None = Field(description="The last name it told.")
    device_class: str | None = Field(description="Kind of device, such as headset.")
    ended_at: AwareDatetime | None = Field(description="When it was last seen, midnight at the latest; null: near yet.")
    is_open: bool = Field(description="Whether it is near yet.")
    is_continued: bool = Field(description="Whether it is the rest of a presence that began before midnight (UTC).")
    duration_seconds: float | None = Field(ge=0.0, description="Its length; null while it lasts.")
    is_own: bool = Field(description="Whether it was paired or connected.")
