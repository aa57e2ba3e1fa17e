"""Records gathered into batches: what travels together, in which order, and who is told when something goes wrong."""

import asyncio
from collections.abc import AsyncIterator
from time import time_ns
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from loom_ingest.errors import ApiError, BrokerUnavailableError
from loom_ingest.gathering import Gatherer, Record

TOPIC = "device.sensor.gps.raw"


class Broker:
    """As much of an aiokafka producer as a gatherer uses; `answer` ends the oldest batch that is under way."""

    _txn_manager = None

    def __init__(self) -> None:
        self.client = self.cluster = self
        self.partitions: dict[str, set[int]] = {TOPIC: {0, 1}}
        self.learned = asyncio.Event()
        self.batches: list[tuple[int, list[bytes]]] = []
        self.timestamps: list[int | None] = []
        self.under_way: list[asyncio.Future[None]] = []

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.partitions.get(topic)

    async def partitions_for(self, topic: str) -> set[int]:
        await self.learned.wait()
        return self.partitions[topic]

    def create_batch(self) -> "Batch":
        return Batch()

    async def send_batch(self, batch: "Batch", topic: str, *, partition: int) -> "asyncio.Future[None]":
        assert batch.closed
        self.batches.append((partition, batch.values))
        self.timestamps += batch.timestamps
        self.under_way.append(asyncio.get_running_loop().create_future())
        return self.under_way[-1]

    async def answer(self, error: KafkaError | None = None) -> None:
        future = self.under_way.pop(0)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        await settle()


class Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.timestamps: list[int | None] = []
        self.closed = False

    def append(self, *, timestamp: int | None, key: bytes, value: bytes, headers: object) -> object:
        if len(self.values) == 10:
            return None
        self.values.append(value)
        self.timestamps.append(timestamp)
        return self

    def close(self) -> None:
        self.closed = True


@pytest.fixture
async def broker() -> Broker:
    return Broker()


@pytest.fixture
async def gatherer(broker: Broker) -> AsyncIterator[Gatherer]:
    made = Gatherer(
        cast(AIOKafkaProducer, broker),
        lambda key, count: key[0] % count,
        lambda error, _: BrokerUnavailableError(type(error).__name__),
        lambda *_: None,
        0.0,
    )
    yield made
    made.abandon(KafkaConnectionError())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def record(number: int, key: bytes = b"\x00", topic: str = TOPIC) -> Record:
    return Record(topic, key, b"%d" % number, [])


def values(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


async def test_what_waits_for_a_partition_travels_together_and_in_order(broker: Broker, gatherer: Gatherer) -> None:
    sent = [gatherer.post(record(0), 5.0)]
    await settle()
    sent += [gatherer.post(record(number), 5.0) for number in range(1, 15)]
    other = gatherer.post(record(99, b"\x01"), 5.0)
    await settle()
    assert broker.batches == [(0, values(0)), (1, values(99))]
    await broker.answer()
    # What does not fit is first in the next.
    assert broker.batches[2:] == [(0, values(*range(1, 11)))]
    assert [each.done() for each in sent] == [True] + [False] * 14
    await broker.answer()
    assert other.done()
    await broker.answer()
    assert broker.batches[3:] == [(0, values(11, 12, 13, 14))]
    assert (gatherer.pending, gatherer.pending_bytes) == (4, 8)
    await broker.answer()
    assert all(each.done() for each in sent)
    assert (gatherer.pending, gatherer.pending_bytes) == (0, 0)


async def test_what_follows_a_failure_does_not_overtake_it(broker: Broker, gatherer: Gatherer) -> None:
    first = gatherer.post(record(0), 5.0)
    await settle()
    second, other = gatherer.post(record(1), 5.0), gatherer.post(record(2, b"\x01"), 5.0)
    await settle()
    await broker.answer(KafkaConnectionError())
    assert isinstance(first.exception(), BrokerUnavailableError)
    assert isinstance(second.exception(), BrokerUnavailableError)
    assert isinstance(gatherer.broken, KafkaConnectionError)
    await broker.answer()
    assert other.done()
    assert other.exception() is None


async def test_who_waits_too_long_is_told_and_the_lane_goes_on_after_its_answer(
    broker: Broker, gatherer: Gatherer
) -> None:
    late, queued, patient = (gatherer.post(record(n), patience) for n, patience in enumerate((0.1, 0.1, 9.0)))
    await settle()
    assert broker.batches == [(0, values(0, 1, 2))]
    waiting = gatherer.post(record(3), 0.1)
    last = gatherer.post(record(4), 9.0)
    done, _ = await asyncio.wait([late, queued, waiting], timeout=2)
    assert {str(each.exception()) for each in done} == {"TimeoutError"}
    assert len(done) == 3
    assert not patient.done()
    await broker.answer()
    assert patient.done()
    assert broker.batches[1:] == [(0, values(4))]
    await broker.answer()
    assert last.done()
    assert gatherer.pending == 0


async def test_a_lost_producer_answers_everyone_at_once(broker: Broker, gatherer: Gatherer) -> None:
    sent = [gatherer.post(record(0), 5.0)]
    await settle()
    sent.append(gatherer.post(record(1), 5.0))
    gatherer.abandon(KafkaConnectionError())
    assert all(isinstance(each.exception(), ApiError) for each in sent)
    assert gatherer.pending == 0


async def test_records_of_a_topic_that_is_new_wait_for_its_partitions(broker: Broker, gatherer: Gatherer) -> None:
    sent = [gatherer.post(record(number, topic="new"), 5.0) for number in range(2)]
    await settle()
    assert broker.batches == []
    broker.partitions["new"] = {0}
    sent.append(gatherer.post(record(2, topic="new"), 5.0))
    broker.learned.set()
    await settle()
    assert broker.batches == [(0, values(0, 1, 2))]
    await broker.answer()
    assert all(each.done() for each in sent)


async def test_no_record_is_sent_as_accepted_in_the_future(broker: Broker, gatherer: Gatherer) -> None:
    """Such as by a clock that was ahead and has been set right since: a broker refuses what is an hour ahead of it."""
    past = time_ns() // 1_000_000 - 60_000
    gatherer.post(record(1), 10.0, past)
    gatherer.post(record(2), 10.0, past + 5 * 3_600_000)
    gatherer.post(record(3), 10.0)
    await settle()
    while broker.under_way:
        await broker.answer()
    present = time_ns() // 1_000_000
    first, second, third = broker.timestamps
    assert (first, third) == (past, None)
    assert second is not None
    assert past < second <= present


async def test_a_drain_waits_for_what_is_queued(broker: Broker, gatherer: Gatherer) -> None:
    gatherer.post(record(0), 5.0)
    await settle()
    last = gatherer.post(record(1), 5.0)
    drain: asyncio.Task[Any] = asyncio.create_task(gatherer.drain())
    await settle()
    await broker.answer()
    assert not drain.done()
    await broker.answer()
    await asyncio.wait_for(drain, 1)
    assert last.done()
