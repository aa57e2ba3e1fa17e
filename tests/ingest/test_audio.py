"""Audio chunks in the readme's form, and in the many forms of base64."""

import base64
import io
import json
import wave

import httpx
import pytest

from tests.ingest.memory import MemoryProducer


def wav(seconds: float, rate: int = 16_000, channels: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(range(256)) * int(seconds * rate * channels * 2 / 256))
    return file.getvalue()


async def upload(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    content = json.dumps({"device_id": "microphone-001", "format": "wav", "sample_rate": 16_000} | body).encode()
    return await client.post("/audio/upload", content=content, headers={"Content-Type": "application/json"})


async def test_the_readmes_form(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    response = await upload(client, data="SGVsbG8gV29ybGQ=", sample_rate=44_100)
    assert response.status_code == 201, response.text
    (message,) = producer.messages
    assert message["chunk_data"] == "SGVsbG8gV29ybGQ="
    assert (message["channels"], message["duration_ms"]) == (1, 1)
    assert "data" not in message


async def test_a_wav_header_tells_channels_and_duration(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    body = wav(1.5)
    assert (await upload(client, data=base64.b64encode(body).decode())).status_code == 201
    (message,) = producer.messages
    assert (message["channels"], message["duration_ms"]) == (2, 1500)
    assert base64.b64decode(message["chunk_data"]) == body


async def test_a_streamed_wav_header_is_not_believed(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    body = bytearray(wav(1.0))
    body[40:44] = b"\xff\xff\xff\xff"
    assert (await upload(client, data=base64.b64encode(body).decode())).status_code == 201
    assert producer.messages[0]["duration_ms"] == pytest.approx(1000, abs=2)


async def test_other_formats_are_estimated_as_the_guides_sdk_does(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    body = base64.b64encode(b"\x01" * 32_000).decode()
    assert (await upload(client, chunk_data=body, format="aac")).status_code == 201
    assert (producer.messages[0]["channels"], producer.messages[0]["duration_ms"]) == (1, 1000)


@pytest.mark.parametrize("text", ["/+8A", "_-8A", "/+8AAQ==", "/+8AAQ", "_-8AAQ..", "/+\n8A\r\nAQ=="])
async def test_every_base64_arrives_as_one(client: httpx.AsyncClient, producer: MemoryProducer, text: str) -> None:
    response = await upload(client, chunk_data=text, channels=1, duration_ms=10)
    assert response.status_code == 201, response.text
    body = base64.b64decode(producer.messages[0]["chunk_data"], validate=True)
    assert body.startswith(b"\xff\xef\x00")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"chunk_data": "not base64!"}, "INVALID_VALUE", "chunk_data"),
        ({"chunk_data": "AAAAA"}, "INVALID_VALUE", "chunk_data"),
        ({"chunk_data": ""}, "INVALID_VALUE", "chunk_data"),
        ({"chunk_data": 5}, "INVALID_TYPE", "chunk_data"),
        ({"channels": 0}, "OUT_OF_RANGE", "channels"),
        ({"channels": 9}, "OUT_OF_RANGE", "channels"),
        ({"duration_ms": 0}, "OUT_OF_RANGE", "duration_ms"),
        ({"duration_ms": 60_001}, "OUT_OF_RANGE", "duration_ms"),
        ({"format": "ogg"}, "INVALID_VALUE", "format"),
        ({"sample_rate": 0}, "OUT_OF_RANGE", "sample_rate"),
        ({"sample_rate": "44.1k"}, "INVALID_TYPE", "sample_rate"),
        ({"file_id": "first"}, "INVALID_VALUE", "file_id"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, producer: MemoryProducer, changes: dict[str, object], code: str, field: str
) -> None:
    response = await upload(client, **({"chunk_data": "AAAA", "channels": 1, "duration_ms": 1000} | changes))
    answer = response.json()
    assert (response.status_code, answer["code"]) == (422, code), answer
    assert field in answer["message"]
    assert producer.records == []


async def test_nothing_to_derive_from(client: httpx.AsyncClient) -> None:
    response = await upload(client)
    answer = response.json()
    assert response.status_code == 422
    assert "chunk_data" in answer["details"]
