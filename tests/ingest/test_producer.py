"""The producer's own bounds, without a broker."""

import time

import pytest
from aiokafka import AIOKafkaProducer

from loom_ingest.errors import BrokerUnavailableError, Code, OverloadedError
from loom_ingest.gathering import Gatherer
from loom_ingest.metrics import Metrics
from loom_ingest.producer import KafkaProducer, Record, _place, partition_of
from loom_ingest.settings import MEBIBYTE, Settings

NOBODY = "127.0.0.1:1"


async def test_without_a_broker_it_starts_refuses_and_stops() -> None:
    producer = KafkaProducer(Settings(kafka_bootstrap_servers=NOBODY), Metrics())
    began = time.monotonic()
    await producer.start()
    assert not producer.connected
    with pytest.raises(BrokerUnavailableError, match="Unable to connect"):
        await producer.send(Record("device.sensor.gps.raw", b"phone-001", b"{}", []))
    await producer.stop()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("records", "size"), [(10_000, 1), (1, 2 * MEBIBYTE)])
async def test_what_is_in_flight_is_bounded(records: int, size: int) -> None:
    settings = Settings(
        kafka_bootstrap_servers=NOBODY, kafka_max_pending_records=10_000, kafka_max_pending_bytes=MEBIBYTE
    )
    producer = KafkaProducer(settings, Metrics())
    client = AIOKafkaProducer(bootstrap_servers=NOBODY)
    producer._client = client
    producer._gatherer = Gatherer(client, _place, producer._answer, producer._settled, 0)
    producer._gatherer.pending = records
    with pytest.raises(OverloadedError) as caught:
        await producer.send(Record("device.audio.raw", b"phone-001", b"x" * size, []))
    assert (caught.value.status, caught.value.code, caught.value.headers) == (
        503,
        Code.OVERLOADED,
        {"Retry-After": "1"},
    )
    await client.stop()


def test_a_key_has_one_partition() -> None:
    # org.apache.kafka.common.utils.UtilsTest: murmur2 of these texts.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    for key, digest in known.items():
        assert partition_of(key, list(range(7)), []) == (digest & 0x7FFFFFFF) % 7
