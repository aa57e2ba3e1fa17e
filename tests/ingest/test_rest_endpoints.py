"""The endpoints of the other raw topics: every one takes its topic's example, and refuses what is not."""

import json
import uuid
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from loom_contracts.topic import Topic
from loom_contracts.topics.device import BAROMETER_RAW, STEPS_RAW, TEMPERATURE_RAW
from loom_contracts.topics.device_system import (
    APPS_ANDROID_RAW,
    APPS_ANDROID_USAGE_RAW,
    APPS_MACOS_RAW,
    BLUETOOTH_RAW,
    CAMERA_RAW,
    METADATA_RAW,
    SCREEN_RAW,
    WIFI_RAW,
)
from loom_contracts.topics.digital import CLIPBOARD_RAW, WEB_ANALYTICS_RAW
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, NOTIFICATIONS_RAW, SYSTEM_EVENTS_RAW
from loom_contracts.topics.task import URL_INGEST
from loom_ingest.app import create_app
from loom_ingest.settings import Settings
from tests.ingest.conftest import Service
from tests.ingest.memory import MemoryProducer

ENDPOINTS: dict[str, Topic] = {
    "/sensor/steps": STEPS_RAW,
    "/sensor/barometer": BAROMETER_RAW,
    "/sensor/temperature": TEMPERATURE_RAW,
    "/sensor/wifi": WIFI_RAW,
    "/sensor/bluetooth": BLUETOOTH_RAW,
    "/images/camera": CAMERA_RAW,
    "/images/screenshot": CAMERA_RAW,
    "/images/screen": SCREEN_RAW,
    "/os-events/app-lifecycle": APP_LIFECYCLE_RAW,
    "/os-events/system": SYSTEM_EVENTS_RAW,
    "/os-events/notifications": NOTIFICATIONS_RAW,
    "/system/apps/macos": APPS_MACOS_RAW,
    "/system/apps/android": APPS_ANDROID_RAW,
    "/system/apps/android/usage": APPS_ANDROID_USAGE_RAW,
    "/system/metadata": METADATA_RAW,
    "/digital/clipboard": CLIPBOARD_RAW,
    "/digital/web-analytics": WEB_ANALYTICS_RAW,
    "/tasks/url": URL_INGEST,
}
EXTRA: dict[str, dict[str, Any]] = {
    "/system/apps/macos": {"app_count": 1},
    "/system/apps/android": {"app_count": 1},
    "/system/apps/android/usage": {"app_count": 1},
    "/system/metadata": {"metadata_type": "hardware_specs"},
}


def example(topic: Topic, **changes: Any) -> dict[str, Any]:
    """A new message of `topic`, as a device sends it."""
    envelope = {"schema_version", "message_id", "timestamp", "trace_id", "span_id"}
    body = {k: v for k, v in topic.example.items() if k not in envelope}
    return body | {"device_id": f"device-{uuid.uuid4().hex[:12]}"} | changes


def kept(topic: Topic, message: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return topic.payload.model_validate_json(json.dumps(message)).model_dump(include=names)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_the_example_of_its_topic_is_taken(service: Service, path: str) -> None:
    topic = ENDPOINTS[path]
    body = example(topic)
    response = await service.post(path, body)
    assert response.status_code == 201, response.text
    answer = response.json()
    identity = answer.pop("message_id")
    assert answer == {"status": "success", "topic": topic.name, **EXTRA.get(path, {})}
    (record,) = service.records(topic.name, body["device_id"])
    message = json.loads(record.value)
    assert message["message_id"] == identity
    assert kept(topic, message, set(body)) == kept(topic, body, set(body))
    Draft202012Validator(topic.payload.model_json_schema()).validate(message)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_what_is_missing_is_told(client: httpx.AsyncClient, producer: MemoryProducer, path: str) -> None:
    response = await client.post(path, json={"device_id": "phone-001"})
    answer = response.json()
    assert (response.status_code, answer["code"]) == (422, "MISSING_FIELD"), answer
    assert answer["detail"][0]["loc"][0] == "body"
    assert producer.records == []


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        ("/os-events/app-lifecycle", {"event_type": "sleep"}, "event_type"),
        ("/os-events/app-lifecycle", {"duration_seconds": -1}, "duration_seconds"),
        ("/os-events/system", {"event_type": "screen_dim"}, "event_type"),
        ("/os-events/system", {"event_category": "weather"}, "event_category"),
        ("/system/metadata", {"metadata": "text"}, "metadata"),
        ("/sensor/steps", {"steps": -1}, "steps"),
        ("/images/camera", {"image_data": "no base64!"}, "image_data"),
        ("/images/screen", {"format": "bmp"}, "format"),
        ("/tasks/url", {"url": ""}, "url"),
        ("/sensor/temperature", {"sensor_type": "humidity"}, "sensor_type"),
        ("/sensor/temperature", {"value": "warm"}, "value"),
        ("/sensor/temperature", {"value": True}, "value"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, producer: MemoryProducer, path: str, changes: dict[str, Any], field: str
) -> None:
    response = await client.post(path, json=example(ENDPOINTS[path], **changes))
    assert response.status_code == 422, response.text
    assert field in response.json()["details"]
    assert producer.records == []


APP = {"pid": 390, "name": "Preview", "bundle_id": "com.apple.Preview", "active": True, "hidden": False}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pid": 0}, "running_applications.0.pid"),
        ({"pid": -3}, "running_applications.0.pid"),
        ({"bundle_id": "com apple"}, "running_applications.0.bundle_id"),
        ({"launch_date": "yesterday"}, "running_applications.0.launch_date"),
        ({"active": "yes"}, "running_applications.0.active"),
    ],
)
async def test_rules_of_applications(client: httpx.AsyncClient, changes: dict[str, Any], field: str) -> None:
    body = {"device_id": "macbook-001", "running_applications": [APP | changes]}
    response = await client.post("/system/apps/macos", json=body)
    assert response.status_code == 422
    assert field in response.json()["details"]


