"""What each endpoint takes, answers and hands to the broker; in memory and over the real one."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    AUDIO_RAW,
    GENERIC_SENSORS,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
)
from loom_contracts.topics.registry import topic_named
from tests.ingest.conftest import Service

WAV = "UklGRigAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQQAAAAAAAAA"
TYPED: list[tuple[str, str, dict[str, Any]]] = [
    ("/sensor/gps", GPS_RAW.name, {"latitude": 37.7749, "longitude": -122.4194, "accuracy": 5.0}),
    ("/sensor/gps", GPS_RAW.name, {"latitude": -90, "longitude": 180, "heading": 360.0, "speed": 0, "altitude": -1000}),
    ("/sensor/accelerometer", ACCELEROMETER_RAW.name, {"x": 0.5, "y": -0.3, "z": 9.8}),
    ("/sensor/heartrate", HEARTRATE_RAW.name, {"bpm": 72, "confidence": 0.95}),
    ("/sensor/power", POWER_RAW.name, {"battery_level": 85.5, "is_charging": True, "power_source": "USB"}),
    *(
        ("/sensor/generic", t.name, {k: t.example[k] for k in ("sensor_type", "value", "unit", "accuracy")})
        for t in GENERIC_SENSORS
    ),
]


def device() -> str:
    return f"device-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(("path", "topic", "payload"), TYPED)
async def test_a_message_is_answered_and_reaches_its_topic(
    service: Service, path: str, topic: str, payload: dict[str, Any]
) -> None:
    device_id = device()
    before = datetime.now(UTC)
    response = await service.post(path, {"device_id": device_id, **payload})
    assert response.status_code == 201, response.text
    answer = response.json()
    assert list(answer) == ["status", "message_id", "topic"]
    assert (answer["status"], answer["topic"]) == ("success", topic)
    (record,) = service.records(topic, device_id)
    message = json.loads(record.value)
    assert message["message_id"] == answer["message_id"]
    assert message["schema_version"] == "1.0"
    assert {name: message[name] for name in payload} == payload
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", message["timestamp"])
    assert before - timedelta(seconds=1) < datetime.fromisoformat(message["timestamp"]) < datetime.now(UTC)
    Draft202012Validator(topic_named(topic).payload.model_json_schema()).validate(message)


async def test_audio_is_answered_with_its_time(service: Service) -> None:
    device_id = device()
    sent = datetime.now(UTC).replace(microsecond=123_000)
    chunk = {"chunk_data": WAV, "sample_rate": 16_000, "channels": 1, "format": "wav", "duration_ms": 1000}
    response = await service.post(
        "/audio/upload",
        {"device_id": device_id, **chunk, "file_id": str(uuid.uuid4()), "timestamp": sent.isoformat()},
    )
    assert response.status_code == 201, response.text
    answer = response.json()
    assert list(answer) == ["status", "message_id", "topic", "timestamp"]
    assert answer["timestamp"] == sent.strftime("%Y-%m-%dT%H:%M:%S.123Z")
    (record,) = service.records(AUDIO_RAW.name, device_id)
    message = json.loads(record.value)
    assert {name: message[name] for name in chunk} == chunk


async def test_what_the_client_says_of_identity_and_time_is_kept(service: Service) -> None:
    device_id, message_id = device(), str(uuid.uuid4())
    local = datetime.now(UTC).replace(microsecond=456_789).isoformat().replace("+00:00", "+00:00")
    body = {"device_id": device_id, "message_id": message_id, "timestamp": local, "bpm": 60, "extra": "ignored"}
    for _ in range(2):
        response = await service.post("/sensor/heartrate", body)
        assert response.json()["message_id"] == message_id
    records = service.records(HEARTRATE_RAW.name, device_id)
    assert {json.loads(r.value)["message_id"] for r in records} == {message_id}
    message = json.loads(records[0].value)
    assert datetime.fromisoformat(message["timestamp"]) == datetime.fromisoformat(local)
    assert "extra" not in message


async def test_times_are_written_in_utc(service: Service) -> None:
    device_id = device()
    now = datetime.now(UTC).replace(microsecond=0)
    there = (now + timedelta(hours=9)).replace(tzinfo=None).isoformat() + "+09:00"
    await service.post("/sensor/heartrate", {"device_id": device_id, "timestamp": there, "bpm": 60})
    (record,) = service.records(HEARTRATE_RAW.name, device_id)
    text = json.loads(record.value)["timestamp"]
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == now


async def test_the_callers_trace_goes_on(service: Service) -> None:
    device_id, trace_id = device(), uuid.uuid4().hex
    response = await service.post(
        "/sensor/heartrate",
        {"device_id": device_id, "bpm": 60},
        traceparent=f"00-{trace_id}-00f067aa0ba902b7-00",
        X_Request_ID="my-request.1",
    )
    assert response.headers["x-request-id"] == "my-request.1"
    version, trace, span, flags = response.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", trace_id, "00")
    assert span != "00f067aa0ba902b7"
    (record,) = service.records(HEARTRATE_RAW.name, device_id)
    assert dict(record.headers)["traceparent"].decode() == response.headers["traceparent"]
    message = json.loads(record.value)
    assert (message["trace_id"], message["span_id"]) == (trace_id, span)


async def test_a_trace_begins_where_there_is_none(service: Service) -> None:
    first, second = device(), device()
    one = await service.post("/sensor/heartrate", {"device_id": first, "bpm": 60})
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", one.headers["traceparent"])
    assert uuid.UUID(one.headers["x-request-id"]).version == 4
    inside = uuid.uuid4().hex
    two = await service.post("/sensor/heartrate", {"device_id": second, "bpm": 60, "trace_id": inside})
    assert two.headers["traceparent"].split("-")[1] == inside
    (record,) = service.records(HEARTRATE_RAW.name, second)
    assert json.loads(record.value)["trace_id"] == inside


async def test_a_batch_of_mixed_sensors(service: Service) -> None:
    device_id = device()
    items = [
        {
            "device_id": device_id,
            "sensor_type": "temperature",
            "value": {"temp": 25.0, "none": None},
            "unit": "celsius",
        },
        {"device_id": device_id, "sensor_type": "humidity", "value": {"humidity": 60.0}, "unit": "percent"},
        {"device_id": device_id, "sensor_type": "accelerometer", "value": {"x": 0.1, "y": 0.2, "z": 9.8}},
        {"device_id": device_id, "sensor_type": "heartrate", "bpm": 61},
    ]
    response = await service.post("/sensor/batch", items)
    assert response.status_code == 201, response.text
    assert response.json() == {"status": "success", "total": 4, "processed": 4, "failed": 0, "errors": []}
    (temperature,) = service.records("device.sensor.temperature.raw", device_id)
    assert json.loads(temperature.value)["value"] == {"temp": 25.0, "none": None}
    (sample,) = service.records(ACCELEROMETER_RAW.name, device_id)
    assert json.loads(sample.value)["z"] == 9.8
    assert len(service.records(HEARTRATE_RAW.name, device_id)) == 1
    trace = response.headers["traceparent"].split("-")[1]
    assert json.loads(sample.value)["trace_id"] == trace


async def test_a_batch_keeps_what_is_right_and_tells_what_is_wrong(service: Service) -> None:
    device_id = device()
    items = [
        {"device_id": device_id, "sensor_type": "temperature", "value": {"temp": 25.0}},
        {"device_id": "x", "sensor_type": "temperature", "value": {"temp": 25.0}},
        {"device_id": device_id, "sensor_type": "smell", "value": {"roses": 1}},
        {"device_id": device_id, "sensor_type": "accelerometer", "value": {"x": 0.1, "y": 99, "z": 9.8}},
        "nonsense",
        {"device_id": device_id, "sensor_type": "light", "value": {"lux": 1}, "timestamp": "9999-12-31T23:59:59Z"},
        {"device_id": device_id, "sensor_type": "temperature", "value": {"temp": 26.0}},
    ]
    response = await service.post("/sensor/batch", items)
    assert response.status_code == 201
    answer = response.json()
    assert (answer["status"], answer["total"], answer["processed"], answer["failed"]) == ("partial", 7, 2, 5)
    assert [(e["index"], e["code"]) for e in answer["errors"]] == [
        (1, "INVALID_VALUE"),
        (2, "UNKNOWN_SENSOR_TYPE"),
        (3, "OUT_OF_RANGE"),
        (4, "INVALID_TYPE"),
        (5, "TIMESTAMP_OUT_OF_RANGE"),
    ]
    assert answer["errors"][2]["detail"][0]["loc"] == ["body", 3, "y"]
    values = [json.loads(r.value)["value"] for r in service.records("device.sensor.temperature.raw", device_id)]
    assert values == [{"temp": 25.0}, {"temp": 26.0}]
