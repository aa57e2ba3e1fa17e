"""A broker in memory that can be away, fail in between and be slow; it keeps each record as often as it is sent."""

import asyncio
from collections.abc import Sequence

from loom_ingest.errors import ApiError, BrokerUnavailableError
from loom_ingest.producer import Record, State
from tests.ingest.memory import outcomes_of


class MemoryBroker:
    """`refusing` maps a value to what is answered for it; `slow` is waited for by every direct record."""

    def __init__(self, *, connected: bool = False) -> None:
        self.connected = connected
        self.records: list[Record] = []
        self.times: list[int] = []
        self.batches: list[int] = []
        self.refusing: dict[bytes, ApiError] = {}
        self.slow: asyncio.Event | None = None
        self.takes_at_most: int | None = None

    @property
    def state(self) -> State:
        return "direct" if self.connected else "unavailable"

    @property
    def pending(self) -> int:
        return 0

    @property
    def values(self) -> list[bytes]:
        return [record.value for record in self.records]

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def send(self, record: Record) -> None:
        if self.slow is not None:
            await self.slow.wait()
        if not self.connected:
            raise BrokerUnavailableError("away")
        if record.value in self.refusing:
            raise self.refusing[record.value]
        self.records.append(record)

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        return await outcomes_of(self, records)

    async def deliver(self, records: Sequence[tuple[int, Record]]) -> list[ApiError | None]:
        self.batches.append(len(records))
        await asyncio.sleep(0)
        outcomes: list[ApiError | None] = []
        for accepted_ms, record in records:
            away = not self.connected or (self.takes_at_most is not None and len(self.records) >= self.takes_at_most)
            outcome = BrokerUnavailableError("away") if away else self.refusing.get(record.value)
            if outcome is None:
                self.records.append(record)
                self.times.append(accepted_ms)
            outcomes.append(outcome)
        return outcomes
