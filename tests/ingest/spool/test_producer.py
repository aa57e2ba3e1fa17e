"""The producer with a spool: where records go, in which order, what is refused, and what it tells."""

import asyncio
import errno
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from loom_ingest.app import create_app
from loom_ingest.errors import (
    ApiError,
    BrokerUnavailableError,
    Code,
    OverloadedError,
    RecordTooLargeError,
    TopicUnavailableError,
)
from loom_ingest.metrics import Metrics
from loom_ingest.producer import LARGEST_RECORD, Record
from loom_ingest.settings import Settings
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.errors import SpoolError, SpoolFailedError, SpoolFullError
from loom_ingest.spool.producer import SpoolingProducer, producer_for
from loom_ingest.spool.slots import take_slots
from tests.ingest.spool.broker import MemoryBroker

GPS = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}


def record(number: int, key: str = "phone-001", size: int = 0) -> Record:
    return Record("device.sensor.gps.raw", key.encode(), b"%d" % number + b" " * size, [("traceparent", b"00-1-2-01")])


@asynccontextmanager
async def spooling(
    root: Path, broker: MemoryBroker, disk: Disk | None = None, **settings: object
) -> AsyncIterator[SpoolingProducer]:
    producer = SpoolingProducer(broker, Settings.model_validate(settings), root, Metrics(), disk)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send_until_refused(producer: SpoolingProducer, number: int) -> tuple[int, SpoolFullError]:
    """The number of the first record that was refused, and the refusal."""
    while True:
        try:
            await producer.send(record(number, size=300))
        except SpoolFullError as error:
            return number, error
        number += 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def drained(producer: SpoolingProducer) -> None:
    await until(lambda: producer.state == "direct")


async def test_away_and_back(tmp_path: Path) -> None:
    broker = MemoryBroker(connected=True)
    async with spooling(tmp_path, broker) as producer:
        await producer.send(record(0))
        broker.connected = False
        began = time.time() * 1000 - 1
        for number in range(1, 300):
            await producer.send(record(number))
        ended = time.time() * 1000
        assert (producer.state, producer.held, len(broker.records)) == ("spooling", 299, 1)
        broker.connected = True
        assert producer.state == "draining"
        await producer.send(record(300))
        await drained(producer)
        assert broker.records == [record(number) for number in range(301)]
        # The broker is told when they were accepted, and not when it was back.
        assert began <= broker.times[0] <= broker.times[298] <= ended
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == ["lock", "position"]


async def test_the_next_process_drains_what_is_left(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker) as producer:
        for number in range(10):
            await producer.send(record(number))
    assert broker.records == []
    broker.connected = True
    async with spooling(tmp_path, broker) as producer:
        await producer.send(record(10))
        await drained(producer)
    assert broker.records == [record(number) for number in range(11)]


async def test_a_shutdown_drains(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker) as producer:
        for number in range(10):
            await producer.send(record(number))
        broker.connected = True
    assert len(broker.records) == 10


async def test_many_requests_share_a_sync(tmp_path: Path) -> None:
    class CountingDisk(Disk):
        syncs = 0

        def sync(self, fd: int) -> None:
            self.syncs += 1
            time.sleep(0.01)
            super().sync(fd)

    disk = CountingDisk()
    async with spooling(tmp_path, MemoryBroker(), disk) as producer:
        before = disk.syncs
        looped = 0

        async def count() -> None:
            nonlocal looped
            while True:
                await asyncio.sleep(0)
                looped += 1

        counter = asyncio.create_task(count())
        await asyncio.gather(*(producer.send(record(number)) for number in range(500)))
        counter.cancel()
        # The first goes alone; the loop goes on meanwhile.
        assert disk.syncs - before <= 3
        assert looped > 20


async def test_what_fails_on_its_way_keeps_its_place(tmp_path: Path) -> None:
    broker = MemoryBroker(connected=True)
    broker.slow = asyncio.Event()
    async with spooling(tmp_path, broker) as producer:
        flying = [asyncio.create_task(producer.send(record(number))) for number in range(3)]
        await asyncio.sleep(0)
        broker.connected = False
        behind = [asyncio.create_task(producer.send(record(number))) for number in range(3, 6)]
        other = asyncio.create_task(producer.send(record(100, "watch-001")))
        await other
        assert not any(task.done() for task in behind)
        broker.slow.set()
        await asyncio.gather(*flying, *behind)
        broker.connected = True
        await drained(producer)
    assert [r for r in broker.records if r.key == b"phone-001"] == [record(number) for number in range(6)]


