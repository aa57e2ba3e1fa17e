"""What is refused, how it is said, and that nothing of it reaches the broker or the log."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from loom_ingest.settings import Settings
from tests.ingest.memory import MemoryProducer

GPS = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}
SECRET = "S3cretPayl0ad"


async def post(
    client: httpx.AsyncClient, path: str, body: Any, content_type: str = "application/json"
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(path, content=content, headers={"Content-Type": content_type})


def assert_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    assert (response.status_code, answer["code"]) == (status, code), answer
    assert answer["status"] == "error"
    assert answer["request_id"] == response.headers["x-request-id"]
    assert abs(datetime.fromisoformat(answer["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=10)
    assert isinstance(answer["message"], str)
    assert isinstance(answer["details"], dict)
    return answer


FIELDS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("/sensor/gps", {"latitude": 91.0}, "OUT_OF_RANGE", "latitude", "91"),
    ("/sensor/gps", {"latitude": -90.01}, "OUT_OF_RANGE", "latitude", "-90.01"),
    ("/sensor/gps", {"longitude": 180.5}, "OUT_OF_RANGE", "longitude", "180"),
    ("/sensor/gps", {"altitude": 20_001}, "OUT_OF_RANGE", "altitude", "20001"),
    ("/sensor/gps", {"altitude": -1_001}, "OUT_OF_RANGE", "altitude", "-1001"),
    ("/sensor/gps", {"accuracy": -1}, "OUT_OF_RANGE", "accuracy", "-1"),
    ("/sensor/gps", {"accuracy": 10_001}, "OUT_OF_RANGE", "accuracy", "10000"),
    ("/sensor/gps", {"heading": 361}, "OUT_OF_RANGE", "heading", "360"),
    ("/sensor/gps", {"speed": 200.1}, "OUT_OF_RANGE", "speed", "200"),
    ("/sensor/gps", {"latitude": "north"}, "INVALID_TYPE", "latitude", "expected float, got string"),
    ("/sensor/gps", {"latitude": "37.7"}, "INVALID_TYPE", "latitude", "expected float, got string"),
    ("/sensor/gps", {"latitude": None}, "INVALID_TYPE", "latitude", "expected float, got null"),
    ("/sensor/gps", {"latitude": True}, "INVALID_TYPE", "latitude", "expected float, got boolean"),
    ("/sensor/gps", {"latitude": [1.0]}, "INVALID_TYPE", "latitude", "expected float, got array"),
    ("/sensor/gps", {"latitude": float("nan")}, "INVALID_VALUE", "latitude", "nan"),
    ("/sensor/gps", {"speed": float("inf")}, "INVALID_VALUE", "speed", "inf"),
    ("/sensor/gps", {"device_id": "ab"}, "INVALID_VALUE", "device_id", "3 to 64"),
    ("/sensor/gps", {"device_id": "a" * 65}, "INVALID_VALUE", "device_id", "3 to 64"),
    ("/sensor/gps", {"device_id": "my phone"}, "INVALID_VALUE", "device_id", "3 to 64"),
    ("/sensor/gps", {"device_id": "phöne-1"}, "INVALID_VALUE", "device_id", "3 to 64"),
    ("/sensor/gps", {"device_id": "phone\x00-1"}, "INVALID_VALUE", "device_id", "NUL"),
    ("/sensor/gps", {"device_id": 17}, "INVALID_TYPE", "device_id", "expected string, got integer"),
    ("/sensor/gps", {"message_id": "one"}, "INVALID_VALUE", "message_id", "'one'"),
    ("/sensor/gps", {"timestamp": "9999-12-31T23:59:59.999Z"}, "TIMESTAMP_OUT_OF_RANGE", "timestamp", "24 hours"),
    ("/sensor/gps", {"timestamp": "9999-12-31T23:59:59-12:00"}, "TIMESTAMP_OUT_OF_RANGE", "timestamp", "24 hours"),
    ("/sensor/gps", {"timestamp": "0001-01-01T00:00:00+14:00"}, "TIMESTAMP_OUT_OF_RANGE", "timestamp", "24 hours"),
    ("/sensor/gps", {"timestamp": "2024-01-01T00:00:00.000Z"}, "TIMESTAMP_OUT_OF_RANGE", "timestamp", "2024-01-01"),
    ("/sensor/gps", {"timestamp": "yesterday"}, "INVALID_VALUE", "timestamp", "'yesterday'"),
    ("/sensor/gps", {"timestamp": 1_750_358_324}, "INVALID_TYPE", "timestamp", "ISO 8601"),
    ("/sensor/gps", {"timestamp": "2026-01-01T00:00:00"}, "INVALID_VALUE", "timestamp", "UTC with a Z"),
    ("/sensor/gps", {"schema_version": "2.0"}, "UNKNOWN_SCHEMA_VERSION", "schema_version", "1.x"),
    ("/sensor/gps", {"schema_version": "latest"}, "INVALID_VALUE", "schema_version", "'latest'"),
    ("/sensor/gps", {"trace_id": "0"}, "INVALID_VALUE", "trace_id", "'0'"),
    ("/sensor/accelerometer", {"x": 50.1, "y": 0, "z": 0}, "OUT_OF_RANGE", "x", "50.1"),
    ("/sensor/accelerometer", {"x": 0, "y": 0, "z": -51}, "OUT_OF_RANGE", "z", "-51"),
    ("/sensor/accelerometer", {"x": 0, "y": 0}, "MISSING_FIELD", "z", "Missing required field: z"),
    ("/sensor/heartrate", {"bpm": 29}, "OUT_OF_RANGE", "bpm", "29"),
    ("/sensor/heartrate", {"bpm": 251}, "OUT_OF_RANGE", "bpm", "250"),
    ("/sensor/heartrate", {"bpm": 72.5}, "INVALID_TYPE", "bpm", "expected integer"),
    ("/sensor/heartrate", {"bpm": 10**30}, "OUT_OF_RANGE", "bpm", "250"),
    ("/sensor/heartrate", {"bpm": 60, "confidence": 1.1}, "OUT_OF_RANGE", "confidence", "1.1"),
    ("/sensor/power", {"battery_level": 100.1, "is_charging": True}, "OUT_OF_RANGE", "battery_level", "100.1"),
    ("/sensor/power", {"battery_level": 10, "is_charging": "yes"}, "INVALID_TYPE", "is_charging", "expected boolean"),
    ("/sensor/power", {"battery_level": 10, "is_charging": 1}, "INVALID_TYPE", "is_charging", "expected boolean"),
    (
        "/sensor/power",
        {"battery_level": 10, "is_charging": True, "power_source": "U\x00SB"},
        "INVALID_VALUE",
        "power_source",
        "NUL",
    ),
    ("/sensor/generic", {"sensor_type": "smell", "value": {}}, "UNKNOWN_SENSOR_TYPE", "sensor_type", "temperature"),
    ("/sensor/generic", {"sensor_type": 5, "value": {}}, "INVALID_TYPE", "sensor_type", "expected string"),
    ("/sensor/generic", {"sensor_type": "light"}, "MISSING_FIELD", "value", "Missing required field: value"),
    ("/sensor/generic", {"sensor_type": "light", "value": 5}, "INVALID_TYPE", "value", "expected object, got integer"),
    (
        "/sensor/generic",
        {"sensor_type": "light", "value": {"a": {"b": [0, "\x00"]}}},
        "INVALID_VALUE",
        "value",
        "a.b[1]",
    ),
    ("/sensor/generic", {"sensor_type": "light", "value": {"a": float("nan")}}, "INVALID_VALUE", "value", "finite"),
    ("/sensor/generic", {"sensor_type": "gps", "value": {"latitude": 1}}, "MISSING_FIELD", "longitude", "longitude"),
]


@pytest.mark.parametrize(("path", "changes", "code", "field", "says"), FIELDS)
async def test_a_wrong_field_is_named_with_its_value_and_remedy(
    client: httpx.AsyncClient,
    producer: MemoryProducer,
    path: str,
    changes: dict[str, Any],
    code: str,
    field: str,
    says: str,
) -> None:
    base = GPS if path == "/sensor/gps" else {"device_id": "phone-001"}
    answer = assert_error(await post(client, path, base | changes), 422, code)
    assert says in answer["message"]
    assert field in answer["message"]
    assert field in answer["details"]
    (item,) = answer["detail"]
    assert item["loc"] == ["body", field]
    assert set(item) == {"type", "loc", "msg", "input", "ctx"}
    assert producer.records == []


@pytest.mark.parametrize("path", ["/sensor/gps", "/sensor/generic", "/sensor/batch", "/audio/upload"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"device_id": "phone-001",}',
        b"{'device_id': 'phone-001'}",
        b"device_id=phone-001",
        b'{"device_id": "phone\x00-1"}',
        b'{"device_id": "\\ud800"}',
        b'{"device_id": "\\ud800abc", "latitude": 1, "longitude": 2}',
        b'{"device_id": "\xff\xfe"}',
        b'{"device_id": "\xed\xa0\x80abc"}',
        b"[" * 10_000,
        b'{"device_id": "phone-001"} trailing',
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00",
    ],
)
async def test_what_is_not_json_is_400(
    client: httpx.AsyncClient, producer: MemoryProducer, path: str, body: bytes
) -> None:
    answer = assert_error(await post(client, path, body), 400, "MALFORMED_JSON")
    assert "detail" not in answer
    assert producer.records == []


@pytest.mark.parametrize("path", ["/sensor/gps", "/sensor/generic", "/audio/upload"])
@pytest.mark.parametrize("body", [[], None, 5, "text", True])
async def test_json_that_is_no_object_is_422(client: httpx.AsyncClient, path: str, body: Any) -> None:
    answer = assert_error(await post(client, path, body), 422, "INVALID_TYPE")
    assert "expected object" in answer["message"]


@pytest.mark.parametrize("body", [{}, None, 5, "text"])
async def test_a_batch_that_is_no_array_is_422(client: httpx.AsyncClient, body: Any) -> None:
    answer = assert_error(await post(client, "/sensor/batch", body), 422, "INVALID_TYPE")
    assert "expected array" in answer["message"]


async def test_every_problem_is_listed(client: httpx.AsyncClient) -> None:
    answer = assert_error(await post(client, "/sensor/gps", {"latitude": -91.5}), 422, "MISSING_FIELD")
    assert [item["loc"][1] for item in answer["detail"]] == ["device_id", "latitude", "longitude"]
    latitude = answer["detail"][1]
    assert (latitude["input"], latitude["ctx"]) == (-91.5, {"ge": -90.0})
    assert "2 more" in answer["message"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
    ],
)
async def test_another_media_type_is_415(client: httpx.AsyncClient, content_type: str) -> None:
    assert_error(await post(client, "/sensor/gps", GPS, content_type), 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", "application/vnd.loom+json", "APPLICATION/JSON"]
)
async def test_json_by_another_name_is_taken(client: httpx.AsyncClient, content_type: str) -> None:
    assert (await post(client, "/sensor/gps", GPS, content_type)).status_code == 201


async def test_no_media_type_is_taken_as_json(client: httpx.AsyncClient) -> None:
    assert (await client.post("/sensor/gps", content=json.dumps(GPS).encode())).status_code == 201


@pytest.mark.parametrize(
    ("path", "limit"), [("/sensor/gps", 2**20), ("/sensor/batch", 2**20), ("/audio/upload", 15 * 2**20)]
)
async def test_an_oversized_body_is_413(client: httpx.AsyncClient, path: str, limit: int) -> None:
    response = await post(client, path, b" " * (limit + 1))
    answer = assert_error(response, 413, "PAYLOAD_TOO_LARGE")
    assert str(limit) in answer["message"]
    assert response.headers["connection"] == "close"


async def test_an_oversized_chunked_body_is_413_before_it_ends(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 2**16
            yield b" " * 2**16

    response = await client.post("/sensor/gps", content=endless(), headers={"Content-Type": "application/json"})
    assert_error(response, 413, "PAYLOAD_TOO_LARGE")


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    assert_error(await client.get("/nowhere/at/all"), 404, "NOT_FOUND")
    response = await client.get("/sensor/gps")
    assert_error(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "OPTIONS, POST"
    assert_error(await client.delete("/healthz"), 405, "METHOD_NOT_ALLOWED")


async def test_a_batch_is_bounded(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    item = {"device_id": "sensor-001", "sensor_type": "temperature", "value": {"temp": 1.0}}
    assert (await post(client, "/sensor/batch", [item] * 100)).status_code == 201
    producer.records.clear()
    answer = assert_error(await post(client, "/sensor/batch", [item] * 101), 422, "BATCH_TOO_LONG")
    assert answer["details"] == {"limit": 100, "items": 101}
    assert producer.records == []
    assert (await post(client, "/sensor/batch", [])).json()["total"] == 0


async def test_a_batch_without_a_valid_item_is_422(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    answer = assert_error(await post(client, "/sensor/batch", [{"device_id": "a"}, 3]), 422, "BATCH_REJECTED")
    assert (answer["total"], answer["processed"], answer["failed"]) == (2, 0, 2)
    assert [error["index"] for error in answer["errors"]] == [0, 1]
    assert producer.records == []


async def test_the_tolerance_of_time_is_a_setting(producer: MemoryProducer) -> None:
    from loom_ingest.app import create_app

    old = GPS | {"timestamp": "2024-01-01T12:00:00Z"}
    app = create_app(Settings(timestamp_tolerance_hours=0), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await post(client, "/sensor/gps", old)).status_code == 201
        unutterable = GPS | {"timestamp": "0001-01-01T00:00:00+14:00"}
        assert_error(await post(client, "/sensor/gps", unutterable), 422, "TIMESTAMP_OUT_OF_RANGE")
    assert producer.messages[0]["timestamp"] == "2024-01-01T12:00:00Z"


async def test_no_payload_reaches_the_log_or_a_crash_report(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    with capture_logs() as logs:
        await post(client, "/sensor/gps", GPS | {"latitude": SECRET})
        await post(client, "/sensor/gps", {SECRET: SECRET})
        await post(
            client, "/sensor/generic", {"device_id": SECRET + " ", "sensor_type": SECRET, "value": {SECRET: "\x00"}}
        )
        await post(client, "/audio/upload", {"chunk_data": SECRET + "!", "data": SECRET})
        await client.get(f"/{SECRET}")
        producer.failure = RuntimeError(f"cannot serialise {SECRET}")
        assert_error(await post(client, "/sensor/gps", GPS), 500, "INTERNAL_ERROR")
    logs = [line for line in logs if line["log_level"] != "debug"]
    assert len(logs) == 6
    assert SECRET not in json.dumps(logs)
    assert logs[-1]["event"] == "request_failed"
    assert logs[-1]["error_type"] == "RuntimeError"
    assert all(line["request_id"] and line["trace_id"] for line in logs)
