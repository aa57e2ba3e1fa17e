"""The spool in numbers, with the real service and a real broker: `python -m tests.ingest.spool.bench [--seconds S]`.

Requests per second and latency while the broker is away, and how fast the spool is drained when it is back, as JSON.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import httpx

from loom_contracts.topics.registry import LANDED
from loom_platform.topics import create_topics
from tests.ingest.bench_load import GPS, load, request
from tests.ingest.own_broker import OwnBroker
from tests.ingest.server import live_server, wait_for


def measure(root: Path, seconds: float, connections: int) -> dict[str, float]:
    """Numbers of one outage."""
    broker, content = OwnBroker(root), request("/sensor/gps", GPS)
    try:
        broker.start()
        servers = broker.kafka.bootstrap_servers
        create_topics(servers, topics=LANDED)
        with live_server(servers, spool_dir=root / "spool") as server:

            def state() -> str:
                return str(httpx.get(f"{server.url}/readyz", timeout=20).json()["state"])

            wait_for(lambda: state() == "direct", "the broker", 30)
            direct = asyncio.run(load(server.port, connections, seconds, content))
            broker.kill()
            wait_for(lambda: state() == "spooling", "the service to notice", 30)
            spooled = sorted(asyncio.run(load(server.port, connections, seconds, content)))
            broker.start()
            wait_for(lambda: state() != "spooling", "the service to find the broker", 30)
            began = time.perf_counter()
            wait_for(lambda: state() == "direct", "the drain", 120)
            drained = time.perf_counter() - began
    finally:
        broker.end()
    return {
        "direct_requests_per_second": round(len(direct) / seconds),
        "spooling_requests_per_second": round(len(spooled) / seconds),
        "spooling_p50_ms": round(spooled[len(spooled) // 2] * 1e3, 2),
        "spooling_p99_ms": round(spooled[int(len(spooled) * 0.99)] * 1e3, 2),
        # The state is looked at every 50 ms, and the drain begins up to 0.1 s after the connection.
        "drained_per_second_at_least": round(len(spooled) / drained),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loom-spool-bench-") as root:
        sys.stdout.write(json.dumps(measure(Path(root), arguments.seconds, arguments.connections), indent=2) + "\n")


if __name__ == "__main__":
    main()
