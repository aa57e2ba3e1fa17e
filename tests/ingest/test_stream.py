"""Audio on a WebSocket: every message type, every error, one connection a device, back-pressure."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from loom_contracts.topics.device import AUDIO_RAW
from loom_ingest.app import create_app
from loom_ingest.errors import BrokerUnavailableError
from loom_ingest.server.run import uvicorn_options
from loom_ingest.settings import Settings
from loom_platform.embedded.process import free_port
from tests.ingest.conftest import read_topic
from tests.ingest.memory import MemoryProducer

CHUNK: dict[str, Any] = {
    "chunk_data": "AAAAAAAA", "sample_rate": 16_000, "channels": 1, "format": "wav", "duration_ms": 100,
}  # fmt: skip


class Stream:
    """A server over the in-memory producer, and its address."""

    def __init__(self, producer: MemoryProducer, port: int) -> None:
        self.producer = producer
        self.url = f"ws://127.0.0.1:{port}/audio/stream"
        self.http = f"http://127.0.0.1:{port}"

    def connect(self, device_id: str = "microphone-001") -> connect:
        return connect(f"{self.url}/{device_id}", max_size=None, ping_interval=None)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.http) as client:
            return await client.get(path)


@asynccontextmanager
async def serving(producer: MemoryProducer | None = None, **settings: Any) -> AsyncIterator[Stream]:
    producer = producer or MemoryProducer()
    port = free_port()
    found = Settings(database_url="postgresql://nobody@127.0.0.1:1/none", **settings)
    options = uvicorn_options(found) | {"port": port, "timeout_graceful_shutdown": 1}
    config = uvicorn.Config(create_app(found, producer), **options)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield Stream(producer, port)
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def stream() -> AsyncIterator[Stream]:
    async with serving() as stream:
        yield stream


async def ask(socket: ClientConnection, message: Any) -> dict[str, Any]:
    await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 10))
    return answer


async def test_a_chunk_is_acknowledged_as_the_guide_says(stream: Stream) -> None:
    file_id = str(uuid.uuid4())
    async with stream.connect() as socket:
        answer = await ask(socket, {"message_type": "audio_chunk", "data": CHUNK | {"file_id": file_id}})
    (message,) = stream.producer.messages
    assert answer == {
        "type": "ack",
        "message_id": message["message_id"],
        "status": "success",
        "topic": "device.audio.raw",
        "timestamp": message["timestamp"][:23] + "Z",
    }
    assert message["device_id"] == "microphone-001"
    assert {k: message[k] for k in CHUNK} == CHUNK
    assert message["file_id"] == file_id


async def test_the_bare_object_of_the_readme(stream: Stream) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    bare = {"timestamp": now.isoformat(), "data": "SGVsbG8gV29ybGQ=", "format": "wav", "sample_rate": 44_100}
    async with stream.connect() as socket:
        assert (await ask(socket, bare))["type"] == "ack"
        assert (await ask(socket, CHUNK))["type"] == "ack"
    one, two = stream.producer.messages
    assert (one["chunk_data"], one["channels"], one["duration_ms"]) == ("SGVsbG8gV29ybGQ=", 1, 1)
    assert datetime.fromisoformat(one["timestamp"]) == now
    assert two["chunk_data"] == CHUNK["chunk_data"]


async def test_ping_and_pong(stream: Stream) -> None:
    async with stream.connect() as socket:
        answer = await ask(socket, {"message_type": "ping", "data": {"timestamp": "2024-01-01T00:00:00.000Z"}})
        assert answer["message_type"] == "pong"
        assert answer["data"]["timestamp"] == "2024-01-01T00:00:00.000Z"
        assert abs(datetime.fromisoformat(answer["data"]["server_time"]) - datetime.now(UTC)) < timedelta(seconds=10)
        assert (await ask(socket, {"message_type": "ping"}))["message_type"] == "pong"
        await socket.send(json.dumps({"message_type": "pong", "data": {}}))
        assert (await ask(socket, {"message_type": "ping"}))["message_type"] == "pong"


WRONG: list[tuple[Any, str]] = [
    (b"\x00\x01", "BINARY_NOT_SUPPORTED"),
    ("{", "MALFORMED_JSON"),
    ("", "MALFORMED_JSON"),
    ('"\\ud800"', "MALFORMED_JSON"),
    ([1], "INVALID_MESSAGE"),
    ({}, "UNKNOWN_MESSAGE_TYPE"),
    ({"message_type": "video_chunk"}, "UNKNOWN_MESSAGE_TYPE"),
    ({"message_type": ["audio_chunk"]}, "UNKNOWN_MESSAGE_TYPE"),
    ({"message_type": "audio_chunk"}, "INVALID_MESSAGE"),
    ({"message_type": "audio_chunk", "data": "AAAA"}, "INVALID_MESSAGE"),
    ({"message_type": "audio_chunk", "data": {}}, "MISSING_FIELD"),
    ({"message_type": "audio_chunk", "data": CHUNK | {"format": "ogg"}}, "INVALID_FORMAT"),
    ({"message_type": "audio_chunk", "data": CHUNK | {"chunk_data": "?"}}, "INVALID_VALUE"),
    ({"message_type": "audio_chunk", "data": CHUNK | {"channels": 9}}, "OUT_OF_RANGE"),
    ({"message_type": "audio_chunk", "data": CHUNK | {"sample_rate": "x"}}, "INVALID_TYPE"),
    ({"message_type": "audio_chunk", "data": CHUNK | {"timestamp": "2024-01-01T00:00:00Z"}}, "TIMESTAMP_OUT_OF_RANGE"),
    ({"message_type": "audio_chunk", "data": CHUNK | {"device_id": "someone-else"}}, "DEVICE_MISMATCH"),
]


async def test_what_is_wrong_is_told_and_the_connection_goes_on(stream: Stream) -> None:
    async with stream.connect() as socket:
        for message, code in WRONG:
            answer = await ask(socket, message)
            assert (answer["type"], answer["code"]) == ("error", code), (message, answer)
            assert answer["message"]
            assert abs(datetime.fromisoformat(answer["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=10)
        assert stream.producer.records == []
        assert (await ask(socket, {"message_type": "audio_chunk", "data": CHUNK}))["type"] == "ack"


async def test_the_brokers_absence_is_told(stream: Stream) -> None:
    message: dict[str, Any] = {"message_type": "audio_chunk", "data": CHUNK | {"message_id": str(uuid.uuid4())}}
    async with stream.connect() as socket:
        stream.producer.failure = BrokerUnavailableError("Unable to connect to Kafka broker")
        answer = await ask(socket, message)
        assert (answer["code"], answer["retry_after_seconds"]) == ("KAFKA_UNAVAILABLE", 2)
        assert answer["message_id"] == message["data"]["message_id"]
        stream.producer.failure = ValueError("boom")
        assert (await ask(socket, message))["code"] == "INTERNAL_ERROR"
        stream.producer.failure = None
        answers = [await ask(socket, message) for _ in range(2)]
    assert [a["message_id"] for a in answers] == [message["data"]["message_id"]] * 2
    assert len({(m["message_id"], m["timestamp"]) for m in stream.producer.messages}) == 1


async def test_the_newer_connection_wins_and_the_older_is_told(stream: Stream) -> None:
    async with stream.connect() as older, stream.connect("microphone-002") as other:
        assert (await ask(older, {"message_type": "ping"}))["message_type"] == "pong"
        async with stream.connect() as newer:
            told = json.loads(await asyncio.wait_for(older.recv(), 10))
            assert (told["type"], told["code"]) == ("error", "CONNECTION_REPLACED")
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(older.recv(), 10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4409
            assert (await ask(newer, {"message_type": "audio_chunk", "data": CHUNK}))["type"] == "ack"
            assert (await ask(other, {"message_type": "ping"}))["message_type"] == "pong"
            answer = (await stream.get("/audio/connections")).json()
            assert answer["active_connections"] == 2
            assert sorted(answer["connected_devices"]) == ["microphone-001", "microphone-002"]
            assert answer["total_messages_received"] == 3
            assert answer["uptime_seconds"] >= 0
            assert "websocket_connections_total 2.0" in (await stream.get("/metrics")).text
    for _ in range(100):
        if (await stream.get("/audio/connections")).json()["active_connections"] == 0:
            break
        await asyncio.sleep(0.05)
    assert "websocket_connections_total 0.0" in (await stream.get("/metrics")).text


async def test_a_silent_connection_is_closed() -> None:
    async with serving(stream_inactivity_seconds=0.5) as stream, stream.connect() as socket:
        for _ in range(3):
            await asyncio.sleep(0.25)
            assert (await ask(socket, {"message_type": "ping"}))["message_type"] == "pong"
        told = json.loads(await asyncio.wait_for(socket.recv(), 10))
        assert told["code"] == "INACTIVITY_TIMEOUT"
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4408


async def test_who_may_not_connect_is_told() -> None:
    async with serving(stream_max_connections=1, metrics_device_labels=True) as stream, stream.connect():
        assert 'websocket_connections_total{device_id="microphone-001"} 1.0' in (await stream.get("/metrics")).text
        for device_id, code, closing in (
            ("a%20b", "INVALID_DEVICE_ID", 1008),
            ("second", "TOO_MANY_CONNECTIONS", 1013),
        ):
            async with stream.connect(device_id) as socket:
                assert json.loads(await asyncio.wait_for(socket.recv(), 10))["code"] == code
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(socket.recv(), 10)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == closing


async def test_a_frame_that_is_too_long_ends_the_connection() -> None:
    async with serving(stream_max_frame_bytes=10_000) as stream, stream.connect() as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await ask(socket, json.dumps({"message_type": "audio_chunk", "data": CHUNK | {"chunk_data": "A" * 20_000}}))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


class Slow(MemoryProducer):
    """Acknowledges nothing until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def send(self, record: Any) -> None:
        await self.go.wait()
        await super().send(record)


