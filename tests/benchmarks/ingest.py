"""The ingest API, one worker process: against the same written the plain way, its latency, batches, audio, memory."""

import asyncio
import tempfile
import time
from statistics import median

import psutil
import psycopg
import uvloop
from confluent_kafka import Consumer, TopicPartition

from loom_contracts.topics.device import AUDIO_RAW
from loom_contracts.topics.registry import LANDED
from loom_ingest.access.principal import Scope
from loom_ingest.access.register import create
from loom_platform.topics import create_topics
from tests.benchmarks.harness import Result, Servers
from tests.ingest.bench import compare, cpu_seconds, server
from tests.ingest.bench_load import BATCH_ITEMS, GPS, arrivals, audio, batch, load, request
from tests.ingest.limits.flood import SETTINGS, flood

PREFIX = "bench"
CONNECTIONS = 128
"""So many that a server never waits for its clients: with 64 all of them wait for the same batch, and it for them."""
SECONDS, ROUNDS = 24.0, 8


def run(servers: Servers) -> list[Result]:
    """All numbers, over a private broker; with a database and a spool, as `make up` runs the service."""
    create_topics(servers.bootstrap_servers, prefix=PREFIX, topics=LANDED, partitions=3)
    with servers.database() as url, tempfile.TemporaryDirectory(prefix="loom-bench-spool-") as spool:
        settings: dict[str, object] = {"database_url": url, "spool_dir": spool}
        results = _against_others(servers, settings)
        with server("loom", servers.bootstrap_servers, PREFIX, **settings) as (port, process):
            results += _latency(port)
            results += _batch(port, process)
            results += _audio(servers, port)
        results += _keys(servers, settings, url)
        with server("loom", servers.bootstrap_servers, PREFIX, **settings, **SETTINGS) as (port, process):
            seen = flood(port, process.pid, seconds=10.0)
        note = f"{seen['offered_per_second']:g}/s offered, {seen['limited']} of {seen['sent']} refused, none lost"
        if seen["other"] or seen["polite_accepted"] != seen["polite_sent"]:
            raise RuntimeError(f"the flood was not only accepted and limited: {seen}")
        return [
            *results,
            Result("ingest: resident memory under a 10x flood", seen["resident_peak_mb"], "MB", 300, "at most", note),
        ]


def _against_others(servers: Servers, settings: dict[str, object]) -> list[Result]:
    seen = compare(servers.bootstrap_servers, CONNECTIONS, SECONDS, ROUNDS, PREFIX, **settings)
    loom, raw, plain, ratios = seen["loom"], seen["raw"], seen["plain"], seen["ratios"]

    def note(other: dict[str, float]) -> str:
        return f"{loom['requests_per_second']:,.0f}/s against {other['requests_per_second']:,.0f}/s"

    def cost(other: dict[str, float]) -> str:
        return f"{loom['cpu_us_per_request']:g} us against {other['cpu_us_per_request']:g} us"

    return [
        Result("ingest: gps, rate against the plain way", ratios["rate_loom_to_plain"], "x", 3, note=note(plain)),
        Result("ingest: gps, rate against a raw app", ratios["rate_loom_to_raw"], "x", 0.6, note=note(raw)),
        Result("ingest: gps, the plain way's processor time", ratios["cpu_plain_to_loom"], "x", note=cost(plain)),
        Result("ingest: gps, a raw app's processor time", ratios["cpu_raw_to_loom"], "x", note=cost(raw)),
    ]


def _latency(port: int) -> list[Result]:
    content = request("/sensor/gps", GPS)
    uvloop.run(load(port, CONNECTIONS, 2.0, content))
    rates = [len(uvloop.run(load(port, CONNECTIONS, 2.0, content))) / 2.0 for _ in range(3)]
    half = median(rates) / 2
    rounds = [sorted(uvloop.run(arrivals(port, half, 3.0, content))) for _ in range(7)]
    p50, p99 = (median(each[int(len(each) * part)] for each in rounds) * 1000 for part in (0.5, 0.99))
    note = f"{half:,.0f} arrivals/s, p50 {p50:.1f} ms; the middle of {len(rounds)} rounds"
    return [Result("ingest: gps, p99 at half of the maximum rate", p99, "ms", 25, "at most", note)]


def _batch(port: int, process: psutil.Process) -> list[Result]:
    content = request("/sensor/batch", batch())
    uvloop.run(load(port, 8, 1.0, content))
    rates, costs = [], []
    for _ in range(5):
        before, began = cpu_seconds(process), time.perf_counter()
        count = BATCH_ITEMS * len(uvloop.run(load(port, 8, 2.0, content)))
        rates.append(count / (time.perf_counter() - began))
        costs.append((cpu_seconds(process) - before) / count * 1e6)
    note = f"{median(costs):.1f} us of processor time each"
    return [Result("ingest: readings in batches of 100", median(rates), "/s", 20_000, note=note)]


def _audio(servers: Servers, port: int) -> list[Result]:
    topic = AUDIO_RAW.on_broker(PREFIX)
    before = _count(servers, topic)
    acks = uvloop.run(audio(port, 20.0))
    stored = _count(servers, topic) - before
    if acks.errors:
        raise RuntimeError(f"{len(acks.errors)} chunks were refused: {acks.errors[0]}")
    latencies = sorted(acks.seconds)
    p99 = latencies[int(len(latencies) * 0.99)] * 1000
    note = f"{acks.sent} chunks of 20 devices, p50 {latencies[len(latencies) // 2] * 1000:.1f} ms"
    return [
        Result("ingest: audio on WebSockets, chunks lost", acks.sent - min(len(latencies), stored), "", 0, "at most"),
        Result("ingest: audio on WebSockets, p99 of acknowledgements", p99, "ms", 100, "at most", note),
    ]


def _keys(servers: Servers, settings: dict[str, object], url: str) -> list[Result]:
    """What a key costs: a service that is open, and one that wants a key of a device, in turns."""

    async def make() -> str:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            made, _ = await create(
                connection, "bench", name="bench", scopes=[Scope.INGEST], devices=["phone-001"], expires_at=None
            )
            return made.text

    key = asyncio.run(make())
    contents = {False: request("/sensor/gps", GPS), True: request("/sensor/gps", GPS, key)}
    costs: dict[bool, list[float]] = {False: [], True: []}
    guarded = settings | {"require_api_keys": True, "spool_dir": f"{settings['spool_dir']}/guarded"}
    with (
        server("loom", servers.bootstrap_servers, PREFIX, **settings) as open_,
        server("loom", servers.bootstrap_servers, PREFIX, **guarded) as closed,
    ):
        for n in range(7):
            for keyed, (port, process) in ((False, open_), (True, closed)):
                before = cpu_seconds(process)
                count = len(uvloop.run(load(port, CONNECTIONS, 1.5, contents[keyed])))
                if n:
                    costs[keyed].append((cpu_seconds(process) - before) / count * 1e6)
    extra = median(b - a for a, b in zip(costs[False], costs[True], strict=True))
    note = f"{median(costs[True]):.1f} us a request with one, {median(costs[False]):.1f} us without"
    return [Result("ingest: gps, what a key costs", extra, "us", note=note)]


def _count(servers: Servers, topic: str) -> int:
    """How many records the topic has."""
    consumer = Consumer({"bootstrap.servers": servers.bootstrap_servers, "group.id": "bench"})
    try:
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20) for p in partitions]
        return sum(high - low for low, high in ends)
    finally:
        consumer.close()