async def test_who_leaves_while_waiting_keeps_nobody_else(tmp_path: Path) -> None:
    broker = MemoryBroker(connected=True)
    broker.slow = asyncio.Event()
    async with spooling(tmp_path, broker) as producer:
        first = asyncio.create_task(producer.send(record(0)))
        await asyncio.sleep(0)
        broker.connected = False
        leaving, staying = (asyncio.create_task(producer.send(record(number))) for number in (1, 2))
        await asyncio.sleep(0)
        leaving.cancel()
        broker.slow.set()
        await asyncio.gather(first, staying)
        broker.connected = True
        await drained(producer)
    assert broker.records == [record(0), record(2)]


async def test_a_failure_of_the_drain_does_not_end_it(tmp_path: Path) -> None:
    class FailingBroker(MemoryBroker):
        failures = 1

        async def deliver(self, records: Sequence[tuple[int, Record]]) -> list[ApiError | None]:
            self.failures -= 1
            if self.failures >= 0:
                raise RuntimeError("of whatever kind")
            return await super().deliver(records)

    broker = FailingBroker()
    async with spooling(tmp_path, broker) as producer:
        await producer.send(record(0))
        broker.connected = True
        await drained(producer)
    assert broker.records == [record(0)]


async def test_what_the_broker_answers_itself_is_not_spooled(tmp_path: Path) -> None:
    broker = MemoryBroker(connected=True)
    answers = {
        b"1": TopicUnavailableError("t"),
        b"2": OverloadedError("much"),
        b"3": RecordTooLargeError("t", 9),
    }
    broker.refusing.update(answers)
    async with spooling(tmp_path, broker) as producer:
        for number in (1, 2, 3):
            with pytest.raises(type(answers[b"%d" % number])):
                await producer.send(record(number))
        assert (producer.held, producer.state) == (0, "direct")


async def test_the_drain_waits_for_a_missing_topic_and_repeats_nothing(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker) as producer:
        for number in range(5):
            await producer.send(record(number))
        broker.refusing[b"2"] = TopicUnavailableError("t")
        broker.connected = True
        await until(lambda: len(broker.batches) > 1)
        assert producer.state == "draining"
        broker.refusing.clear()
        await drained(producer)
    assert sorted(broker.values) == [b"0", b"1", b"2", b"3", b"4"]


async def test_the_broker_goes_in_the_middle_of_the_drain(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker) as producer:
        for number in range(20):
            await producer.send(record(number))
        broker.takes_at_most = 7
        broker.connected = True
        await until(lambda: len(broker.records) == 7 and len(broker.batches) > 1)
        broker.takes_at_most = None
        await drained(producer)
    assert broker.records == [record(number) for number in range(20)]


async def test_a_record_that_the_broker_refuses_for_good_is_set_aside(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker) as producer:
        for number in range(3):
            await producer.send(record(number))
        broker.refusing[b"1"] = RecordTooLargeError("t", 9)
        broker.connected = True
        await drained(producer)
        broker.connected = False
        with pytest.raises(RecordTooLargeError):
            await producer.send(record(4, size=LARGEST_RECORD))
    assert broker.values == [b"0", b"2"]
    (refused,) = (tmp_path / "0").glob("*.refused")
    assert refused.read_bytes().endswith(b"1")