async def test_what_the_broker_does_not_take_stays_with_the_client() -> None:
    producer = Slow()
    chunk = base64.b64encode(b"\x01" * 200_000).decode()
    total = 150
    async with serving(producer) as stream, stream.connect() as socket:
        sent = 0

        async def send_all() -> None:
            nonlocal sent
            for n in range(total):
                data = CHUNK | {"chunk_data": chunk, "message_id": str(uuid.UUID(int=n + 1))}
                await socket.send(json.dumps({"message_type": "audio_chunk", "data": data}))
                sent += 1

        sender = asyncio.create_task(send_all())
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.5)
        assert sent < total
        producer.go.set()
        answers = [json.loads(await asyncio.wait_for(socket.recv(), 30)) for _ in range(total)]
        await sender
    assert [a["message_id"] for a in answers] == [str(uuid.UUID(int=n + 1)) for n in range(total)]
    assert [m["message_id"] for m in producer.messages] == [a["message_id"] for a in answers]


@pytest.mark.integration
async def test_an_acknowledged_chunk_is_on_the_broker(
    live_url: str, bootstrap_servers: str, ingest_prefix: str
) -> None:
    device_id = f"device-{uuid.uuid4().hex[:12]}"
    url = f"{live_url.replace('http', 'ws')}/audio/stream/{device_id}"
    async with connect(url, additional_headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}) as socket:
        acks = [await ask(socket, {"message_type": "audio_chunk", "data": CHUNK}) for _ in range(20)]
    records = [
        r for r in read_topic(bootstrap_servers, f"{ingest_prefix}.{AUDIO_RAW.name}") if r.key == device_id.encode()
    ]
    assert [json.loads(r.value)["message_id"] for r in records] == [a["message_id"] for a in acks]
    assert json.loads(records[0].value)["trace_id"] == "a" * 32
    assert dict(records[0].headers)["traceparent"].startswith(b"00-" + b"a" * 32)
