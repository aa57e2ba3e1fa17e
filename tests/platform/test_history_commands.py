"""`loom recompute --here` and `loom replay` on a real broker and database."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.landing import landing_stage
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_platform.cli.main import app
from loom_platform.stream.api import StreamConfig, run_stream
from loom_platform.topics import create_topics

pytestmark = pytest.mark.integration

LANDING = landing_stage(GPS_RAW)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
STAGE = GEOREGION_DETECTOR.name


def loom(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def drain(config: StreamConfig) -> None:
    run_stream([LANDING, GEOREGION_DETECTOR], config, on_report=lambda _: None, stop=threading.Event())


@pytest.fixture
def config(
    database_url: str, bootstrap_servers: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StreamConfig]:
    """Thirty fixes of two devices, landed and answered; the commands work there."""
    settings = {
        "LOOM_DATABASE_URL": database_url,
        "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "LOOM_KAFKA_TOPIC_PREFIX": topic_prefix,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    config = StreamConfig(database_url, bootstrap_servers, topic_prefix, idle_timeout=timedelta(seconds=1))
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    stages = [LANDING.name, GEOREGION_DETECTOR.name]
    topics = [GPS_RAW, GEOREGION_DETECTED]
    create_topics(bootstrap_servers, prefix=topic_prefix, partitions=1, stages=stages, topics=topics)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    for n in range(30):
        fix = GpsFix(device_id=f"phone-{n % 2}", timestamp=NOON + timedelta(minutes=n), latitude=52.5, longitude=13.4)
        producer.produce(GPS_RAW.on_broker(topic_prefix), fix.model_dump_json().encode(), b"phone", 0)
    assert producer.flush(20) == 0
    drain(config)
    yield config
    mine = [t for t in admin.list_topics(timeout=20).topics if t.startswith(f"{topic_prefix}.")]
    for future in admin.delete_topics(mine).values():
        future.result(timeout=20)


def test_a_recompute_here(config: StreamConfig) -> None:
    done = loom("recompute", STAGE, f"{NOON:%F}", "--here", "--device", "phone-1")
    assert done.exit_code == 0, done.output
    assert f"location.georegion.detected {NOON:%F}: 15 rows" in done.output
    assert f"{STAGE}: 15 records, 15 rows, 0 dead letters" in done.output
    twice = loom("recompute", STAGE, f"{NOON:%F}", "--day", f"{NOON:%F}", "--here")
    assert twice.exit_code == 2


def test_a_replay_says_what_comes_from_where(config: StreamConfig) -> None:
    asked = loom("replay", STAGE, "--offset", "20")
    assert "from Kafka: device.sensor.gps.raw[0] from 20 to 30, 10 records" in asked.output
    assert "nothing was changed; add --yes" in asked.output
    done = loom("replay", STAGE, "--offset", "0:20", "--yes")
    assert f"{STAGE} was taken back" in done.output
    drain(config)

    admin = AdminClient({"bootstrap.servers": config.bootstrap_servers})
    name = GPS_RAW.on_broker(config.topic_prefix)
    for future in admin.delete_records([TopicPartition(name, 0, 25)]).values():
        future.result(timeout=20)
    both = loom("replay", STAGE, "--from", f"{NOON - timedelta(days=9):%F}")
    assert "device.sensor.gps.raw[0] from 25 (the first that Kafka still has) to 30, 5 records" in both.output
    assert f"from the table device_sensor_gps_raw: {NOON:%F}" in both.output
    assert "for 25 rows of 2 devices that Kafka has no more" in both.output
    here = loom("replay", STAGE, "--from", f"{NOON - timedelta(days=9):%F}", "--here", "--yes")
    assert here.exit_code == 0, here.output
    assert f"{STAGE}: 30 records" in here.output
    landing = loom("replay", LANDING.name, "--from", f"{NOON - timedelta(days=9):%F}")
    assert "is in device_sensor_gps_raw already" in landing.output
    assert "nothing is to be done" in loom("replay", STAGE, "--offset", "30").output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --from or --offset, and not both"),
        (("--from", "2026-11-20", "--offset", "1"), "give --from or --offset, and not both"),
        (("--offset", "first"), "'first' is not [PARTITION:]OFFSET"),
        (("--offset", "7:1"), "has no partition 7, it has 0"),
        (("--offset", "0:99"), "has no offset 99, its next is 30"),
    ],
)
def test_a_wrong_word_is_named(config: StreamConfig, arguments: tuple[str, ...], says: str) -> None:
    result = loom("replay", STAGE, *arguments)
    assert result.exit_code in (1, 2)
    assert says in " ".join(result.output.replace("│", " ").split())