async def test_a_full_spool_refuses_and_takes_again(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker, spool_max_bytes=50_000) as producer:
        taken, refusal = await send_until_refused(producer, 0)
        assert 100 < taken < 50_000 / 300
        assert (refusal.status, refusal.code) == (503, Code.KAFKA_UNAVAILABLE)
        assert int(refusal.headers["Retry-After"]) > 0
        assert producer.state == "full"
        broker.connected = True
        await drained(producer)
        await producer.send(record(taken, size=300))
    assert broker.records == [record(number, size=300) for number in range(taken + 1)]


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """The kernel refuses to let a file grow beyond `size`, in the middle of a write, as a full file system does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_without_room(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker) as producer:
        await producer.send(record(0, size=300))
        with small_files(20_000):
            taken, refusal = await send_until_refused(producer, 1)
            assert "disk is full" in refusal.message
            assert int(refusal.headers["Retry-After"]) > 0
            assert producer.state == "full"
        # There is room again.
        await producer.send(record(1_000, size=300))
        broker.connected = True
        await drained(producer)
    assert broker.records == [record(number, size=300) for number in [*range(taken), 1_000]]


async def test_a_failing_disk_takes_nothing_and_each_request_has_its_own_answer(tmp_path: Path) -> None:
    class FailingDisk(Disk):
        failing = False

        def sync(self, fd: int) -> None:
            if self.failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().sync(fd)

    disk, broker = FailingDisk(), MemoryBroker()
    async with spooling(tmp_path, broker, disk) as producer:
        await producer.send(record(0))
        disk.failing = True
        answers = await asyncio.gather(*(producer.send(record(n)) for n in range(1, 4)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [SpoolFailedError] * 3
        assert len(set(map(id, answers))) == 3
        disk.failing = False
        await producer.send(record(9))
        broker.connected = True
        await drained(producer)
    assert broker.records == [record(0), record(9)]


async def test_workers_have_their_own_and_what_more_of_them_left_is_drained(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with spooling(tmp_path, broker, workers=2) as one, spooling(tmp_path, broker, workers=2) as two:
        await one.send(record(1))
        await two.send(record(2))
        with pytest.raises(SpoolError, match="2 other"):
            take_slots(tmp_path, 2, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    broker.connected = True
    async with spooling(tmp_path, broker, workers=1) as producer:
        await drained(producer)
    assert sorted(broker.values) == [b"1", b"2"]


async def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"LOOM_SPOOL_DIR=.*file.*LOOM_SPOOL_MAX_BYTES=0"):
        take_slots(tmp_path / "file", 1, 0)


async def test_it_is_off_without_a_directory_or_room(tmp_path: Path) -> None:
    on, no_room, nowhere = Settings(spool_dir=tmp_path), Settings(spool_dir=tmp_path, spool_max_bytes=0), Settings()
    assert isinstance(producer_for(on, Metrics()), SpoolingProducer)
    for off in (no_room, nowhere):
        producer = producer_for(off, Metrics())
        assert producer.state == "unavailable"
        with pytest.raises(BrokerUnavailableError):
            await producer.send(record(1))


async def test_probes_and_metrics_tell(tmp_path: Path) -> None:
    broker, metrics = MemoryBroker(), Metrics()
    producer = SpoolingProducer(broker, Settings(spool_max_bytes=20_000), tmp_path, metrics)
    app = create_app(Settings(), producer, metrics)
    transport = httpx.ASGITransport(app)
    await producer.start()
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

        async def post() -> int:
            return (await client.post("/sensor/gps", content=json.dumps(GPS).encode())).status_code

        async def ready() -> tuple[int, str, bool]:
            answer = await client.get("/readyz")
            return answer.status_code, answer.json()["state"], answer.json()["kafka_connected"]

        assert await post() == 201
        assert await ready() == (200, "spooling", False)
        await asyncio.sleep(0.02)
        lines = (await client.get("/metrics")).text.splitlines()
        values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
        assert values["spool_records"] == values["spool_written_total"] == 1
        assert values["spool_bytes"] > 100
        assert 0.02 <= values["spool_oldest_age_seconds"] < 10
        while await post() == 201:
            pass
        full = await client.get("/readyz")
        assert (full.status_code, full.json()["state"], full.headers["retry-after"]) == (503, "full", "2")
        broker.connected = True
        await drained(producer)
        assert await ready() == (200, "direct", True)
        text = (await client.get("/metrics")).text
        assert f"spool_drained_total {len(broker.records)}.0" in text
        assert "spool_rejected_total 1.0" in text
        assert "spool_oldest_age_seconds 0.0" in text
    await producer.stop()
