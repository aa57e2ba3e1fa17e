"""Load for the benchmarks: as much as connections can take, a fixed rate of arrivals, and streams of audio."""

import asyncio
import base64
import io
import json
import random
import time
import wave
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect

from loom_contracts.topics.device import GENERIC_SENSORS

GPS = b'{"device_id":"phone-001","latitude":37.7749,"longitude":-122.4194,"accuracy":5.0}'
BATCH_ITEMS = 100
TICK_SECONDS = 0.001


def request(path: str, body: bytes, key: str | None = None) -> bytes:
    """A POST of JSON, with `key` as its bearer."""
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def batch() -> bytes:
    """A hundred readings of one device, of the temperature and humidity, as the guide's example has them."""
    kinds = [topic for topic in GENERIC_SENSORS if topic.parts[2] in ("temperature", "humidity")]
    items = [
        {"device_id": "phone-001"} | {k: topic.example[k] for k in ("sensor_type", "value", "unit")} for topic in kinds
    ]
    return json.dumps([items[n % len(items)] for n in range(BATCH_ITEMS)]).encode()


class Client(asyncio.Protocol, ABC):
    """One connection with one request at a time; `answered` is called with each success."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.buffer = b""
        self.length = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def send(self) -> None:
        self.transport.write(self.content)

    @abstractmethod
    def answered(self) -> None:
        """An answer has come."""

    def data_received(self, data: bytes) -> None:
        if len(data) == self.length and not self.buffer and data.startswith(b"HTTP/1.1 20"):
            # Answers to the same request have the same length; looking for it costs as much as all the rest.
            self.answered()
            return
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        if not head.startswith(b"HTTP/1.1 20"):
            self.done.set_exception(RuntimeError(head.decode() + rest.decode()))
            self.transport.close()
            return
        self.length, self.buffer = len(self.buffer), b""
        self.answered()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()


class _Busy(Client):
    """Sends the next request when the last was answered."""

    def __init__(self, content: bytes, latencies: list[float], deadline: float) -> None:
        super().__init__(content)
        self.latencies = latencies
        self.deadline = deadline

    def send(self) -> None:
        self.sent = time.perf_counter()
        super().send()

    def answered(self) -> None:
        now = time.perf_counter()
        self.latencies.append(now - self.sent)
        if now < self.deadline:
            self.send()
        else:
            self.end()


async def load(port: int, connections: int, seconds: float, content: bytes) -> list[float]:
    """Latencies in seconds of all requests that `connections` could make in `seconds`."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Busy(content, latencies, deadline), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    for client in clients:
        client.send()
    await asyncio.gather(*(client.done for client in clients))
    return latencies


class _Idle(Client):
    """Waits for work in `free`; what came while none was free is in `due`, the times at which it should have gone."""

    def __init__(self, content: bytes, free: "deque[_Idle]", due: "deque[float]", latencies: list[float]) -> None:
        super().__init__(content)
        self.free = free
        self.due = due
        self.latencies = latencies

    def begin(self, scheduled: float) -> None:
        self.scheduled = scheduled
        self.send()

    def answered(self) -> None:
        self.latencies.append(time.perf_counter() - self.scheduled)
        if self.due:
            self.begin(self.due.popleft())
        else:
            self.free.append(self)


async def arrivals(port: int, per_second: float, seconds: float, content: bytes, connections: int = 128) -> list[float]:
    """Latencies of requests that arrive at a fixed rate (Poisson), whether or not those before were answered.

    Each is measured from the moment at which it was to go: the wait for a connection, or for this client, counts.
    """
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    free: deque[_Idle] = deque()
    due: deque[float] = deque()
    clients = [
        (await loop.create_connection(lambda: _Idle(content, free, due, latencies), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    free.extend(clients)
    chance = random.Random(7)
    scheduled = time.perf_counter() + 0.05
    ends = scheduled + seconds
    count = 0
    while scheduled < ends:
        now = time.perf_counter()
        while scheduled <= now:
            count += 1
            if free:
                # In turns: the service closes a connection that says nothing for some seconds.
                free.popleft().begin(scheduled)
            else:
                due.append(scheduled)
            scheduled += chance.expovariate(per_second)
        await asyncio.sleep(TICK_SECONDS)
    async with asyncio.timeout(30):
        while len(latencies) < count:
            await asyncio.sleep(0.01)
    for client in clients:
        client.end()
    return latencies


@dataclass
class Acks:
    """What came of chunks: how many were sent, and the seconds until each acknowledgement, from its scheduled time."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def audio(port: int, seconds: float, devices: int = 20, per_second: float = 10.0) -> Acks:
    """Stream 100 ms chunks from `devices` devices at once."""
    acks = Acks()
    await asyncio.gather(
        *(_stream(port, f"mic-{n:03d}", n / devices / per_second, seconds, per_second, acks) for n in range(devices))
    )
    return acks


async def _stream(port: int, device: str, offset: float, seconds: float, per_second: float, acks: Acks) -> None:
    async with connect(f"ws://127.0.0.1:{port}/audio/stream/{device}") as socket:
        due: deque[float] = deque()
        count = int(seconds * per_second)
        reader = asyncio.create_task(_read(socket, due, count, acks))
        began = time.perf_counter() + offset
        for n, chunk in enumerate(_chunks(count)):
            scheduled = began + n / per_second
            await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
            due.append(scheduled)
            acks.sent += 1
            await socket.send(chunk)
        await asyncio.wait_for(reader, 30)


async def _read(socket: ClientConnection, due: "deque[float]", count: int, acks: Acks) -> None:
    for _ in range(count):
        answer = json.loads(await socket.recv())
        if answer.get("type") == "ack":
            # One stream's chunks are answered in their order.
            acks.seconds.append(time.perf_counter() - due.popleft())
        else:
            due.popleft()
            acks.errors.append(answer.get("code", "?"))


def _chunks(count: int) -> Iterator[str]:
    """Messages with a tenth of a second of noise each, 16 kHz, 16 bit."""
    noise = random.Random(1)
    for _ in range(count):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(noise.randbytes(3200))
        data = {
            "chunk_data": base64.b64encode(buffer.getvalue()).decode(),
            "sample_rate": 16_000,
            "channels": 1,
            "format": "wav",
            "duration_ms": 100,
        }
        yield json.dumps({"message_type": "audio_chunk", "data": data})
