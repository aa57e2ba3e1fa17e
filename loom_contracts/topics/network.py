"""Topics of the networks and devices around a device, and what they tell of places."""

from typing import Final

from loom_contracts.payloads.network import DevicePresence, EnrichedScan, EnrichedWifi, NetworkStay
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived

WIFI_ENRICHED: Final = Topic(
    "device.network.wifi.enriched",
    EnrichedWifi,
    "States of the Wi-Fi connection with what changed, and where the device was.",
    derived(
        "wifi-enricher",
        event="connected",
        network="home",
        bssid="02:00:5e:10:00:01",
        signal_quality=0.92,
        band="5 GHz",
        channel=36,
        is_open=False,
        hint=None,
        seconds_since_previous=102.0,
        latitude=37.7749,
        longitude=-122.4194,
        accuracy=5.0,
        seconds_to_fix=12.0,
        region_id="3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a01",
        region_name="Home",
        region_kind="home",
    ),
    producers=("wifi-enricher",),
    scope=("timestamp", "source_message_id"),
)
BLUETOOTH_ENRICHED: Final = Topic(
    "device.network.bluetooth.enriched",
    EnrichedScan,
    "Scans for Bluetooth devices with what is new in them.",
    derived(
        "bluetooth-enricher",
        device_count=4,
        connected_count=1,
        paired_count=2,
        named_count=3,
        arrived_count=1,
        left_count=0,
        nearest_name="Headphones",
        nearest_dbm=-48.0,
        connected_names=["Headphones"],
    ),
    producers=("bluetooth-enricher",),
    scope=("timestamp", "source_message_id"),
)
BLUETOOTH_DETECTED: Final = Topic(
    "device.network.bluetooth.detected",
    DevicePresence,
    "From when to when a Bluetooth device was near.",
    derived(
        "bluetooth-presence",
        address="02:00:5e:20:00:01",
        name="Headphones",
        device_class="headset",
        ended_at="2026-01-15T09:10:00.000000Z",
        is_open=False,
        is_continued=False,
        duration_seconds=2_400.0,
        is_own=True,
    ),
    producers=("bluetooth-presence",),
    scope=("timestamp", "device_id", "address"),
)
NETWORK_DETECTED: Final = Topic(
    "location.network.detected",
    NetworkStay,
    "Stays on a Wi-Fi network: from when to when, which tells of a place without a position.",
    derived(
        "network-stays",
        network="home",
        bssid="02:00:5e:10:00:01",
        ended_at="2026-01-15T17:40:00.000000Z",
        is_open=False,
        is_continued=False,
        duration_seconds=33_000.0,
        observed_share=0.98,
        hint=None,
    ),
    producers=("network-stays",),
    scope=("timestamp", "device_id", "network"),
)

NETWORK: Final[tuple[Topic, ...]] = (WIFI_ENRICHED, BLUETOOTH_ENRICHED, BLUETOOTH_DETECTED, NETWORK_DETECTED)
