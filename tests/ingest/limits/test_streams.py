"""WebSockets: very many that say nothing, and some that say too much."""

import asyncio
import json
import resource
import time
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.ingest.limits.raw import GPS, connected, head, metric, resident_mb, until
from tests.ingest.server import LiveServer

IDLE = 1_000


def stream(server: LiveServer, device_id: str) -> connect:
    url = f"ws://127.0.0.1:{server.port}/audio/stream/{device_id}"
    return connect(url, ping_interval=None, compression=None, max_size=None, open_timeout=20)


async def last_words(socket: ClientConnection) -> tuple[str, int]:
    """Code of the last message, and of the close."""
    code = ""
    try:
        while True:
            code = json.loads(await asyncio.wait_for(socket.recv(), 20)).get("code", code)
    except ConnectionClosed as closed:
        return code, closed.rcvd.code if closed.rcvd else 0


async def never_ending(server: LiveServer) -> tuple[str, int]:
    """The last words to one that sends a byte of its frame now and then."""
    async with stream(server, "slow-001") as socket:
        socket.transport.write(b"\x81\xfe\x10\x00\0\0\0\0")
        for _ in range(3):
            socket.transport.write(b"a")
            await asyncio.sleep(1)
        return await last_words(socket)


async def test_a_thousand_idle_streams(server: LiveServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4_096, hard)), hard))
    before = resident_mb(server)
    slots = asyncio.Semaphore(20)
    latencies: list[float] = []

    sockets: list[ClientConnection] = []

    async def open_one(n: int) -> None:
        async with slots:
            for left in (2, 1, 0):
                try:
                    sockets.append(await stream(server, f"idle-{n:04d}"))
                    return
                except (InvalidMessage, TimeoutError):
                    # On a busy machine this client may need longer for a handshake than the server gives it.
                    if not left:
                        raise

    async def stay() -> None:
        # On a busy machine the first would be idle for too long before the last are there.
        while True:
            await asyncio.sleep(1.5)
            await asyncio.gather(
                *(socket.send('{"message_type": "ping"}') for socket in sockets), return_exceptions=True
            )

    slow = asyncio.create_task(never_ending(server))
    staying = asyncio.create_task(stay())
    await asyncio.gather(*(open_one(n) for n in range(IDLE - 1)))
    staying.cancel()
    listening = [asyncio.create_task(last_words(socket)) for socket in sockets]
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/audio/connections")).json()["active_connections"] > IDLE * 0.9
        for _ in range(20):
            began = time.perf_counter()
            response = await http.post("/sensor/gps", content=GPS, headers={"Content-Type": "application/json"})
            assert response.status_code == 201
            assert (await http.get("/healthz")).status_code == 200
            latencies.append(time.perf_counter() - began)
    assert sorted(latencies)[10] < 0.5
    assert resident_mb(server) < 300
    assert resident_mb(server) - before < 120
    said = await asyncio.gather(*listening)
    assert set(said) == {("INACTIVITY_TIMEOUT", 4408)}
    assert await slow == ("INACTIVITY_TIMEOUT", 4408)
    await until(lambda: metric(server, "connections_open") <= 1, "the end of all connections")
    assert metric(server, "connections_buffered_bytes") == 0


UPGRADE = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
KEY = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.mark.parametrize("size", [70_000, 30 * 2**20])
async def test_a_frame_that_is_too_large(server: LiveServer, size: int) -> None:
    async with connected(server) as client:
        client.send(head("/audio/stream/loud-001", "GET", **UPGRADE, **KEY))
        assert (await client.answer()).status == 101
        client.send(b"\x81\xff" + size.to_bytes(8) + b"\0\0\0\0" + b"a" * size)
        frame = await client.ended()
        assert frame[:1] == b"\x88"
        assert int.from_bytes(frame[2:4]) == 1009
    assert metric(server, "connections_closed_total", reason="frame_too_large") >= 1


async def test_a_message_in_too_many_pieces(server: LiveServer) -> None:
    async with stream(server, "loud-002") as socket:
        with suppress(ConnectionClosed):
            await socket.send("a" * 1_000 for _ in range(100))
        assert await last_words(socket) == ("", 1009)


async def test_a_handshake_with_too_many_headers(server: LiveServer) -> None:
    async with connected(server) as client:
        many = {f"X-{n}": "a" for n in range(300)}
        client.send(head("/audio/stream/many-001", "GET", **UPGRADE, **KEY, **many))
        assert (await client.ended()) == b""
        assert client.seconds < 3
