"""What runs on a device, how it was used, and what the device is."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from loom_contracts.payloads.system import AndroidApps, AndroidUsage, DeviceMetadata, MacosApps
from loom_contracts.topic import Topic
from loom_contracts.topics.device_system import APPS_ANDROID_RAW, APPS_ANDROID_USAGE_RAW, APPS_MACOS_RAW, METADATA_RAW
from loom_ingest.accept import parse, services_of, take
from loom_ingest.body import read_json
from loom_ingest.errors import Code
from loom_ingest.openapi import AppsAccepted, AppStats, MetadataAccepted, MetadataTypes, operation
from loom_ingest.route import IngestRoute
from loom_ingest.validation import field_rejection

router = APIRouter(prefix="/system", tags=["system"], route_class=IngestRoute)
information = APIRouter(prefix="/system", tags=["system"])

METADATA_TYPES: Final[dict[str, dict[str, Any]]] = {
    "device_capabilities": {
        "description": "Device hardware and software capabilities",
        "example": {
            "sensors": ["accelerometer", "gyroscope", "gps", "proximity"],
            "cameras": {"front": True, "rear": True, "resolution": "4032x3024"},
            "connectivity": ["wifi", "bluetooth", "cellular", "nfc"],
        },
    },
    "hardware_specs": {
        "description": "Hardware specifications and technical details",
        "example": {
            "cpu": {"model": "Apple M1 Pro", "cores": 10, "frequency": "3.2GHz"},
            "memory": {"total_gb": 16, "type": "LPDDR5"},
            "storage": {"total_gb": 512, "type": "NVMe SSD"},
        },
    },
    "software_config": {
        "description": "OS version, runtime versions, locale settings",
        "example": {"os": "macOS", "os_version": "15.1", "locale": "en_GB", "timezone": "Europe/Berlin"},
    },
    "network_info": {
        "description": "WiFi, cellular, IP address information",
        "example": {"wifi": {"ssid": "home"}, "ip_address": "192.0.2.17"},
    },
    "custom": {
        "description": "Application-specific custom metadata",
        "example": {"app": {"name": "loom-mobile", "version": "0.1.0"}},
    },
}


@router.post("/apps/macos", **operation(APPS_MACOS_RAW, AppsAccepted))
async def macos(request: Request) -> Response:
    """Take the applications that run on a Mac now."""
    return await _accept_apps(request, APPS_MACOS_RAW)


@router.post("/apps/android", **operation(APPS_ANDROID_RAW, AppsAccepted))
async def android(request: Request) -> Response:
    """Take the applications that run on an Android device now."""
    return await _accept_apps(request, APPS_ANDROID_RAW)


@router.post("/apps/android/usage", **operation(APPS_ANDROID_USAGE_RAW, AppsAccepted))
async def android_usage(request: Request) -> Response:
    """Take what Android's UsageStats say of the time since they were last sent."""
    return await _accept_apps(request, APPS_ANDROID_USAGE_RAW)


@router.post("/metadata", **operation(METADATA_RAW, MetadataAccepted))
async def metadata(request: Request) -> Response:
    """Take what a device is, or how it is set; `GET /system/metadata/types` lists the types."""
    body = await read_json(request, services_of(request).settings.max_body_bytes)
    message = parse(DeviceMetadata, body)
    return await take(request, METADATA_RAW, message, metadata_type=message.metadata_type)


@information.get("/apps/stats")
async def app_stats(request: Request) -> AppStats:
    """What is taken of applications, and to which topics."""
    return AppStats(
        app_monitoring_enabled=True,
        max_apps_per_request=services_of(request).settings.max_apps_per_request,
        supported_platforms=["macos", "android"],
        topics={"macos": APPS_MACOS_RAW.name, "android": APPS_ANDROID_RAW.name},
    )


@information.get("/metadata/types")
async def metadata_types(request: Request) -> MetadataTypes:
    """The types of metadata, with an example of each; another type is taken as it is."""
    size = services_of(request).settings.max_body_bytes
    return MetadataTypes(
        supported_types=METADATA_TYPES,
        topic=METADATA_RAW.name,
        max_size=f"{size // 1_048_576}MB" if size >= 1_048_576 else f"{size // 1024}KB",
    )


async def _accept_apps(request: Request, topic: Topic) -> Response:
    settings = services_of(request).settings
    message = parse(topic.payload, await read_json(request, settings.max_body_bytes))
    if isinstance(message, AndroidUsage):
        field, count = "usage_stats", len(message.usage_stats)
    else:
        assert isinstance(message, MacosApps | AndroidApps)  # noqa: S101
        field, count = "running_applications", len(message.running_applications)
    if count > settings.max_apps_per_request:
        raise field_rejection(
            field,
            count,
            Code.TOO_MANY_APPS,
            f"Field '{field}' has {count} items: at most {settings.max_apps_per_request} are taken at once; send the "
            "rest in another request, or raise LOOM_MAX_APPS_PER_REQUEST",
        )
    return await take(request, topic, message, app_count=count)
