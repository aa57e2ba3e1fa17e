"""Clients that send over HTTP and WebSocket, log each acknowledgement, and send again whatever was not acknowledged."""

import asyncio
import base64
import contextlib
import json
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx
import websockets

from loom_contracts.topic import Topic
from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW, HUMIDITY_RAW, TEMPERATURE_RAW
from loom_ingest.retries import identity

RETRY_SECONDS = 0.1
BATCH = 10
SOUND = base64.b64encode(bytes(range(240))).decode()
CHUNK = {"chunk_data": SOUND, "sample_rate": 16000, "channels": 1, "format": "wav", "duration_ms": 100}
TOPICS = (GPS_RAW, TEMPERATURE_RAW, HUMIDITY_RAW, AUDIO_RAW)

Body = dict[str, Any]


@dataclass
class Log:
    """What was sent and what was acknowledged: `message_id` to body by topic, and ids by topic."""

    sent: dict[str, dict[str, Body]] = field(default_factory=lambda: {topic.name: {} for topic in TOPICS})
    acknowledged: dict[str, list[str]] = field(default_factory=lambda: {topic.name: [] for topic in TOPICS})
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def keyed(self, topic: Topic, device: str, key: str, **fields: Any) -> Body:
        """A message without identity and time: what makes it itself is the header `Idempotency-Key`."""
        body = {"device_id": device, **fields}
        self.sent[topic.name][str(identity(topic, device, key.encode()))] = body
        return body

    def new(self, topic: Topic, device: str, **fields: Any) -> Body:
        """A message that is about to be sent, the first time."""
        message_id = str(uuid.uuid4())
        body = {"device_id": device, "message_id": message_id, "timestamp": datetime.now(UTC).isoformat(), **fields}
        self.sent[topic.name][message_id] = body
        return body


class Clients:
    """Senders of each kind in a thread of their own, from the beginning of the context until `end`."""

    def __init__(
        self, url: str, seed: int, *, singles: int = 3, batches: int = 2, streams: int = 3, pause: float = 0.01
    ) -> None:
        self.log = Log()
        self._url = url
        self._random = random.Random(seed)
        self._counts = (singles, batches, streams)
        self._pause = pause
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="clients")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def end(self) -> None:
        """Send nothing new; what is on its way is sent until it is acknowledged."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "something is never acknowledged"
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error

    async def _run(self) -> None:
        singles, batches, streams = self._counts
        limits = httpx.Limits(max_connections=2 * singles + batches, max_keepalive_connections=2 * singles + batches)
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=20, limits=limits) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for n in range(singles):
                tasks.create_task(self._repeat(self._single, http, f"phone-{n:03}"))
                tasks.create_task(self._repeat(self._keyed, http, f"script-{n:03}"))
            for n in range(batches):
                tasks.create_task(self._repeat(self._batch, http, f"sensor-{n:03}"))
            for n in range(streams):
                tasks.create_task(self._stream(f"mic-{n:03}"))

    async def _repeat(
        self, send: Callable[[httpx.AsyncClient, str], Coroutine[Any, Any, None]], http: httpx.AsyncClient, device: str
    ) -> None:
        while not self._stop.is_set():
            await send(http, device)
            await asyncio.sleep(self._random.uniform(0, self._pause))

    async def _single(self, http: httpx.AsyncClient, device: str) -> None:
        body = self.log.new(GPS_RAW, device, latitude=self._random.uniform(-90, 90), longitude=2.5)
        while True:
            answer = await self._post(http, "/sensor/gps", body)
            if answer is not None and answer.status_code == 201:
                assert answer.json()["message_id"] == body["message_id"]
                self.log.acknowledged[GPS_RAW.name].append(body["message_id"])
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _keyed(self, http: httpx.AsyncClient, device: str) -> None:
        key = str(uuid.uuid4())
        body = self.log.keyed(GPS_RAW, device, key, latitude=self._random.uniform(-90, 90), longitude=2.5)
        while True:
            answer = await self._post(http, "/sensor/gps", body, {"Idempotency-Key": key})
            if answer is not None and answer.status_code == 201:
                self.log.acknowledged[GPS_RAW.name].append(answer.json()["message_id"])
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _batch(self, http: httpx.AsyncClient, device: str) -> None:
        topics = [self._random.choice((TEMPERATURE_RAW, HUMIDITY_RAW)) for _ in range(BATCH)]
        bodies = [
            self.log.new(topic, device, sensor_type=topic.parts[2], value={"v": self._random.random()}, unit="u")
            for topic in topics
        ]
        while True:
            answer = await self._post(http, "/sensor/batch", bodies)
            result = {} if answer is None else answer.json()
            if "processed" in result:
                # A 503 too says which were stored.
                refused = {error["index"] for error in result["errors"]}
                assert result["processed"] == BATCH - len(refused)
                for index in set(range(BATCH)) - refused:
                    self.log.acknowledged[topics[index].name].append(bodies[index]["message_id"])
            if answer is not None and answer.status_code == 201 and not result["failed"]:
                return
            # The whole batch again, as a client would.
            await asyncio.sleep(RETRY_SECONDS)

    async def _post(
        self, http: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> httpx.Response | None:
        """The answer; None when it, or the request, was lost."""
        try:
            answer = await http.post(path, json=body, headers=headers)
        except httpx.HTTPError as error:
            self.log.answers[type(error).__name__] += 1
            return None
        self.log.answers[str(answer.status_code)] += 1
        # Nothing else may come: whatever was sent is valid.
        assert answer.status_code in (201, 503), answer.text
        return answer

    async def _stream(self, device: str) -> None:
        url = f"{self._url.replace('http', 'ws', 1)}/audio/stream/{device}"
        body: Body | None = None
        while body is not None or not self._stop.is_set():
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                async with websockets.connect(url, open_timeout=5, close_timeout=1, ping_interval=None) as stream:
                    while body is not None or not self._stop.is_set():
                        body = body or self.log.new(AUDIO_RAW, device, **CHUNK)
                        if await self._chunk(stream, body):
                            body = None
                            await asyncio.sleep(self._random.uniform(0, self._pause))
                        else:
                            await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)

    async def _chunk(self, stream: websockets.ClientConnection, body: Body) -> bool:
        await stream.send(json.dumps(body))
        async with asyncio.timeout(20):
            answer = json.loads(await stream.recv())
        self.log.answers[f"stream {answer.get('code', answer['status'])}"] += 1
        if answer["status"] != "success":
            assert answer["code"] in ("KAFKA_UNAVAILABLE", "OVERLOADED", "CONNECTION_REPLACED"), answer
            return False
        assert answer["message_id"] == body["message_id"]
        self.log.acknowledged[AUDIO_RAW.name].append(body["message_id"])
        return True
