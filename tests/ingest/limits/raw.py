"""Clients that do what no HTTP library does: bytes on a socket, one at a time, half a request, or nothing."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import httpx
import psutil

from tests.ingest.server import LiveServer

NOBODY = "127.0.0.1:1"
"""Where no broker is."""
GPS = b'{"device_id":"phone-001","latitude":37.7749,"longitude":-122.4194}'


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The guide's `code`; the whole shape is looked at."""
        content: dict[str, Any] = json.loads(self.body)
        assert content.keys() >= {"status", "message", "code", "details", "request_id", "timestamp"}
        assert content["status"] == "error"
        assert self.headers["x-request-id"] == content["request_id"]
        return str(content["code"])


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.opened = time.monotonic()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drip(self, data: bytes, interval: float = 0.05) -> None:
        """Send `data` byte by byte until the other side has enough."""
        with suppress(OSError):
            for n in range(len(data)):
                self.writer.write(data[n : n + 1])
                await self.writer.drain()
                await asyncio.sleep(interval)

    async def answer(self, timeout: float = 10) -> Answer:
        async with asyncio.timeout(timeout):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return Answer(int(first.split()[1]), headers, body)

    async def ended(self, timeout: float = 10) -> bytes:
        """What came until the service closed the connection."""
        async with asyncio.timeout(timeout):
            with suppress(ConnectionResetError):
                return await self.reader.read()
        return b""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.opened

    def deaf(self) -> None:
        """Read nothing from now on."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def abort(self) -> None:
        """Cut the connection, as a phone that leaves the network."""
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@asynccontextmanager
async def connected(server: LiveServer) -> AsyncIterator[Client]:
    """One connection, closed at the end."""
    async with several(server, 1) as (client,):
        yield client


@asynccontextmanager
async def several(server: LiveServer, count: int) -> AsyncIterator[list[Client]]:
    """Connections, opened at the same time and closed at the end."""
    opening = (asyncio.open_connection("127.0.0.1", server.port, limit=2**24) for _ in range(count))
    clients = [Client(*opened) for opened in await asyncio.gather(*opening)]
    try:
        yield clients
    finally:
        for client in clients:
            client.writer.close()
        await asyncio.gather(*(client.writer.wait_closed() for client in clients), return_exceptions=True)


def request(path: str = "/sensor/gps", body: bytes = GPS, method: str = "POST", **headers: str) -> bytes:
    """A whole request."""
    lines = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    return head(path, method, **lines) + body


def head(path: str = "/sensor/gps", method: str = "POST", **headers: str) -> bytes:
    """A request's line and headers."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def metric(server: LiveServer, name: str, **labels: str) -> float:
    """A metric of the service, by its name and all of its labels."""
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    wanted = f"{name}{{{inside}}} " if labels else f"{name} "
    for line in httpx.get(f"{server.url}/metrics").text.splitlines():
        if line.startswith(wanted):
            return float(line.rpartition(" ")[2])
    return 0.0


async def until(condition: Callable[[], bool], what: str, timeout: float = 10) -> None:
    """Look until `condition()`."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        await asyncio.sleep(0.05)


def resident_mb(server: LiveServer) -> float:
    """Resident memory of the service, its workers included."""
    process = psutil.Process(server.process.pid)
    return float(sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))) / 2**20
