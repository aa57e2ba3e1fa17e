"""A spooling producer that kills its process at a named point: `python -m tests.ingest.spool.process`.

Its only argument is JSON: `root`, `point`, `passes` (how often the point is passed before), `first` (number of the
first record). Four clients send with the broker away, then it comes back, and they go on. What the broker has is in
`broker`, what the clients were told in `told` below the root, each line written at once.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from loom_ingest.errors import ApiError, BrokerUnavailableError
from loom_ingest.metrics import Metrics
from loom_ingest.producer import Record, State
from loom_ingest.settings import Settings
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.producer import SpoolingProducer

CLIENTS = 4
EACH = 30


class Points:
    """Kills the process at one of them."""

    def __init__(self, point: str | None, passes: int) -> None:
        self._point = point
        self._left = passes

    def __call__(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyDisk(Disk):
    def __init__(self, at: Points) -> None:
        self._at = at

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._at("created")
        return fd

    def write(self, fd: int, data: bytes) -> None:
        self._at("before write")
        super().write(fd, data[: len(data) // 2])
        self._at("half written")
        super().write(fd, data[len(data) // 2 :])
        self._at("before sync")

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._at("after sync")

    def write_position(self, fd: int, data: bytes, offset: int) -> None:
        self._at("before position")
        super().write_position(fd, data[: len(data) // 2], offset)
        self._at("half a position")
        super().write_position(fd, data, offset)
        self._at("after position")

    def remove(self, path: Path) -> None:
        self._at("before remove")
        super().remove(path)
        self._at("after remove")


class FileBroker:
    """A broker that outlives the process: a line for each record."""

    def __init__(self, path: Path, at: Points, *, connected: bool) -> None:
        self.connected = connected
        self.pending = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._at = at

    @property
    def state(self) -> State:
        return "direct" if self.connected else "unavailable"

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        os.close(self._fd)

    async def send(self, record: Record) -> None:
        await asyncio.sleep(0)
        if not self.connected:
            raise BrokerUnavailableError("away")
        self._take(record)

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        for record in records:
            await self.send(record)
        return [None for _ in records]

    async def deliver(self, records: Sequence[tuple[int, Record]]) -> list[ApiError | None]:
        self._at("before delivery")
        for index, (_, record) in enumerate(records):
            if index == len(records) // 2:
                self._at("half delivered")
            self._take(record)
        await asyncio.sleep(0)
        self._at("before acknowledgement")
        return [None for _ in records]

    def _take(self, record: Record) -> None:
        os.write(self._fd, record.value + b"\n")


async def run(root: Path, point: str | None, passes: int, first: int) -> None:
    at = Points(point, passes)
    broker = FileBroker(root / "broker", at, connected=False)
    told = os.open(root / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    settings = Settings(spool_max_bytes=160_000)
    producer = SpoolingProducer(broker, settings, root / "spool", Metrics(), DeadlyDisk(at))
    await producer.start()

    async def client(name: int, numbers: range) -> None:
        for number in numbers:
            value = b"%d %d" % (name, number)
            await producer.send(Record("topic", b"key-%d" % name, value + b" " * 100, []))
            os.write(told, value + b"\n")

    await asyncio.gather(*(client(name, range(first, first + EACH)) for name in range(CLIENTS)))
    broker.connected = True
    await asyncio.gather(*(client(name, range(first + EACH, first + 2 * EACH)) for name in range(CLIENTS)))
    while producer.held:
        await asyncio.sleep(0.005)
    await producer.stop()
    os.close(told)


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    asyncio.run(run(Path(order["root"]), order["point"], order["passes"], order["first"]))
