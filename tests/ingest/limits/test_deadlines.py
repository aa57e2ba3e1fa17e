"""Slow clients, and those that stop: every one is told, or cut off, in time."""

import asyncio
from functools import partial

import httpx
import pytest

from loom_ingest.metrics import Metrics
from loom_ingest.server.guard import Guard, Outflow
from loom_ingest.settings import Settings
from tests.ingest.limits.raw import GPS, connected, head, metric, request, several, until
from tests.ingest.server import LiveServer


async def slow_headers(server: LiveServer) -> None:
    async with connected(server) as client:
        drip = asyncio.create_task(client.drip(request()))
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        assert answer.headers["connection"] == "close"
        assert client.seconds < 4
        await client.ended()
        drip.cancel()


async def headers_without_end(server: LiveServer) -> None:
    async with connected(server) as client:
        drip = asyncio.create_task(client.drip(b"POST /sensor/gps HTTP/1.1\r\n" + b"X-More: yes\r\n" * 30, 0.02))
        assert (await client.ended()).startswith(b"HTTP/1.1 408 ")
        assert client.seconds < 4
        drip.cancel()


async def nothing_at_all(server: LiveServer) -> None:
    async with connected(server) as client:
        assert await client.ended() == b""
        assert 0.9 < client.seconds < 4


async def a_body_that_stops(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Content_Length="1000", Content_Type="application/json") + b"{")
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        assert 0.9 < client.seconds < 4
        await client.ended()


async def a_body_that_never_begins(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Content_Length="1000", Content_Type="application/json", Expect="100-continue"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.answer()).status == 408
        await client.ended()


async def a_slow_body(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Content_Length="1000", Content_Type="application/json"))
        drip = asyncio.create_task(client.drip(b"{" + b" " * 999))
        assert (await client.answer()).status == 408
        assert 0.9 < client.seconds < 4
        await client.ended()
        drip.cancel()


async def a_slow_chunked_body(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Transfer_Encoding="chunked", Content_Type="application/json"))
        drip = asyncio.create_task(client.drip(b"1\r\n{\r\n" * 200))
        assert (await client.answer()).status == 408
        await client.ended()
        drip.cancel()


async def a_slow_body_that_nobody_waits_for(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head("/nowhere", Content_Length="1000"))
        assert (await client.answer()).status == 404
        drip = asyncio.create_task(client.drip(b" " * 900))
        await client.ended()
        assert client.seconds < 5
        drip.cancel()


async def idle_between_requests(server: LiveServer) -> None:
    async with connected(server) as client:
        for _ in range(3):
            client.send(request())
            assert (await client.answer()).status == 201
            await asyncio.sleep(0.3)
        assert await client.ended() == b""
        assert 1.5 < client.seconds < 6


SLOW = (
    slow_headers,
    headers_without_end,
    nothing_at_all,
    a_body_that_stops,
    a_body_that_never_begins,
    a_slow_body,
    a_slow_chunked_body,
    a_slow_body_that_nobody_waits_for,
    idle_between_requests,
)


async def test_slow_clients(server: LiveServer) -> None:
    """All of them at the same time; each takes as long as a deadline."""
    results = await asyncio.gather(*(case(server) for case in SLOW), return_exceptions=True)
    assert {case.__name__: error for case, error in zip(SLOW, results, strict=True) if error is not None} == {}
    assert metric(server, "connections_closed_total", reason="slow_headers") >= 2
    assert metric(server, "connections_closed_total", reason="slow_body") >= 5
    assert metric(server, "requests_rejected_total", code="REQUEST_TIMEOUT") >= 6
    assert metric(server, "http_requests_total", method="POST", endpoint="/sensor/gps", status_code="408") >= 4


@pytest.mark.parametrize(
    ("seconds", "size", "overdue"),
    [
        (59, 0, True),
        (4, 0, False),
        (6, 499, True),
        (6, 500, False),
        (59, 2**20, False),
        (61, 2**20 - 1, True),
        (119, 2**20, False),
        (121, 2**20, True),
        (900, 15 * 2**20, False),
    ],
)
def test_how_long_a_body_may_take(seconds: float, size: int, *, overdue: bool) -> None:
    assert Guard(Settings(), Metrics()).body_overdue(seconds, size) is overdue


def test_how_slowly_a_client_may_read() -> None:
    outflow = Outflow(Guard(Settings(body_timeout_seconds=10, body_min_bytes_per_second=100), Metrics()))
    # A thousand bytes in ten seconds will do, however much is left; none of it are too few.
    assert [outflow.stuck(now, left) for now, left in ((0, 5_000), (9, 5_000), (11, 4_000), (22, 3_001))] == [
        False,
        False,
        False,
        True,
    ]
    outflow.flows()
    assert not outflow.stuck(23, 3_001)
    assert outflow.stuck(34, 3_001)


async def test_many_slow_clients_leave_room_for_others(server: LiveServer) -> None:
    async with several(server, 300) as clients, httpx.AsyncClient(base_url=server.url) as http:
        for n, client in enumerate(clients):
            client.send(b"POST /sen" if n % 2 else head(Content_Length="1000") + b"{")
        for _ in range(10):
            response = await http.post("/sensor/gps", content=GPS, headers={"Content-Type": "application/json"})
            assert response.status_code == 201
            assert response.elapsed.total_seconds() < 1
        answers = await asyncio.gather(*(client.ended() for client in clients))
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}


async def test_a_client_that_reads_nothing(server: LiveServer) -> None:
    async with connected(server) as client:
        client.deaf()
        # Until there is more than the buffers of both sides hold.
        for _ in range(100):
            before = documents(server)
            client.send(request("/openapi.json", b"", "GET") * 10)
            await until(partial(more_or_cut, server, before + 10), "answers, or the end")
            if cut(server):
                return
        pytest.fail("the connection goes on")


def cut(server: LiveServer) -> bool:
    return metric(server, "connections_closed_total", reason="slow_reader") == 1


def more_or_cut(server: LiveServer, least: float) -> bool:
    return cut(server) or documents(server) >= least


def documents(server: LiveServer) -> float:
    """Answers so far, those of /metrics aside."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("http_requests_total{") and "/metrics" not in line]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


async def test_clients_that_leave_in_the_middle(server: LiveServer) -> None:
    async with several(server, 100) as clients:
        for client in clients:
            client.send(head(Content_Length="100000", Content_Type="application/json") + b"{" * 50_000)
            await client.writer.drain()
        for client in clients:
            client.abort()
    async with connected(server) as client:
        client.send(request())
        assert (await client.answer()).status == 201
    await until(lambda: metric(server, "connections_buffered_bytes") == 0, "room")
    await until(lambda: metric(server, "connections_open") <= 1, "the end of the others")
