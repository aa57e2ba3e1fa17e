"""How many connections there may be, and how much they may hold together."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from tests.ingest.limits.raw import NOBODY, connected, head, metric, request, resident_mb, several, until
from tests.ingest.server import LiveServer, live_server

MOST = 30
HELD = 2**20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service with room for few."""
    spool = tmp_path_factory.mktemp("spool")
    sizes = ("max_body_bytes", "max_audio_body_bytes", "max_import_body_bytes", "stream_max_frame_bytes")
    limits = {"max_connections": MOST, "max_buffered_bytes": HELD, **dict.fromkeys(sizes, HELD)}
    with live_server(NOBODY, spool_dir=spool, keep_alive_seconds=1, log_level="WARNING", **limits) as server:
        yield server


async def test_more_connections_than_there_may_be(small: LiveServer) -> None:
    async with several(small, MOST) as idle, httpx.AsyncClient(base_url=small.url) as http:
        refused = await http.post("/sensor/gps", json={})
        assert (refused.status_code, refused.json()["code"]) == (503, "TOO_MANY_CONNECTIONS")
        assert refused.headers["retry-after"] == "2"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await http.get(path)).status_code == 200
        for client in idle[:2]:
            client.writer.close()
        await until(lambda: metric(small, "connections_open") < MOST, "room")
        async with connected(small) as client:
            client.send(request())
            assert (await client.answer()).status == 201
    assert metric(small, "connections_closed_total", reason="too_many_connections") >= 1


async def test_a_storm_of_connections(small: LiveServer) -> None:
    await until(lambda: metric(small, "connections_open") <= 1, "the end of the others")
    async with several(small, 400) as clients:
        before = resident_mb(small)
        for client in clients:
            client.send(request())
        answers = [await client.ended(20) for client in clients]
        assert resident_mb(small) - before < 30
    assert {answer[:12] for answer in answers} <= {b"HTTP/1.1 201", b"HTTP/1.1 503", b""}
    assert sum(answer.startswith(b"HTTP/1.1 201") for answer in answers) >= MOST // 2


async def test_bodies_that_are_too_much_together(small: LiveServer) -> None:
    await until(lambda: metric(small, "connections_open") <= 1, "the end of the others")
    async with several(small, 3) as clients:
        for client in clients:
            client.send(head("/audio/upload", Content_Length=str(HELD), Content_Type="application/json"))
            client.send(b"{" * (HELD // 2))
        answers = [asyncio.create_task(client.answer()) for client in clients]
        done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        answer = done.pop().result()
        assert (answer.status, answer.code) == (503, "OVERLOADED")
        assert int(answer.headers["retry-after"]) >= 1
        for task in waiting:
            task.cancel()
    await until(lambda: metric(small, "connections_buffered_bytes") == 0, "room")
    async with connected(small) as client:
        client.send(request())
        assert (await client.answer()).status == 201
    assert metric(small, "requests_rejected_total", code="OVERLOADED") >= 1
