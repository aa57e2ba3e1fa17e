"""Sends a day's events over the public HTTP API: paced, in order, with retries, and says what was accepted."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from pydantic_core import to_json

from loom_platform.demo.events import Event, Message
from loom_platform.errors import PlatformError

LONGEST_AGE: Final = timedelta(hours=23.9)
"""The API takes what is at most 24 hours old; retries need the rest."""

_LANES: Final = {"/sensor/accelerometer": 4}
_QUEUE: Final = 64
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
_KEPT_REFUSALS: Final = 20


class ApiAwayError(PlatformError):
    """The ingest API does not answer."""


@dataclass(frozen=True, slots=True)
class SendConfig:
    """How to send. `speed` is how many seconds of the day pass in one; 0 sends as fast as the API accepts.

    `patience_s` is how long one request is tried again while the API is away, `key` the API key to send with.
    """

    url: str
    device: str = "demo-phone"
    speed: float = 60.0
    patience_s: float = 120.0
    timeout_s: float = 30.0
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A message that the API accepted, and when its answer came."""

    message: Message
    message_id: str
    timestamp: str
    answered_at: float


@dataclass
class SendReport:
    """What was sent so far; changes while sending goes on."""

    began: datetime
    at: float = 0.0
    requests: int = 0
    retries: int = 0
    behind_s: float = 0.0
    acknowledged: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    refused: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=50_000))

    @property
    def total(self) -> int:
        """Messages accepted."""
        return self.acknowledged.total()

    def latency_s(self, share: float) -> float:
        """That quantile of the time from request to answer."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


OnAcknowledged = Callable[[Sequence[Acknowledged]], None]


def longest_day(speed: float) -> timedelta:
    """How long a day can be so that even its first event is new enough for the API when it is sent."""
    return LONGEST_AGE / (1 - 1 / speed) if speed > 1 else LONGEST_AGE if speed == 0 else timedelta(days=36_500)


def beginning(seconds: float, speed: float, now: datetime | None = None) -> datetime:
    """When a day of `seconds` begins, so that it ends now once it has been sent; no event is of the future."""
    now = now or datetime.now(UTC)
    share = 1.0 if speed == 0 else max(0.0, 1.0 - 1.0 / speed)
    return now - timedelta(seconds=seconds * share)


async def check_api(url: str) -> None:
    """Raises ApiAwayError, with the remedy, unless the API at `url` is ready."""
    async with _client(url, 5.0) as client:
        try:
            answer = await client.get("/readyz")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiAwayError(
                f"no ingest API answers at {url} ({_words(error)}): start Loom with `loom up`, or give its --url"
            ) from None
    if answer.status_code != 200:
        raise ApiAwayError(
            f"the ingest API at {url} is not ready (HTTP {answer.status_code}): `loom status` says what is missing"
        )


async def send(
    events: Iterable[Event], config: SendConfig, report: SendReport, on_acknowledged: OnAcknowledged | None = None
) -> None:
    """Send `events`, each when its time has come; `report` says how far it is, also when this raises.

    Requests of one endpoint go one after the other, so their order is kept. Raises ApiAwayError when the API stays
    away for longer than `patience_s`. Messages that the API refuses are counted, and sending goes on.
    """
    async with _client(config.url, config.timeout_s, config.key) as client:
        sender = _Sender(client, config, report, on_acknowledged)
        try:
            await sender.play(events)
        finally:
            await sender.stop()


class _Sender:
    def __init__(
        self, client: httpx.AsyncClient, config: SendConfig, report: SendReport, on_acknowledged: OnAcknowledged | None
    ) -> None:
        self._client = client
        self._config = config
        self._report = report
        self._on_acknowledged = on_acknowledged
        self._queues: dict[str, asyncio.Queue[Event]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._failed = asyncio.Event()

    async def play(self, events: Iterable[Event]) -> None:
        began = time.monotonic()
        for event in events:
            if self._config.speed:
                pause = began + event.at / self._config.speed - time.monotonic()
                self._report.behind_s = max(0.0, -pause)
                if pause > 0:
                    await self._unless_failed(asyncio.sleep(pause))
            self._report.at = event.at
            queue = self._queue(event.path)
            if queue.full():
                await self._unless_failed(queue.put(event))
            else:
                queue.put_nowait(event)
        for queue in self._queues.values():
            await self._unless_failed(queue.join())

    async def stop(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _queue(self, path: str) -> asyncio.Queue[Event]:
        if path not in self._queues:
            queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
            self._queues[path] = queue
            for _ in range(_LANES.get(path, 1)):
                worker = asyncio.create_task(self._work(queue))
                worker.add_done_callback(lambda _: self._failed.set())
                self._workers.append(worker)
        return self._queues[path]

    async def _unless_failed(self, waiting: Any) -> None:
        """Await `waiting`, or raise what a worker raised meanwhile."""
        task = asyncio.ensure_future(waiting)
        failed = asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait((task, failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed.cancel()
            task.cancel() if not task.done() else None
            with suppress(asyncio.CancelledError):
                await failed
        for worker in self._workers:
            if worker.done() and not worker.cancelled():
                worker.result()

    async def _work(self, queue: asyncio.Queue[Event]) -> None:
        while True:
            event = await queue.get()
            await self._post(event)
            queue.task_done()

    async def _post(self, event: Event) -> None:
        body = to_json(event.request(self._report.began, self._config.device))
        patience = time.monotonic() + self._config.patience_s
        pause = _FIRST_PAUSE_S
        while True:
            sent = time.monotonic()
            self._report.requests += 1
            answer: httpx.Response | None = None
            problem = ""
            try:
                answer = await self._client.post(event.path, content=body)
            except httpx.TransportError as error:
                problem = _words(error)
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                self._report.latencies_s.append(time.monotonic() - sent)
                self._settle(event, answer)
                return
            if answer is not None:
                problem = f"HTTP {answer.status_code}: {answer.text[:200]}"
                pause = max(pause, _retry_after(answer))
            if time.monotonic() + pause > patience:
                raise ApiAwayError(
                    f"the ingest API at {self._config.url} did not accept {event.path} within "
                    f"{self._config.patience_s:g} s ({problem}): `loom status` says what is missing"
                )
            self._report.retries += 1
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _settle(self, event: Event, answer: httpx.Response) -> None:
        """Count what the API took of `event`, and what it refused."""
        refused: dict[int, str] = {}
        if answer.status_code != 201:
            text = f"{event.path}: HTTP {answer.status_code}: {answer.text[:300]}"
            refused = dict.fromkeys(range(len(event.messages)), text)
        elif event.path == "/sensor/batch":
            refused = {int(e["index"]): f"{event.path}: {e['message']}" for e in answer.json()["errors"]}
        self._report.refused += len(refused)
        self._report.refusals += list(refused.values())[: _KEPT_REFUSALS - len(self._report.refusals)]
        taken = [m for i, m in enumerate(event.messages) if i not in refused]
        self._report.acknowledged.update(m.topic.name for m in taken)
        if self._on_acknowledged is not None and taken:
            now, began = time.time(), self._report.began
            self._on_acknowledged([Acknowledged(m, str(m.message_id(began)), m.timestamp(began), now) for m in taken])


def _client(url: str, timeout_s: float, key: str | None = None) -> httpx.AsyncClient:
    # trust_env: a proxy of the environment must not see a person's data.
    return httpx.AsyncClient(
        base_url=url,
        timeout=timeout_s,
        headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=32),
        trust_env=False,
    )


def _retry_after(answer: httpx.Response) -> float:
    value = answer.headers.get("retry-after", "")
    return min(float(value), 30.0) if value.isdigit() else 0.0


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
