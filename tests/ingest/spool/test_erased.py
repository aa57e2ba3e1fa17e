"""A running service's drain drops what was erased while it waited, and gives the broker everything else, in order."""

import asyncio
import time
from pathlib import Path

from loom_ingest.metrics import Metrics
from loom_ingest.producer import Record
from loom_ingest.settings import Settings
from loom_ingest.spool.erased import Tombstone, write
from loom_ingest.spool.producer import SpoolingProducer
from tests.ingest.spool.broker import MemoryBroker


async def test_the_drain_drops_it_and_nothing_else(tmp_path: Path) -> None:
    broker = MemoryBroker()
    producer = SpoolingProducer(broker, Settings(), tmp_path, Metrics())
    await producer.start()
    for number in range(200):
        key = b"erase-me" if number % 3 else b"bystander"
        await producer.send(Record("t", key, b'{"n": %d}' % number, []))
    assert producer.held == 200
    write(tmp_path, [Tombstone(("erase-me",), None, None, time.time_ns() // 1_000_000)])
    await asyncio.sleep(0.01)
    await producer.send(Record("t", b"erase-me", b'{"n": 200}', []))
    broker.connected = True
    async with asyncio.timeout(10):
        while producer.held:
            await asyncio.sleep(0.01)
    await producer.stop()
    expected = [n for n in range(200) if not n % 3] + [200]
    assert broker.values == [b'{"n": %d}' % n for n in expected]
    assert list(tmp_path.glob("*/*.segment")) == []
