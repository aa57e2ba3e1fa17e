"""The contract's topics on a real broker."""

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from loom_contracts.topics.device import ACCELEROMETER_RAW, AUDIO_RAW, GPS_RAW
from loom_contracts.topics.registry import TOPICS
from loom_platform.errors import ServiceError
from loom_platform.topics import Difference, broker_topics, create_topics, spec_of, topics_with_errors


def test_spec_of_the_audio_topic() -> None:
    spec = spec_of(AUDIO_RAW, prefix="home", partitions=6, replication_factor=3)
    assert spec.name == "home.device.audio.raw"
    assert (spec.partitions, spec.replication_factor) == (6, 3)
    assert spec.config["retention.ms"] == "604800000"
    assert spec.config["segment.ms"] == "3600000"
    assert spec.config["compression.type"] == "lz4"
    assert spec.config["max.message.bytes"] == str(16 * 1024 * 1024)
    assert spec.config["min.insync.replicas"] == "2"


def test_dead_letters_have_a_topic_for_each_stage() -> None:
    names = [t.name for t in topics_with_errors(["silero-vad", "geocoder"])]
    assert names[-2:] == ["processing.errors.silero-vad", "processing.errors.geocoder"]
    assert "processing.errors" not in names
    assert len(names) == len(TOPICS) + 1


def test_a_broker_that_is_away_is_named() -> None:
    with pytest.raises(ServiceError, match=r"no Kafka broker at 127\.0\.0\.1:1 answered .* LOOM_KAFKA_BOOTSTRAP"):
        create_topics("127.0.0.1:1", timeout_s=1.0)


@pytest.mark.integration
def test_creates_what_is_missing_once(bootstrap_servers: str, topic_prefix: str) -> None:
    def create() -> tuple[int, int, int]:
        report = create_topics(
            bootstrap_servers,
            prefix=topic_prefix,
            partitions=2,
            topics=(GPS_RAW, AUDIO_RAW, ACCELEROMETER_RAW),
            stages=["silero-vad"],
        )
        return len(report.created), len(report.existing), len(report.differences)

    assert create() == (4, 0, 0)
    assert create() == (0, 4, 0)
    counts = {n: c for n, c in broker_topics(bootstrap_servers).items() if n.startswith(topic_prefix)}
    assert counts == {
        f"{topic_prefix}.device.sensor.gps.raw": 2,
        f"{topic_prefix}.device.audio.raw": 2,
        f"{topic_prefix}.device.sensor.accelerometer.raw": 2,
        f"{topic_prefix}.processing.errors.silero-vad": 1,
    }
    resource = ConfigResource(ConfigResource.Type.TOPIC, f"{topic_prefix}.device.audio.raw")
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    config = admin.describe_configs([resource])[resource].result()
    assert config["retention.ms"].value == "604800000"
    assert config["compression.type"].value == "lz4"


@pytest.mark.integration
def test_reports_what_differs_and_leaves_it(bootstrap_servers: str, topic_prefix: str) -> None:
    name = GPS_RAW.on_broker(topic_prefix)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1, config={"retention.ms": "1000"})])[name].result()
    for _ in range(2):
        report = create_topics(bootstrap_servers, prefix=topic_prefix, partitions=2, topics=(GPS_RAW,))
        assert report.existing == (name,)
        assert Difference(name, "partitions", "2", "1") in report.differences
        assert Difference(name, "retention.ms", "2592000000", "1000") in report.differences
        assert broker_topics(bootstrap_servers)[name] == 1


@pytest.mark.integration
def test_too_many_replicas_is_explained(bootstrap_servers: str, topic_prefix: str) -> None:
    with pytest.raises(ServiceError, match="LOOM_KAFKA_DEFAULT_REPLICATION_FACTOR"):
        create_topics(bootstrap_servers, prefix=topic_prefix, replication_factor=9, topics=(GPS_RAW,))
