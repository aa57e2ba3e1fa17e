"""Topics of pictures, networks, applications and the device itself."""

from datetime import timedelta
from typing import Final

from loom_contracts.payloads.image import CameraImage, ScreenKeyframe
from loom_contracts.payloads.network import BluetoothScan, WifiState
from loom_contracts.payloads.system import (
    AndroidApps,
    AndroidUsage,
    DeviceMetadata,
    MacosApps,
    ReconciledUsage,
    Unrecognized,
)
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import PNG, derived, message

CAMERA_RAW: Final = Topic(
    "device.image.camera.raw",
    CameraImage,
    "Photos from cameras, and screenshots.",
    message(
        image_data=PNG,
        format="png",
        width_px=1,
        height_px=1,
        kind="photo",
        camera="rear",
        orientation_deg=0,
        latitude=37.7749,
        longitude=-122.4194,
        file_name="IMG_0001.png",
        trigger="manual",
    ),
    compression="lz4",
    consumers=("landing-device-image-camera-raw", "image-preprocessing", "minicpm-vision"),
)
SCREEN_RAW: Final = Topic(
    "device.video.screen.raw",
    ScreenKeyframe,
    "Keyframes of screen recordings.",
    message(
        frame_data=PNG,
        format="png",
        width_px=1,
        height_px=1,
        recording_id="rec-20260115-083000",
        frame_number=12,
        display="main",
        app_identifier="com.apple.Preview",
        window_title="report.pdf",
    ),
    compression="lz4",
    consumers=("landing-device-video-screen-raw", "minicpm-vision", "yolo-video"),
)
APPS_MACOS_RAW: Final = Topic(
    "device.system.apps.macos.raw",
    MacosApps,
    "Applications that run on a Mac.",
    message(
        running_applications=[
            {
                "pid": 390,
                "name": "Preview",
                "bundle_id": "com.apple.Preview",
                "active": True,
                "hidden": False,
                "launch_date": 1750358324.0742068,
            }
        ]
    ),
    consumers=("landing-device-system-apps-macos-raw",),
)
APPS_ANDROID_RAW: Final = Topic(
    "device.system.apps.android.raw",
    AndroidApps,
    "Applications that run on an Android device.",
    message(
        running_applications=[
            {
                "pid": 1234,
                "name": "Chrome",
                "package_name": "com.android.chrome",
                "active": True,
                "hidden": False,
                "launch_date": 1750358324.074,
                "version_code": 5735110,
                "version_name": "119.0.6045.193",
            }
        ]
    ),
    consumers=("landing-device-system-apps-android-raw",),
)
APPS_ANDROID_USAGE_RAW: Final = Topic(
    "device.system.apps.android.usage.raw",
    AndroidUsage,
    "How applications were used on an Android device, as its UsageStats tell.",
    message(
        aggregation_period_start="2026-01-15T07:30:00.000000Z",
        aggregation_period_end="2026-01-15T08:30:00.000000Z",
        usage_stats=[
            {
                "package_name": "com.android.chrome",
                "app_name": "Chrome",
                "total_time_foreground_ms": 754_000,
                "launch_count": 5,
                "last_used_at": "2026-01-15T08:21:07.000000Z",
            }
        ],
    ),
    consumers=("landing-device-system-apps-android-usage-raw", "app-usage-reconciler"),
)
APPS_ANDROID_USAGE_RECONCILED: Final = Topic(
    "device.system.apps.android.usage.reconciled",
    ReconciledUsage,
    "How long applications were in front, by UsageStats and by events, and which of the two is believed.",
    derived(
        "app-usage-reconciler",
        app_identifier="com.android.chrome",
        app_name="Chrome",
        app_category="browser",
        period_start="2026-01-15T07:30:00.000000Z",
        period_end="2026-01-15T08:30:00.000000Z",
        usage_seconds=754.0,
        events_seconds=312.5,
        believed="usage",
        reason="differ",
        seconds=754.0,
        launch_count=5,
    ),
    producers=("app-usage-reconciler",),
    scope=("timestamp", "device_id", "source_message_id"),
)
METADATA_RAW: Final = Topic(
    "device.metadata.raw",
    DeviceMetadata,
    "Capabilities, hardware, software and settings of a device.",
    message(metadata_type="hardware_specs", metadata={"cpu": {"model": "Apple M1 Pro", "cores": 10}}),
    retention=timedelta(days=90),
    consumers=("landing-device-metadata-raw",),
)
UNRECOGNIZED_RAW: Final = Topic(
    "device.unrecognized.raw",
    Unrecognized,
    "What clients of other makers sent and Loom could not read.",
    message(client="owntracks", reason="device.sensor.gps.raw: Missing required field: latitude", body='{"lon": 13.4}'),
    consumers=("landing-device-unrecognized-raw",),
)
WIFI_RAW: Final = Topic(
    "device.network.wifi.raw",
    WifiState,
    "State of the Wi-Fi connection.",
    message(
        connected=True,
        ssid="home",
        bssid="02:00:5e:10:00:01",
        signal_dbm=-54.0,
        frequency_mhz=5180.0,
        link_speed_mbps=433.0,
        ip_address="192.0.2.17",
        security="WPA3",
    ),
    consumers=("landing-device-network-wifi-raw", "wifi-enricher", "network-stays"),
)
BLUETOOTH_RAW: Final = Topic(
    "device.network.bluetooth.raw",
    BluetoothScan,
    "Bluetooth devices nearby.",
    message(
        devices=[
            {
                "address": "02:00:5e:10:00:02",
                "name": "Headset",
                "signal_dbm": -61.0,
                "connected": True,
                "paired": True,
                "device_class": "headset",
            }
        ],
        scan_duration_ms=10_000,
    ),
    consumers=("landing-device-network-bluetooth-raw", "bluetooth-enricher", "bluetooth-presence"),
)
