"""The metrics against the guides' lists, their page, and clients that invent labels."""

import asyncio
import os
import re
import signal
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry
from structlog.testing import capture_logs

from loom_contracts.topics.device import GPS_RAW
from loom_ingest.app import create_app
from loom_ingest.errors import BrokerUnavailableError
from loom_ingest.metrics import Metrics
from loom_ingest.settings import Settings
from loom_ingest.workers import Workers
from loom_platform.embedded.process import free_port
from tests.ingest.memory import MemoryProducer
from tests.ingest.server import live_server, wait_for

PAGE = Path(__file__).parents[3] / "docs/how-to/observe-the-api.md"
GPS = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# Integration guide, "Available Metrics"; the last one is the project guide's and the readme's.
# The label of a device is there only where LOOM_METRICS_DEVICE_LABELS asks for it.
GUIDES: dict[str, tuple[str, set[str]]] = {
    "http_requests_total": ("counter", {"method", "endpoint", "status_code"}),
    "http_request_duration_seconds_bucket": ("histogram", {"method", "endpoint", "le"}),
    "kafka_messages_total": ("counter", {"topic", "status"}),
    "websocket_connections_total": ("gauge", set()),
    "kafka_messages_sent_total": ("counter", {"topic"}),
}


def values(text: str) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    return values(text).get((name, tuple(sorted(labels.items()))), 0.0)


def names(text: str) -> set[str]:
    """Every metric's name, as its TYPE line has it."""
    return set(re.findall(r"^# TYPE (\S+) ", text, flags=re.MULTILINE))


async def test_the_page_tells_of_every_metric(client: httpx.AsyncClient) -> None:
    there = names((await client.get("/metrics")).text)
    told = set(re.findall(r"^\| `(\w+)", PAGE.read_text(), flags=re.MULTILINE))
    assert told == there


async def test_what_clients_invent_does_not_make_metrics_grow(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    async def everything(marks: list[str]) -> None:
        readings = [{"device_id": f"device-{m}", "sensor_type": "light", "value": {}} for m in marks]
        assert (await client.post("/sensor/batch", json=readings)).status_code == 201
        item = {"device_id": f"device-{marks[0]}", "sensor_type": f"type-{marks[0]}", "value": {}}
        for path in (f"/made/up/{marks[0]}", "/sensor/generic", "/sensor/gps"):
            await client.post(path, json=item)
        await client.get(f"/devices/device-{marks[0]}")
        await client.request(f"M{marks[0]}", "/sensor/gps")
        for mark in marks[::4]:
            await client.head(f"/made/up/{mark}")

    with capture_logs():
        await everything(["first"])
        await client.get("/metrics")
        before = (await client.get("/metrics")).text
        for n in range(100):
            await everything([f"{n:03}{m:03}" for m in range(100)])
        after = (await client.get("/metrics")).text
    labels = {"endpoint": "unmatched", "method": "HEAD"}
    assert value(after, "http_requests_total", **labels, status_code="404") == 2_501
    assert set(values(after)) == set(values(before))
    assert not re.search(r"device-|type-|made", after)


async def test_devices_are_labels_where_they_are_asked_for() -> None:
    for asked, labels in ((True, {"device_id": "mic-001"}), (False, {})):
        metrics = Metrics(device_labels=asked)
        metrics.websockets(["mic-001"])
        assert value(metrics.exposition().decode(), "websocket_connections_total", **labels) == 1
        metrics.websockets([])
        assert value(metrics.exposition().decode(), "websocket_connections_total", **labels) == 0


async def test_refusals_are_counted_by_code(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    await client.post("/sensor/gps", content=b"{")
    good, bad = {"device_id": "s-1", "sensor_type": "light", "value": {}}, {"device_id": "s-1", "sensor_type": "smell"}
    await client.post("/sensor/batch", json=[good, bad, bad])
    producer.failure = BrokerUnavailableError("away")
    await client.post("/sensor/gps", json=GPS)
    text = (await client.get("/metrics")).text
    assert value(text, "requests_rejected_total", code="MALFORMED_JSON") == 1
    assert value(text, "requests_rejected_total", code="KAFKA_UNAVAILABLE") == 1
    assert sum(v for (name, _), v in values(text).items() if name == "batch_items_rejected_total") == 2
    limited = create_app(Settings(rate_limit_enabled=True, rate_limit_burst_size=1), MemoryProducer())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(limited), base_url="http://localhost") as other:
        answers = [(await other.post("/sensor/gps", json=GPS)).status_code for _ in range(3)]
        text = (await other.get("/metrics")).text
    assert answers == [201, 429, 429]
    assert value(text, "requests_rejected_total", code="RATE_LIMITED") == 2


async def test_the_port_that_asks_for_no_key_answers_this_machine_only() -> None:
    port = free_port()
    app = create_app(Settings(host="0.0.0.0", require_api_keys=True, metrics_port=port), MemoryProducer())  # noqa: S104
    async with app.router.lifespan_context(app), httpx.AsyncClient() as client:
        assert names((await client.get(f"http://127.0.0.1:{port}/metrics")).text) >= {
            "http_requests_total",
            "kafka_connected",
            "events_processed_total",
        }
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.2:{port}/metrics")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Metrics, Metrics]:
    """The metrics of this process and, in its parent's directory, of one that has died."""
    mine, dead = Metrics(), Metrics()
    workers = Workers(tmp_path)
    asyncio.run(_begin(workers, mine.registry))
    mine._workers = workers
    for metrics, count in ((mine, 2), (dead, 3)):
        for _ in range(count):
            metrics.request("POST", "/sensor/gps", 201, 0.004)
            metrics.acknowledged("t", 0.002)
        metrics.kafka_pending.set(count)
        metrics.spool_oldest.set(count)
        metrics.kafka_connected.set(count - 2)
    return mine, dead


async def _begin(workers: Workers, registry: CollectorRegistry) -> None:
    await workers.start(registry)
    await workers.stop(registry)


def test_what_a_dead_worker_counted_stays_and_how_it_was_goes(parts: tuple[Metrics, Metrics], tmp_path: Path) -> None:
    mine, dead = parts
    other = Workers(tmp_path)
    other._own = other._directory / "1-123.45.json"
    other.write(dead.registry)
    (other._directory / "2-0.00.json").write_text("{ torn")
    text = mine.exposition().decode()
    labels = {"method": "POST", "endpoint": "/sensor/gps"}
    assert value(text, "http_requests_total", status_code="201", **labels) == 5
    assert value(text, "http_request_duration_seconds_count", **labels) == 5
    assert value(text, "http_request_duration_seconds_bucket", le="0.005", **labels) == 5
    assert value(text, "http_request_duration_seconds_bucket", le="0.0025", **labels) == 0
    assert value(text, "kafka_messages_sent_total", topic="t") == 5
    assert (value(text, "kafka_pending_records"), value(text, "spool_oldest_age_seconds")) == (2, 2)

    # Another that lives: sums, and of some the least or the most.
    other._own = other._directory / f"{_alive()}.json"
    other.write(dead.registry)
    text = mine.exposition().decode()
    assert value(text, "http_requests_total", status_code="201", **labels) == 8
    assert (value(text, "kafka_pending_records"), value(text, "spool_oldest_age_seconds")) == (5, 3)
    assert value(text, "kafka_connected") == 0
    assert names(text) == names(Metrics().exposition().decode())


def _alive() -> str:
    from loom_ingest.workers import _name

    return _name(os.getppid())


def test_what_workers_of_another_service_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "1-123.45").mkdir()
    (tmp_path / "1-123.45" / "1-124.00.json").write_text("{}")
    asyncio.run(_begin(Workers(tmp_path), Metrics().registry))
    assert [path.name for path in tmp_path.iterdir()] == [_alive()]


