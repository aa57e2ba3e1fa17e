"""Against the real broker: what a 201 means, and what happens when the broker is away, killed or stopped."""

import asyncio
import json
import secrets
import signal
import time
import uuid

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from loom_contracts.topics.device import GPS_RAW, HEARTRATE_RAW
from loom_contracts.topics.registry import LANDED
from loom_ingest.errors import RecordTooLargeError
from loom_ingest.metrics import Metrics
from loom_ingest.producer import KafkaProducer, Record, partition_of
from loom_ingest.settings import Settings
from loom_platform.topics import create_topics
from tests.ingest.conftest import read_partitions, read_topic
from tests.ingest.own_broker import OwnBroker
from tests.ingest.server import live_server, wait_for

pytestmark = pytest.mark.integration

GPS = {"latitude": 1.5, "longitude": 2.5}
JSON = {"Content-Type": "application/json"}


def test_keys_go_where_the_java_client_and_librdkafka_put_them(
    bootstrap_servers: str, ingest_prefix: str, live_url: str
) -> None:
    devices = [f"device-{'x' * n}{uuid.uuid4().hex[:6]}" for n in range(12)]
    topic = GPS_RAW.on_broker(ingest_prefix)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2"})
    for device in devices:
        producer.produce(topic, key=device.encode(), value=b"{}")
        assert httpx.post(f"{live_url}/sensor/gps", json=GPS | {"device_id": device}).status_code == 201
    producer.flush(20)
    places: dict[bytes, list[int]] = {}
    for partition, record in read_partitions(bootstrap_servers, topic):
        places.setdefault(record.key, []).append(partition)
    for device in devices:
        ours = partition_of(device.encode(), [0, 1, 2], [])
        assert places[device.encode()] == [ours, ours]
    assert {p for d in devices for p in places[d.encode()]} == {0, 1, 2}


def test_records_are_compressed_and_written_once(bootstrap_servers: str, ingest_prefix: str, live_url: str) -> None:
    device = f"device-{uuid.uuid4().hex}"

    async def send() -> list[str]:
        async with httpx.AsyncClient(base_url=live_url, timeout=30) as client:
            answers = await asyncio.gather(
                *(client.post("/sensor/heartrate", json={"device_id": device, "bpm": 60}) for _ in range(300))
            )
            assert {a.status_code for a in answers} == {201}
            return [a.json()["message_id"] for a in answers]

    acknowledged = asyncio.run(send())
    records = read_topic(bootstrap_servers, HEARTRATE_RAW.on_broker(ingest_prefix))
    stored = [json.loads(r.value)["message_id"] for r in records if r.key == device.encode()]
    assert sorted(stored) == sorted(acknowledged)


def test_a_missing_topic_is_told_apart_from_a_missing_broker(bootstrap_servers: str) -> None:
    prefix = f"nowhere{uuid.uuid4().hex[:6]}"
    with live_server(bootstrap_servers, kafka_topic_prefix=prefix, kafka_delivery_timeout_ms=1000) as server:
        response = httpx.post(f"{server.url}/sensor/gps", json=GPS | {"device_id": "phone-001"}, timeout=10)
        assert response.status_code == 503
        assert response.json()["code"] == "TOPIC_UNAVAILABLE"
        assert f"{prefix}.device.sensor.gps.raw" in response.json()["message"]
        assert "loom topics" in response.json()["message"]
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_the_largest_audio_is_stored(live_url: str, bootstrap_servers: str, ingest_prefix: str) -> None:
    device = f"device-{uuid.uuid4().hex[:8]}"
    body = "AAAA" * (14 * 2**20 // 4)
    chunk = {"device_id": device, "chunk_data": body, "sample_rate": 48_000, "channels": 2, "format": "wav"}
    response = httpx.post(f"{live_url}/audio/upload", json=chunk | {"duration_ms": 60_000}, timeout=60)
    assert response.status_code == 201, response.text
    (record,) = [
        r for r in read_topic(bootstrap_servers, f"{ingest_prefix}.device.audio.raw") if r.key == device.encode()
    ]
    assert len(json.loads(record.value)["chunk_data"]) == len(body)


async def test_a_limit_of_the_broker_costs_only_what_is_beyond_it(bootstrap_servers: str) -> None:
    """Of records that travelled together with one that is too large, and of those after it, none is lost."""
    prefix = f"small{uuid.uuid4().hex[:8]}"
    topic = GPS_RAW.on_broker(prefix)
    create_topics(bootstrap_servers, prefix=prefix, topics=[GPS_RAW], partitions=1)
    limit = ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[limit])
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=20)
    settings = Settings(kafka_bootstrap_servers=bootstrap_servers, kafka_topic_prefix=prefix)
    producer = KafkaProducer(settings, Metrics())
    await producer.start()
    records = [Record(topic, b"phone-001", secrets.token_bytes(3000 if n in (3, 7) else 300), []) for n in range(12)]
    outcomes = await producer.send_all(records)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, RecordTooLargeError)] == [3, 7]
    assert len([outcome for outcome in outcomes if outcome is None]) == 10
    after = [Record(topic, b"phone-001", b"%d" % n, []) for n in range(5)]
    assert await producer.send_all(after) == [None] * 5
    await producer.stop()
    stored = [record.value for record in read_topic(bootstrap_servers, topic)]
    assert stored == [record.value for n, record in enumerate(records) if n not in (3, 7)] + [r.value for r in after]


