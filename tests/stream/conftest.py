"""Fixtures of the engine's tests."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from loom_platform.stream.api import StreamConfig
from tests.stream.bench import Bench


@pytest.fixture
def bench(database_url: str, bootstrap_servers: str, topic_prefix: str) -> Iterator[Bench]:
    config = StreamConfig(database_url, bootstrap_servers, topic_prefix)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "partitioner": "murmur2_random"})
    bench = Bench(config, admin, producer)
    yield bench
    mine = [t for t in admin.list_topics(timeout=20).topics if t.startswith(f"{topic_prefix}.")]
    if mine:
        for future in admin.delete_topics(mine).values():
            future.result(timeout=20)