@pytest.mark.integration
@pytest.mark.fault
def test_any_worker_answers_for_all_by_the_guides_names(
    bootstrap_servers: str, ingest_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    accepted = 0
    topic = f"{ingest_prefix}.{GPS_RAW.name}"

    def counted(url: str) -> set[float]:
        """What many askers are told, each on a connection of its own, so by any worker."""
        texts = [httpx.get(f"{url}/metrics").text for _ in range(8)]
        return {value(text, "records_accepted_total", topic=topic, kept="broker") for text in texts}

    def workers() -> int:
        return len(list(tmp_path.glob("loom-ingest-*/*/*.json")))

    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix, workers=2) as server:
        wait_for(lambda: workers() == 2, "both workers", 30)
        for _ in range(40):
            answer = httpx.post(f"{server.url}/sensor/gps", json=GPS | {"message_id": str(uuid.uuid4())})
            accepted += answer.status_code == 201
        wait_for(lambda: counted(server.url) == {accepted}, "one number from all", 10)
        _check_guides(httpx.get(f"{server.url}/metrics").text, topic)
        # One of them is killed; the parent starts another, and no count is lost.
        victim = int(next(iter(tmp_path.glob("loom-ingest-*/*/*.json"))).name.partition("-")[0])
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: workers() == 3, "the next worker", 30)
        wait_for(lambda: _try(lambda: counted(server.url)) == {accepted}, "the number after the death", 20)
    assert accepted == 40


def _check_guides(text: str, topic: str) -> None:
    """Names, types and labels are the guides'."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    found = {name: set(dict(labels)) for name, labels in values(text)}
    for name, (kind, labels) in GUIDES.items():
        assert types[name.removesuffix("_bucket")] == kind
        assert found[name] == labels
    assert value(text, "kafka_messages_total", topic=topic, status="success") == 40
    assert value(text, "kafka_messages_sent_total", topic=topic) == 40
    assert value(text, "kafka_produce_duration_seconds_count", status="success") == 40
    # Of two processes.
    assert value(text, "process_resident_memory_bytes") > 1e8


def _try(ask: Any) -> Any:
    try:
        return ask()
    except httpx.HTTPError:
        return None