def test_a_shutdown_answers_what_it_took(bootstrap_servers: str, ingest_prefix: str) -> None:
    device = f"device-{uuid.uuid4().hex}"
    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix) as server:

        async def send_and_stop() -> list[str]:
            limits = httpx.Limits(max_connections=40)
            acknowledged: list[str] = []
            async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits) as client:

                async def keep_sending() -> None:
                    while True:
                        try:
                            answer = await client.post("/sensor/heartrate", json={"device_id": device, "bpm": 60})
                        except httpx.HTTPError:
                            return
                        assert answer.status_code == 201, answer.text
                        acknowledged.append(answer.json()["message_id"])

                senders = [asyncio.create_task(keep_sending()) for _ in range(20)]
                await asyncio.sleep(0.5)
                server.process.terminate()
                await asyncio.gather(*senders)
            return acknowledged

        acknowledged = asyncio.run(send_and_stop())
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log.read_text()
    assert len(acknowledged) > 20
    records = read_topic(bootstrap_servers, HEARTRATE_RAW.on_broker(ingest_prefix))
    stored = [json.loads(r.value)["message_id"] for r in records if r.key == device.encode()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_the_service_outlives_its_broker(own_broker: OwnBroker) -> None:
    """Without a spool; away at the start, killed, stopped and continued: 503 in time, none lost, no restart."""
    acknowledged: list[str] = []

    with live_server(own_broker.kafka.bootstrap_servers, kafka_delivery_timeout_ms=2000) as server:

        def post(timeout: float = 15) -> httpx.Response:
            answer = httpx.post(f"{server.url}/sensor/gps", json=GPS | {"device_id": "phone-001"}, timeout=timeout)
            if answer.status_code == 201:
                acknowledged.append(answer.json()["message_id"])
            return answer

        def refused_in_time(within_seconds: float) -> None:
            began = time.monotonic()
            answer = post()
            assert answer.status_code == 503, answer.text
            assert time.monotonic() - began < within_seconds
            assert answer.json()["code"] == "KAFKA_UNAVAILABLE"
            assert int(answer.headers["retry-after"]) > 0

        def ready() -> bool:
            return httpx.get(f"{server.url}/readyz", timeout=10).status_code == 200

        # Away from the start.
        assert httpx.get(f"{server.url}/healthz").json()["kafka_connected"] is False
        assert not ready()
        refused_in_time(3)

        own_broker.start()
        create_topics(own_broker.kafka.bootstrap_servers, topics=LANDED)
        wait_for(ready, "the service to find the broker", 20)
        assert [post().status_code for _ in range(5)] == [201] * 5

        # Killed.
        own_broker.kill()
        refused_in_time(8)
        refused_in_time(8)
        wait_for(lambda: not ready(), "the service to notice", 10)
        refused_in_time(3)
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        own_broker.start()
        wait_for(ready, "the service to find the broker again", 20)
        assert [post().status_code for _ in range(5)] == [201] * 5

        # Stopped: its connections stay open and nothing answers.
        own_broker.signal(signal.SIGSTOP)
        refused_in_time(8)
        wait_for(lambda: not ready(), "the service to notice", 15)
        refused_in_time(3)
        own_broker.signal(signal.SIGCONT)
        wait_for(ready, "the service to find the broker once more", 30)
        assert [post().status_code for _ in range(5)] == [201] * 5

        log = server.log.read_text()
        assert "Traceback" not in log, log
        assert log.count("kafka_unavailable") == 3
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'kafka_messages_total{status="success",topic="device.sensor.gps.raw"} 15.0' in metrics
        assert "kafka_pending_records 0.0" in metrics

    assert server.process.returncode == 0
    stored = [json.loads(r.value)["message_id"] for r in read_topic(own_broker.kafka.bootstrap_servers, GPS_RAW.name)]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
