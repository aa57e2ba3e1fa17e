"""POST /sensor/gps side by side: Loom's service, a raw ASGI app that only produces the body, a plain FastAPI one.

`python tests/ingest/bench.py --bootstrap-servers HOST:PORT [--seconds S] [--connections N]` prints JSON: requests per
second, CPU microseconds of the server per request, latency percentiles. The topics must exist.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

BODY = b'{"device_id":"phone-001","latitude":37.7749,"longitude":-122.4194,"accuracy":5.0}'
REQUEST = (
    b"POST /sensor/gps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(BODY)).encode()
    + b"\r\n\r\n"
    + BODY
)
TOPIC = "device.sensor.gps.raw"
SERVERS = ("loom", "raw", "plain")


class _Client(asyncio.Protocol):
    """One connection that sends the next request when the last was answered."""

    def __init__(self, latencies: list[float], deadline: float, request: bytes) -> None:
        self.latencies = latencies
        self.deadline = deadline
        self.request = request
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
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
        self.buffer = b""
        now = time.perf_counter()
        self.latencies.append(now - self.sent)
        if now >= self.deadline:
            self.done.set_result(None)
            self.transport.close()
            return
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


async def load(port: int, connections: int, seconds: float, request: bytes = REQUEST) -> list[float]:
    """Latencies in seconds of all requests that `connections` could make in `seconds`."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(latencies, deadline, request), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return latencies


def measure(server: str, bootstrap_servers: str, connections: int, seconds: float) -> dict[str, Any]:
    """Numbers of one server, warmed up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LOOM_PORT": str(port),
        "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "LOOM_LOG_LEVEL": "WARNING",
    }
    command = (
        [sys.executable, "-m", "loom_ingest"] if server == "loom" else [sys.executable, __file__, "--serve", server]
    )
    process = subprocess.Popen([*command], env=environment)
    try:
        for _ in range(200):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
        asyncio.run(load(port, connections, 1.0))
        watched = psutil.Process(process.pid)
        before = watched.cpu_times()
        started = time.perf_counter()
        latencies = sorted(asyncio.run(load(port, connections, seconds)))
        elapsed = time.perf_counter() - started
        after = watched.cpu_times()
        cpu = after.user - before.user + after.system - before.system
        return {
            "requests_per_second": round(len(latencies) / elapsed),
            "cpu_us_per_request": round(cpu / len(latencies) * 1e6, 1),
            "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
            "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 2),
            "resident_mb": round(watched.memory_info().rss / 2**20),
        }
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def serve(kind: str) -> None:
    """Run a baseline, with the same server and the same producer's settings."""
    import uvicorn
    from aiokafka import AIOKafkaProducer
    from fastapi import FastAPI, Response

    from loom_contracts.payloads.sensor import GpsFix

    servers = os.environ["LOOM_KAFKA_BOOTSTRAP_SERVERS"]
    producer: Any = None

    def build() -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=servers, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=1
        )

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        nonlocal producer
        if scope["type"] == "lifespan":
            await receive()
            producer = build()
            await producer.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await producer.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["method"] == "POST":
            event = await receive()
            await producer.send_and_wait(TOPIC, event["body"], key=b"phone-001")
        content = b'{"status":"success"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal producer
        producer = build()
        await producer.start()
        yield
        await producer.stop()

    plain = FastAPI(lifespan=lifespan)

    @plain.get("/readyz")
    async def _ready() -> dict[str, str]:
        return {"status": "healthy"}

    @plain.post("/sensor/gps", status_code=201)
    async def _gps(fix: GpsFix, response: Response) -> dict[str, str]:
        await producer.send_and_wait(TOPIC, fix.model_dump_json().encode(), key=fix.device_id.encode())
        return {"status": "success", "message_id": str(fix.message_id), "topic": TOPIC}

    uvicorn.run(
        raw if kind == "raw" else plain,
        host="127.0.0.1",
        port=int(os.environ["LOOM_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=SERVERS[1:])
    parser.add_argument("--bootstrap-servers", default=os.environ.get("LOOM_KAFKA_BOOTSTRAP_SERVERS"))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    results: dict[str, dict[str, Any]] = {
        name: measure(name, arguments.bootstrap_servers, arguments.connections, arguments.seconds) for name in SERVERS
    }
    rates = {name: result["requests_per_second"] for name, result in results.items()}
    results["ratios"] = {
        "loom_to_raw": round(rates["loom"] / rates["raw"], 2),
        "loom_to_plain": round(rates["loom"] / rates["plain"], 2),
    }
    text = json.dumps(results, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
