"""Compressed bodies, retries, and the media type of errors."""

import gzip
import json
import uuid
import zlib
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import zstandard

from tests.ingest.memory import MemoryProducer

GPS: dict[str, Any] = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}
TEXT = json.dumps(GPS).encode()


async def post(client: httpx.AsyncClient, body: bytes, encoding: str, path: str = "/sensor/gps") -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return await client.post(path, content=body, headers=headers)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("x-gzip", gzip.compress(TEXT, mtime=0)),
        ("GZIP", gzip.compress(TEXT, mtime=0)),
        ("zstd", zstandard.compress(TEXT)),
        ("zstd", zstandard.compress(TEXT[:9]) + zstandard.compress(TEXT[9:])),
        ("identity", TEXT),
    ],
)
async def test_a_compressed_body(
    client: httpx.AsyncClient, producer: MemoryProducer, encoding: str, body: bytes
) -> None:
    response = await post(client, body, encoding)
    assert response.status_code == 201, response.text
    assert producer.messages[0]["latitude"] == 1.5


BOMB = b"\x00" * (64 * 2**20)


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", zlib.compress(BOMB, wbits=31)), ("zstd", zstandard.compress(BOMB))]
)
@pytest.mark.parametrize("path", ["/sensor/gps", "/sensor/batch", "/images/camera", "/devices"])
async def test_a_bomb_is_413(client: httpx.AsyncClient, encoding: str, body: bytes, path: str) -> None:
    response = await post(client, body, encoding, path)
    assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", TEXT),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-3]),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"more"),
        ("gzip", b""),
        ("zstd", TEXT),
        ("zstd", zstandard.compress(TEXT)[:-3]),
    ],
)
async def test_a_broken_body_is_400(
    client: httpx.AsyncClient, producer: MemoryProducer, encoding: str, body: bytes
) -> None:
    response = await post(client, body, encoding)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "MALFORMED_ENCODING"
    assert producer.records == []


async def test_other_encodings_are_415(client: httpx.AsyncClient) -> None:
    response = await post(client, b"{}", "br")
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip, zstd")


# Retries


async def send(client: httpx.AsyncClient, body: Any, path: str = "/sensor/gps", **headers: str) -> httpx.Response:
    return await client.post(path, json=body, headers=headers)


async def test_an_idempotency_key_makes_a_retry_the_same_row(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    for key in ("one", "one", "two"):
        assert (await send(client, GPS, **{"Idempotency-Key": key})).status_code == 201
    rows = [(m["message_id"], m["timestamp"]) for m in producer.messages]
    assert rows[0] == rows[1] != rows[2]
    await send(client, GPS | {"device_id": "phone-002"}, **{"Idempotency-Key": "one"})
    assert producer.messages[3]["message_id"] != rows[0][0]


async def test_a_message_id_makes_a_retry_the_same_row(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    message_id, when = str(uuid.uuid4()), datetime.now(UTC).isoformat()
    for _ in range(2):
        await send(client, GPS | {"message_id": message_id})
        await send(client, GPS | {"message_id": message_id, "timestamp": when})
    rows = [(m["message_id"], m["timestamp"]) for m in producer.messages]
    assert rows[0] == rows[2]
    assert rows[1] == rows[3]
    assert datetime.fromisoformat(rows[1][1]) == datetime.fromisoformat(when)


async def test_a_batch_is_retried_whole(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    items = [{"device_id": "sensor-001", "sensor_type": "light", "value": {"lux": n}} for n in (1, 1)]
    for _ in range(2):
        assert (await send(client, items, "/sensor/batch", **{"Idempotency-Key": "k"})).status_code == 201
    rows = [(m["message_id"], m["timestamp"]) for m in producer.messages]
    assert rows[:2] == rows[2:]
    assert rows[0] != rows[1]


async def test_a_key_that_is_none(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    for key in ("", "k" * 256):
        response = await send(client, GPS, **{"Idempotency-Key": key})
        assert (response.status_code, response.json()["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    assert producer.records == []


# Errors


async def test_errors_are_problems_when_they_are_asked_for(client: httpx.AsyncClient) -> None:
    asked = await send(client, {}, Accept="application/problem+json, application/json")
    plain = await send(client, {})
    assert asked.headers["content-type"] == "application/problem+json"
    assert plain.headers["content-type"] == "application/json"
    problem, guide = asked.json(), plain.json()
    assert problem["status"] == 422
    assert problem["detail"] == problem["message"] == guide["message"]
    assert problem["type"] == "/docs/errors#MISSING_FIELD"
    assert problem["instance"].endswith(problem["request_id"])
    assert problem["errors"] == guide["detail"]
    assert problem.keys() - guide.keys() == {"type", "title", "instance", "errors"}
    assert guide.keys() <= problem.keys()
    assert 'id="MISSING_FIELD"' in (await client.get("/docs/errors")).text
    missing = await client.get("/nowhere", headers={"Accept": "application/problem+json"})
    assert missing.headers["content-type"] == "application/problem+json"
