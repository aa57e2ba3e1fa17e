"""Sending, against a real HTTP server that answers as the test says."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW
from loom_platform.demo.events import Event, Message
from loom_platform.demo.send import (
    Acknowledged,
    ApiAwayError,
    SendConfig,
    SendReport,
    beginning,
    check_api,
    longest_day,
    send,
)

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
Answer = tuple[int, dict[str, Any]]


class Server:
    """HTTP/1.1 with keep-alive on a free port; `answer` says what to answer to a path and a body."""

    def __init__(self, answer: Callable[[str, Any], Answer]) -> None:
        self.answer = answer
        self.requests: list[tuple[str, Any]] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                path = line.split()[1].decode()
                length = 0
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                body = json.loads(await reader.readexactly(length)) if length else None
                self.requests.append((path, body))
                status, content = self.answer(path, body)
                payload = json.dumps(content).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(payload), payload))
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Callable[[str, Any], Answer]) -> Any:
    server = Server(answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


def accept(path: str, body: Any) -> Answer:
    if path == "/sensor/batch":
        return 201, {"total": len(body), "processed": len(body), "failed": 0, "errors": []}
    return 201, {"status": "success"}


def fixes(count: int, step: float = 0.0) -> Iterator[Event]:
    for n in range(count):
        message = Message(GPS_RAW, n * step, n + 1, {"latitude": float(n % 90), "longitude": 0.0})
        yield Event(n * step, "/sensor/gps", (message,))


def config(server: Server, **changes: Any) -> SendConfig:
    return SendConfig(server.url, "test-phone", **{"speed": 0.0, "patience_s": 5.0, **changes})


async def test_sends_all_in_order() -> None:
    accepted: list[Acknowledged] = []
    async with serving(accept) as server:
        report = SendReport(NOW)
        await send(fixes(200), config(server), report, accepted.extend)
    assert [body["latitude"] for _, body in server.requests] == [float(n % 90) for n in range(200)]
    assert report.total == len(accepted) == 200
    assert [a.message_id for a in accepted] == [body["message_id"] for _, body in server.requests]
    assert report.acknowledged == {"device.sensor.gps.raw": 200}
    assert (report.retries, report.refused) == (0, 0)


async def test_keeps_the_pace() -> None:
    took = []
    async with serving(accept) as server:
        # The quickest of three: a busy machine stands still for seconds now and then.
        for _ in range(3):
            began = time.monotonic()
            await send(fixes(6, step=10.0), config(server, speed=100.0), SendReport(NOW))
            took.append(time.monotonic() - began)
    assert 0.5 <= min(took) < 2.0


async def test_tries_again_with_the_same_id() -> None:
    answers = iter([503, 500, 429])

    def answer(path: str, body: Any) -> Answer:
        return next(answers, 201), {}

    async with serving(answer) as server:
        report = SendReport(NOW)
        await send(fixes(1), config(server), report)
    assert len({body["message_id"] for _, body in server.requests}) == 1
    assert len(server.requests) == 4
    assert (report.total, report.retries) == (1, 3)


async def test_counts_refusals_and_goes_on() -> None:
    def answer(path: str, body: Any) -> Answer:
        return (422, {"message": "no"}) if body["latitude"] == 1.0 else (201, {})

    async with serving(answer) as server:
        report = SendReport(NOW)
        await send(fixes(3), config(server), report)
    assert (report.total, report.refused) == (2, 1)
    assert report.refusals == ['/sensor/gps: HTTP 422: {"message": "no"}']


async def test_counts_what_a_batch_refuses() -> None:
    messages = tuple(Message(ACCELEROMETER_RAW, 0.0, n, {"x": 0.0, "y": 0.0, "z": 9.8}) for n in range(3))
    accepted: list[Acknowledged] = []

    def answer(path: str, body: Any) -> Answer:
        assert [item["sensor_type"] for item in body] == ["accelerometer"] * 3
        return 201, {"total": 3, "processed": 2, "failed": 1, "errors": [{"index": 1, "message": "bad"}]}

    async with serving(answer) as server:
        report = SendReport(NOW)
        await send([Event(0.0, "/sensor/batch", messages)], config(server), report, accepted.extend)
    assert [a.message for a in accepted] == [messages[0], messages[2]]
    assert (report.total, report.refused, report.refusals) == (2, 1, ["/sensor/batch: bad"])


async def test_gives_up_when_patience_ends() -> None:
    async with serving(lambda *_: (503, {})) as server:
        with pytest.raises(ApiAwayError, match=r"did not accept /sensor/gps within 0\.6 s \(HTTP 503"):
            await send(fixes(200), config(server, patience_s=0.6), SendReport(NOW))


async def test_says_that_the_api_is_away() -> None:
    with pytest.raises(ApiAwayError, match=r"no ingest API answers at http://127\.0\.0\.1:1 .*`loom up`"):
        await check_api("http://127.0.0.1:1")
    async with serving(lambda *_: (503, {})) as server:
        with pytest.raises(ApiAwayError, match=r"is not ready \(HTTP 503\)"):
            await check_api(server.url)


@pytest.mark.parametrize("speed", [0.0, 0.5, 1.0, 2.0, 60.0, 10_000.0])
def test_a_day_ends_now_and_never_begins_too_early(speed: float) -> None:
    seconds = min(longest_day(speed).total_seconds(), 86_400.0)
    began = beginning(seconds, speed, NOW)
    assert NOW - began <= timedelta(hours=23.9, seconds=1)
    took = timedelta(seconds=seconds / speed if speed else 0.0)
    assert began + timedelta(seconds=seconds) <= NOW + took + timedelta(seconds=1)
    if speed != 0.5:
        assert began + timedelta(seconds=seconds) >= NOW + took - timedelta(seconds=1)
