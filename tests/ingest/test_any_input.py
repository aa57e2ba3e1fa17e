"""Whatever is sent: an answer of the contract, and on the broker only what the contract and PostgreSQL can hold."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    AUDIO_RAW,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
    TEMPERATURE_RAW,
)
from loom_contracts.topics.registry import topic_named
from loom_ingest.app import create_app
from loom_ingest.settings import Settings
from tests.ingest.memory import MemoryProducer

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-200, 200),
    st.floats(),
    st.floats(-200, 200),
    st.text(max_size=20),
    st.sampled_from(
        ["", "\x00", "wav", "light", "gps", "phone-001", "AAAA", "2026-01-01T00:00:00Z", "1.0", "9.9", "NaN"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TOPICS = (GPS_RAW, ACCELEROMETER_RAW, HEARTRATE_RAW, POWER_RAW, TEMPERATURE_RAW, AUDIO_RAW)
NAMES = sorted({"data", *(name for topic in TOPICS for name in topic.payload.model_fields)} - {"device_id"})
VALID: dict[str, dict[str, Any]] = {
    "/sensor/gps": {"latitude": 1.5, "longitude": 2.5},
    "/sensor/accelerometer": {"x": 1, "y": 2, "z": 3},
    "/sensor/heartrate": {"bpm": 60},
    "/sensor/power": {"battery_level": 5, "is_charging": False},
    "/sensor/generic": {"sensor_type": "light", "value": {"lux": 3}},
    "/audio/upload": {"chunk_data": "AAAA", "sample_rate": 16_000, "channels": 1, "format": "wav", "duration_ms": 1},
}
CHANGES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)
DEVICES = st.one_of(st.just("phone-001"), VALUES)


async def send(path: str, body: bytes) -> tuple[httpx.Response, MemoryProducer]:
    producer = MemoryProducer()
    app = create_app(Settings(), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.post(path, content=body, headers={"Content-Type": "application/json"}), producer


def check(producer: MemoryProducer) -> None:
    for record in producer.records:
        assert b"\\u0000" not in record.value.replace(b"\\\\", b"")
        message = json.loads(record.value, parse_constant=lambda name: pytest.fail(f"{name} on the broker"))
        record.value.decode()
        Draft202012Validator(topic_named(record.topic).payload.model_json_schema()).validate(message)


@pytest.mark.parametrize("path", list(VALID))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device_id=DEVICES, changes=CHANGES)
async def test_any_message(path: str, device_id: Any, changes: dict[str, Any]) -> None:
    response, producer = await send(path, json.dumps({"device_id": device_id, **VALID[path], **changes}).encode())
    assert response.status_code in {201, 400, 422}, response.text
    assert len(producer.records) == (response.status_code == 201)
    assert response.json()["status"] == ("success" if response.status_code == 201 else "error")
    check(producer)


@settings(max_examples=60, deadline=None)
@given(items=st.lists(CHANGES | VALUES, max_size=5))
async def test_any_batch(items: list[Any]) -> None:
    base = {"device_id": "phone-001", "sensor_type": "light", "value": {"lux": 3}}
    items = [base | item if isinstance(item, dict) else item for item in items]
    response, producer = await send("/sensor/batch", json.dumps(items).encode())
    assert response.status_code in {201, 400, 422}, response.text
    answer = response.json()
    if response.status_code == 201:
        assert answer["processed"] == len(producer.records)
        assert answer["processed"] + answer["failed"] == len(items) == answer["total"]
    check(producer)


@pytest.mark.parametrize("path", [*VALID, "/sensor/batch"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=50))
async def test_any_bytes(path: str, body: bytes) -> None:
    response, producer = await send(path, body)
    assert response.status_code in {201, 400, 422}, response.text
    check(producer)
