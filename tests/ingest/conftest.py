"""The service in memory and over the suite's broker, behind one face."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from loom_contracts.topics.registry import LANDED
from loom_ingest.app import create_app
from loom_ingest.producer import Record
from loom_ingest.settings import Settings
from loom_platform.topics import create_topics
from tests.ingest.memory import MemoryProducer
from tests.ingest.own_broker import OwnBroker
from tests.ingest.server import live_server


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def producer() -> MemoryProducer:
    return MemoryProducer()


@pytest.fixture
async def client(settings: Settings, producer: MemoryProducer) -> AsyncIterator[httpx.AsyncClient]:
    """The app with the in-memory producer."""
    transport = httpx.ASGITransport(create_app(settings, producer), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield client


@pytest.fixture(scope="module")
def ingest_prefix(bootstrap_servers: str) -> str:
    """A prefix whose raw topics exist on the suite's broker."""
    prefix = f"i{uuid.uuid4().hex[:10]}"
    create_topics(bootstrap_servers, prefix=prefix, topics=LANDED, partitions=3)
    return prefix


@pytest.fixture(scope="module")
def live_url(bootstrap_servers: str, ingest_prefix: str) -> Iterator[str]:
    """A running service over the suite's broker."""
    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix) as server:
        yield server.url


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """A broker that is not started yet, and that the test may kill."""
    broker = OwnBroker(tmp_path)
    yield broker
    broker.end()


class Service:
    """A service to send to, and what came out of it."""

    def __init__(self, http: httpx.AsyncClient, memory: MemoryProducer | None, servers: str, prefix: str) -> None:
        self.http = http
        self._memory = memory
        self._servers = servers
        self._prefix = prefix

    async def post(self, path: str, content: Any, **headers: str) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, content=body, headers={"Content-Type": "application/json"} | names)

    def records(self, topic: str, device_id: str) -> list[Record]:
        """What the broker has of `device_id` on `topic`, the prefix cut off."""
        if self._memory is not None:
            return [r for r in self._memory.records if (r.topic, r.key) == (topic, device_id.encode())]
        name = f"{self._prefix}.{topic}"
        return [r._replace(topic=topic) for r in read_topic(self._servers, name) if r.key == device_id.encode()]


def read_topic(bootstrap_servers: str, topic: str) -> list[Record]:
    """Every record of `topic`."""
    return [record for _, record in read_partitions(bootstrap_servers, topic)]


def read_partitions(bootstrap_servers: str, topic: str) -> list[tuple[int, Record]]:
    """Every record of `topic` with its partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "test", "enable.auto.commit": False})
    found: list[tuple[int, Record]] = []
    try:
        for partition in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
            place = TopicPartition(topic, partition)
            _, end = consumer.get_watermark_offsets(place, timeout=20)
            consumer.assign([TopicPartition(topic, partition, 0)])
            position = 0
            while position < end:
                for message in consumer.consume(min(1000, end - position), timeout=5.0):
                    position = (message.offset() or 0) + 1
                    assert message.error() is None
                    key, value, headers = message.key(), message.value(), message.headers()
                    assert isinstance(key, bytes)
                    assert isinstance(value, bytes)
                    pairs = cast(list[tuple[str, bytes]], headers or [])
                    found.append((partition, Record(topic, key, value, pairs)))
    finally:
        consumer.close()
    return found


@pytest.fixture(params=["memory", pytest.param("broker", marks=pytest.mark.integration)])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """One face over both: the app with the in-memory producer, and the process with the real broker."""
    if request.param == "memory":
        producer = MemoryProducer()
        transport = httpx.ASGITransport(create_app(Settings(), producer))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
            yield Service(http, producer, "", "")
        return
    url: str = request.getfixturevalue("live_url")
    servers: str = request.getfixturevalue("bootstrap_servers")
    prefix: str = request.getfixturevalue("ingest_prefix")
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        yield Service(http, None, servers, prefix)
