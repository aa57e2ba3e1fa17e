"""POST /sensor/gps side by side: Loom's service, a raw ASGI app that only produces the body, a plain FastAPI one.

`python tests/ingest/bench.py --bootstrap-servers HOST:PORT [--seconds S] [--connections N]` prints JSON: requests per
second, CPU microseconds of the server per request, latency percentiles. The topics must exist.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
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


def compare(
    bootstrap_servers: str, connections: int = 64, seconds: float = 6.0, rounds: int = 6, prefix: str = ""
) -> dict[str, dict[str, float]]:
    """Numbers of each server and their ratios; they take turns, so that what else the machine does meets all alike."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(_server(name, bootstrap_servers, prefix)) for name in SERVERS}
        latencies: dict[str, list[float]] = {name: [] for name in SERVERS}
        elapsed = dict.fromkeys(SERVERS, 0.0)
        cpu = dict.fromkeys(SERVERS, 0.0)
        for port, _ in running.values():
            asyncio.run(load(port, connections, 1.0))
        for _ in range(rounds):
            for name, (port, process) in running.items():
                before, began = _cpu_seconds(process), time.perf_counter()
                latencies[name] += asyncio.run(load(port, connections, seconds / rounds))
                elapsed[name] += time.perf_counter() - began
                cpu[name] += _cpu_seconds(process) - before
        results: dict[str, dict[str, float]] = {}
        for name, (_, process) in running.items():
            ordered = sorted(latencies[name])
            results[name] = {
                "requests_per_second": round(len(ordered) / elapsed[name]),
                "cpu_us_per_request": round(cpu[name] / len(ordered) * 1e6, 1),
                "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
                "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 2),
                "resident_mb": round(process.memory_info().rss / 2**20),
            }
    rate = {name: result["requests_per_second"] for name, result in results.items()}
    cost = {name: result["cpu_us_per_request"] for name, result in results.items()}
    results["ratios"] = {
        "rate_loom_to_raw": round(rate["loom"] / rate["raw"], 2),
        "rate_loom_to_plain": round(rate["loom"] / rate["plain"], 2),
        "cpu_raw_to_loom": round(cost["raw"] / cost["loom"], 2),
        "cpu_plain_to_loom": round(cost["plain"] / cost["loom"], 2),
    }
    return results


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _server(name: str, bootstrap_servers: str, prefix: str) -> Iterator[tuple[int, psutil.Process]]:
    """Port and process of a server that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LOOM_PORT": str(port),
        "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "LOOM_KAFKA_TOPIC_PREFIX": prefix,
        "LOOM_LOG_LEVEL": "WARNING",
    }
    arguments = ["-m", "loom_ingest"] if name == "loom" else [__file__, "--serve", name]
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    try:
        for _ in range(400):
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def serve(kind: str) -> None:
    """Run a baseline, with the same server and the same producer's settings."""
    import uvicorn
    from aiokafka import AIOKafkaProducer
    from fastapi import FastAPI, Response

    from loom_contracts.payloads.sensor import GpsFix
    from loom_contracts.topics.device import GPS_RAW

    servers = os.environ["LOOM_KAFKA_BOOTSTRAP_SERVERS"]
    topic = GPS_RAW.on_broker(os.environ["LOOM_KAFKA_TOPIC_PREFIX"])
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
            await producer.send_and_wait(topic, event["body"], key=b"phone-001")
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
        await producer.send_and_wait(topic, fix.model_dump_json().encode(), key=fix.device_id.encode())
        return {"status": "success", "message_id": str(fix.message_id), "topic": topic}

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
    parser.add_argument("--prefix", default=os.environ.get("LOOM_KAFKA_TOPIC_PREFIX", ""))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    results = compare(arguments.bootstrap_servers, arguments.connections, arguments.seconds, prefix=arguments.prefix)
    text = json.dumps(results, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
