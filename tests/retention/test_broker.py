"""Kafka's own retention, on the real broker: equal to what was said, except while a stage has to read."""

import os
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from loom_contracts.topics.device import ACCELEROMETER_RAW, AUDIO_RAW, GPS_RAW
from loom_models.errors import DependencyError
from loom_platform.retention.kafka import Change, equal
from loom_platform.retention.logdirs import parsed, topic_bytes
from loom_platform.retention.rules import Kind, read, write
from loom_platform.stream.source import admin_client
from loom_platform.stream.topics import state
from loom_platform.topics import create_topics
from tests.retention.filling import STAGES, Connection, connected, stands

pytestmark = pytest.mark.integration
TOPICS = (AUDIO_RAW, ACCELEROMETER_RAW, GPS_RAW)
DAY = timedelta(days=1)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connected(database_url) as found:
        yield found


@pytest.fixture
def prefix(bootstrap_servers: str, topic_prefix: str) -> Iterator[str]:
    create_topics(bootstrap_servers, prefix=topic_prefix, partitions=1, topics=TOPICS)
    yield topic_prefix
    admin = admin_client(bootstrap_servers)
    for future in admin.delete_topics([t.on_broker(topic_prefix) for t in TOPICS]).values():
        future.result(timeout=20)


def ms(days: int) -> str:
    return str(days * 86_400_000)


def test_the_broker_follows_what_was_said(connection: Connection, bootstrap_servers: str, prefix: str) -> None:
    now = datetime.now(UTC)

    def changes() -> list[Change]:
        found = equal(connection, bootstrap_servers, read(connection), STAGES, now, prefix=prefix, topics=TOPICS)
        return [c for c in found.changes if c.setting == "retention.ms"]

    assert changes() == []
    audio, gps = AUDIO_RAW.on_broker(prefix), GPS_RAW.on_broker(prefix)
    write(connection, Kind.TABLE, "device.audio", 3 * DAY, "test")
    assert changes() == [Change(audio, "retention.ms", ms(7), ms(3))]
    assert changes() == []
    write(connection, Kind.KAFKA, "device.sensor.gps", None, "test")
    assert changes() == [Change(gps, "retention.ms", ms(30), "-1")]
    write(connection, Kind.TABLE, "device", 2 * DAY, "test")
    assert changes() == [
        Change(ACCELEROMETER_RAW.on_broker(prefix), "retention.ms", ms(30), ms(2)),
        Change(gps, "retention.ms", "-1", ms(2)),
    ]


def test_nothing_expires_that_a_stage_has_still_to_read(
    connection: Connection, bootstrap_servers: str, prefix: str
) -> None:
    now = datetime.now(UTC)
    name = AUDIO_RAW.on_broker(prefix)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    for age in (6, 6, 1):
        producer.produce(name, os.urandom(100_000), timestamp=int((now - age * DAY).timestamp() * 1000))
    assert producer.flush(20) == 0
    identity = state(admin_client(bootstrap_servers), name).topic_id

    def held() -> tuple[dict[str, str], list[str]]:
        found = equal(connection, bootstrap_servers, read(connection), STAGES, now, prefix=prefix, topics=TOPICS)
        return found.held, [c.wanted for c in found.changes if c.setting == "retention.ms"]

    landing, reader = (s for s in STAGES if s.source is AUDIO_RAW)
    stands(connection, landing.name, AUDIO_RAW, 3, identity, prefix)
    stands(connection, reader.name, AUDIO_RAW, 1, identity, prefix)
    assert held() == ({name: f"stage {reader.name} has 1 old records to read"}, ["-1"])
    stands(connection, reader.name, AUDIO_RAW, 2, identity, prefix)
    assert held() == ({}, [ms(7)])
    assert topic_bytes(bootstrap_servers)[name] > 300_000


def test_a_broker_that_is_away_is_named(connection: Connection) -> None:
    with pytest.raises(DependencyError, match="broker"):
        topic_bytes("127.0.0.1:1", timeout=0.5)


def test_an_answer_of_two_directories() -> None:
    def text(value: bytes) -> bytes:
        return struct.pack(f">h{len(value)}s", len(value), value)

    def topic(name: bytes, *sizes: int) -> bytes:
        partitions = b"".join(struct.pack(">iqqb", n, size, 0, 0) for n, size in enumerate(sizes))
        return text(name) + struct.pack(">i", len(sizes)) + partitions

    def directory(error: int, *topics: bytes) -> bytes:
        return struct.pack(">h", error) + text(b"/logs") + struct.pack(">i", len(topics)) + b"".join(topics)

    head = struct.pack(">iii", 1, 0, 2)
    answer = head + directory(0, topic(b"a", 5, 7), topic(b"b", 1)) + directory(0, topic(b"a", 100))
    assert parsed(answer) == {"a": 112, "b": 1}
    with pytest.raises(OSError, match="error 56"):
        parsed(head + directory(56) + directory(0))