async def test_at_most_100_applications(client: httpx.AsyncClient) -> None:
    apps = [APP | {"bundle_id": "unknown", "launch_date": None}] * 100
    body = {"device_id": "macbook-001", "running_applications": apps}
    response = await client.post("/system/apps/macos", json=body)
    assert (response.status_code, response.json()["app_count"]) == (201, 100)
    response = await client.post("/system/apps/macos", json=body | {"running_applications": [*apps, APP]})
    assert (response.status_code, response.json()["code"]) == (422, "TOO_MANY_APPS")


async def test_how_many_applications_is_a_setting(producer: MemoryProducer) -> None:
    app = create_app(Settings(max_apps_per_request=1), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        body = {"device_id": "macbook-001", "running_applications": [APP, APP]}
        assert (await client.post("/system/apps/macos", json=body)).status_code == 422
        assert (await client.get("/system/apps/stats")).json()["max_apps_per_request"] == 1


async def test_statistics_of_applications_are_the_guides(client: httpx.AsyncClient) -> None:
    assert (await client.get("/system/apps/stats")).json() == {
        "app_monitoring_enabled": True,
        "max_apps_per_request": 100,
        "supported_platforms": ["macos", "android"],
        "topics": {"macos": "device.system.apps.macos.raw", "android": "device.system.apps.android.raw"},
    }


async def test_types_of_metadata_are_the_guides(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    answer = (await client.get("/system/metadata/types")).json()
    types = ["device_capabilities", "hardware_specs", "software_config", "network_info", "custom"]
    assert list(answer["supported_types"]) == types
    assert (answer["topic"], answer["max_size"]) == ("device.metadata.raw", "1MB")
    for name, described in answer["supported_types"].items():
        assert described["description"]
        body = {"device_id": "phone-001", "metadata_type": name, "metadata": described["example"]}
        assert (await client.post("/system/metadata", json=body)).json()["metadata_type"] == name
    assert len(producer.records) == 5


async def test_a_bare_number_is_a_reading(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    for path, number in (("/sensor/temperature", 21), ("/sensor/barometer", 1013.25)):
        response = await client.post(path, json={"device_id": "sensor-001", "value": number})
        assert response.status_code == 201, response.text
    one, two = producer.messages
    assert (one["sensor_type"], one["value"]) == ("temperature", {"temperature": 21})
    assert (two["sensor_type"], two["value"]) == ("barometer", {"pressure": 1013.25})


# Pictures and files

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


async def test_a_photo_as_a_form(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    response = await client.post(
        "/images/camera",
        data={"device_id": "phone-001", "width_px": "640", "latitude": "1.5", "camera": "rear"},
        files={"file": ("IMG_1.PNG", PNG, "image/png")},
    )
    assert response.status_code == 201, response.text
    (message,) = producer.messages
    assert message["image_data"] == "iVBORw0KGgoAAAANSUhEUg=="
    assert (message["format"], message["file_name"], message["kind"]) == ("png", "IMG_1.PNG", "photo")
    assert (message["width_px"], message["latitude"], message["camera"]) == (640, 1.5, "rear")


async def test_a_screenshot_is_one_unless_it_says_otherwise(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    files = {"file": ("shot.jpg", b"\xff\xd8\xff", "application/octet-stream")}
    for fields in ({}, {"kind": "photo"}):
        response = await client.post("/images/screenshot", data={"device_id": "phone-001", **fields}, files=files)
        assert response.status_code == 201, response.text
    assert [m["kind"] for m in producer.messages] == ["screenshot", "photo"]
    assert [m["format"] for m in producer.messages] == ["jpeg", "jpeg"]


async def test_a_picture_as_a_page_has_it(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    for body in (
        {"data": "data:image/webp;base64,UklGRg=="},
        {"data": "UklGRg"},
        {"image_data": "UklGRg==", "format": "webp"},
    ):
        assert (await client.post("/images/camera", json={"device_id": "phone-001", **body})).status_code == 201
    assert {(m["image_data"], m["format"]) for m in producer.messages} == {("UklGRg==", "webp")}


async def test_audio_as_a_form(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    fields = {"device_id": "microphone-001", "sample_rate": "16000"}
    response = await client.post("/audio/upload", data=fields, files={"file": ("a.flac", b"x" * 32_000, "audio/flac")})
    assert response.status_code == 201, response.text
    (message,) = producer.messages
    assert (message["format"], message["channels"], message["duration_ms"]) == ("flac", 1, 1000)


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("multipart/form-data", b"--x--", "MALFORMED_FORM"),
        ("multipart/form-data; boundary=x", b"no form", "MALFORMED_FORM"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb',
            "MALFORMED_FORM",
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nb\r\n--x--\r\n", "MALFORMED_FORM"),
        ("multipart/form-data; boundary=x", b"", "MALFORMED_FORM"),
    ],
)
async def test_a_broken_form(
    client: httpx.AsyncClient, producer: MemoryProducer, content_type: str, body: bytes, code: str
) -> None:
    response = await client.post("/images/camera", content=body, headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["code"]) == (400, code), response.text
    assert producer.records == []


async def test_a_form_names_what_is_wrong(client: httpx.AsyncClient) -> None:
    response = await client.post("/images/camera", data={"device_id": "phone-001"}, files={"file": ("a.bmp", b"BM")})
    assert response.status_code == 422
    assert "format" in response.json()["details"]
    response = await client.post("/sensor/gps", data={"device_id": "phone-001"}, files={"file": ("a", b"b")})
    assert response.status_code == 415
