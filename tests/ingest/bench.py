"""POST /sensor/gps side by side: Loom's service, a raw ASGI app that only produces the body, a plain FastAPI one.

`python -m tests.ingest.bench --bootstrap-servers HOST:PORT [--seconds S] [--connections N]` prints JSON: requests per
second, CPU microseconds of the server per request, latency percentiles, and ratios, the middle of all rounds. The
topics must exist. `make bench` runs it with servers of its own, and with more beside it (tests/benchmarks/ingest.py).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import uvloop

from tests.ingest.bench_load import GPS, load, request

ROOT = Path(__file__).parents[2]
SERVERS = ("loom", "raw", "plain")


def compare(
    bootstrap_servers: str,
    connections: int = 64,
    seconds: float = 6.0,
    rounds: int = 6,
    prefix: str = "",
    **settings: object,
) -> dict[str, dict[str, float]]:
    """Numbers of each server and their ratios; they take turns, so that what else the machine does meets all alike.

    `settings` are Loom's own. A ratio is the middle of those of the rounds.
    """
    content = request("/sensor/gps", GPS)
    with ExitStack() as stack:
        running = {name: stack.enter_context(server(name, bootstrap_servers, prefix, **settings)) for name in SERVERS}
        for port, _ in running.values():
            uvloop.run(load(port, connections, 1.0, content))
        latencies: dict[str, list[float]] = {name: [] for name in SERVERS}
        rates: dict[str, list[float]] = {name: [] for name in SERVERS}
        costs: dict[str, list[float]] = {name: [] for name in SERVERS}
        for _ in range(rounds):
            for name, (port, process) in running.items():
                before, began = cpu_seconds(process), time.perf_counter()
                taken = uvloop.run(load(port, connections, seconds / rounds, content))
                rates[name].append(len(taken) / (time.perf_counter() - began))
                costs[name].append((cpu_seconds(process) - before) / len(taken) * 1e6)
                latencies[name] += taken
        results: dict[str, dict[str, float]] = {}
        for name, (_, process) in running.items():
            ordered = sorted(latencies[name])
            results[name] = {
                "requests_per_second": round(median(rates[name])),
                "cpu_us_per_request": round(median(costs[name]), 1),
                "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
                "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 2),
                "resident_mb": round(process.memory_info().rss / 2**20),
            }
    results["ratios"] = {
        "rate_loom_to_raw": _ratio(rates["loom"], rates["raw"]),
        "rate_loom_to_plain": _ratio(rates["loom"], rates["plain"]),
        "cpu_raw_to_loom": _ratio(costs["raw"], costs["loom"]),
        "cpu_plain_to_loom": _ratio(costs["plain"], costs["loom"]),
    }
    return results


def _ratio(first: list[float], second: list[float]) -> float:
    return round(median(a / b for a, b in zip(first, second, strict=True)), 2)


def cpu_seconds(process: psutil.Process) -> float:
    """Of the process, so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def server(name: str, bootstrap_servers: str, prefix: str, **settings: object) -> Iterator[tuple[int, psutil.Process]]:
    """Port and process of a server that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("LOOM_")},
        "LOOM_PORT": str(port),
        "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "LOOM_KAFKA_TOPIC_PREFIX": prefix,
        "LOOM_LOG_LEVEL": "WARNING",
        **{f"LOOM_{key.upper()}": str(value) for key, value in settings.items()},
    }
    arguments = ["-m", "loom_ingest"] if name == "loom" else ["-m", "tests.ingest.bench", "--serve", name]
    process = subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT)
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
