"""Slow clients, and those that stop: every one is told, or cut off, in time."""

import asyncio

import httpx
import pytest

from tests.ingest.limits.raw import GPS, Client, connected, dial, head, metric, request, until
from tests.ingest.server import LiveServer


async def test_slow_headers(server: LiveServer) -> None:
    async with connected(server) as client:
        drip = asyncio.create_task(client.drip(request()))
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        assert answer.headers["connection"] == "close"
        assert 0.5 < client.seconds < 3
        await client.ended()
        drip.cancel()
    assert metric(server, "connections_closed_total", reason="slow_headers") >= 1
    assert metric(server, "requests_rejected_total", code="REQUEST_TIMEOUT") >= 1


async def test_the_deadline_of_headers_is_not_put_off(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(b"POST /sensor/gps HTTP/1.1\r\n")
        for _ in range(30):
            client.send(b"X-More: yes\r\n")
            await asyncio.sleep(0.05)
            if client.reader.at_eof():
                break
        assert (await client.ended()).startswith(b"HTTP/1.1 408 ")
        assert client.seconds < 3


async def test_a_connection_that_says_nothing(server: LiveServer) -> None:
    async with connected(server) as client:
        assert await client.ended() == b""
        assert 0.5 < client.seconds < 3


@pytest.mark.parametrize("sent", [b"", b"{"])
async def test_a_body_that_stops(server: LiveServer, sent: bytes) -> None:
    async with connected(server) as client:
        client.send(head(Content_Length="1000", Content_Type="application/json") + sent)
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        assert 0.9 < client.seconds < 4
        await client.ended()
    assert metric(server, "http_requests_total", method="POST", endpoint="/sensor/gps", status_code="408") >= 1


async def test_a_slow_body(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Content_Length="1000", Content_Type="application/json"))
        drip = asyncio.create_task(client.drip(b"{" + b" " * 999))
        assert (await client.answer()).status == 408
        assert 0.9 < client.seconds < 4
        await client.ended()
        drip.cancel()


async def test_a_slow_chunked_body(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head(Transfer_Encoding="chunked", Content_Type="application/json"))
        drip = asyncio.create_task(client.drip(b"1\r\n{\r\n" * 200))
        assert (await client.answer()).status == 408
        await client.ended()
        drip.cancel()


async def test_a_slow_body_that_nobody_waits_for(server: LiveServer) -> None:
    async with connected(server) as client:
        client.send(head("/nowhere", Content_Length="1000"))
        assert (await client.answer()).status == 404
        drip = asyncio.create_task(client.drip(b" " * 900))
        await client.ended()
        assert client.seconds < 4
        drip.cancel()


async def test_an_idle_connection(server: LiveServer) -> None:
    async with connected(server) as client:
        for _ in range(3):
            client.send(request())
            assert (await client.answer()).status == 201
            await asyncio.sleep(0.3)
        assert await client.ended() == b""
        assert 1.2 < client.seconds < 5


async def test_many_slow_clients_leave_room_for_others(server: LiveServer) -> None:
    clients = [await dial(server) for _ in range(300)]
    for n, client in enumerate(clients):
        client.send(b"POST /sen" if n % 2 else head(Content_Length="1000") + b"{")
    async with httpx.AsyncClient(base_url=server.url) as http:
        for _ in range(10):
            response = await http.post("/sensor/gps", content=GPS, headers={"Content-Type": "application/json"})
            assert response.status_code == 201
            assert response.elapsed.total_seconds() < 1
    answers = await asyncio.gather(*(client.ended() for client in clients))
    assert {answer[:12] for answer in answers} <= {b"HTTP/1.1 408", b"HTTP/1.1 415"}
    for client in clients:
        client.writer.close()


async def test_a_client_that_reads_nothing(server: LiveServer) -> None:
    def cut() -> float:
        return metric(server, "connections_closed_total", reason="slow_reader")

    async with connected(server) as client:
        client.writer.transport.pause_reading()
        # Until there is more than the buffers of both sides hold.
        for _ in range(100):
            before = documents(server)
            client.send(request("/openapi.json", b"", "GET") * 10)
            await until(lambda least=before + 10: documents(server) >= least or cut() == 1, "answers, or the end")
            if cut():
                break
        assert cut() == 1


def documents(server: LiveServer) -> float:
    """Answers so far, those of /metrics aside."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("http_requests_total{") and "/metrics" not in line]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


async def test_clients_that_leave_in_the_middle(server: LiveServer) -> None:
    clients: list[Client] = [await dial(server) for _ in range(100)]
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
