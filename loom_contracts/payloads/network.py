"""What a device sees of the networks around it."""

from typing import Annotated

from pydantic import Field

from loom_contracts.message import Message
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
