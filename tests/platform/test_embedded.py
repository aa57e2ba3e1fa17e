"""The embedded servers, as the suite itself starts them."""

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from loom_platform import migrate

pytestmark = pytest.mark.integration


def test_database_is_migrated_and_private(database_url: str) -> None:
    assert all(step.applied for step in migrate.status(database_url))
    assert migrate.migrate(database_url) == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select '[1,2]'::vector <-> '[1,4]'").fetchone() == (2.0,)


def test_broker_keeps_a_record(bootstrap_servers: str, topic_prefix: str) -> None:
    name = f"{topic_prefix}.device.test.raw"
    # the client must outlive the answer
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    producer.produce(name, b"body", b"key")
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": name, "auto.offset.reset": "earliest"})
    consumer.subscribe([name])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert (message.key(), message.value()) == (b"key", b"body")
