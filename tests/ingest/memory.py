"""A producer that keeps what it is given, for tests of everything before the broker."""

import json
from collections.abc import Sequence
from typing import Any

from loom_ingest.errors import ApiError
from loom_ingest.producer import Producer, Record, State


class MemoryProducer:
    """Keeps records in order; `failure`, when set, is raised for records of topics in `failing` (all when empty)."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.connected = True
        self.pending = 0
        self.started = False
        self.failure: ApiError | Exception | None = None
        self.failing: set[str] = set()

    async def start(self) -> None:
        self.started = True

    async def stop(self) -> None:
        self.started = False

    async def send(self, record: Record) -> None:
        if self.failure is not None and (not self.failing or record.topic in self.failing):
            raise self.failure
        self.records.append(record)

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        return await outcomes_of(self, records)

    @property
    def state(self) -> State:
        return "direct" if self.connected else "unavailable"

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records]


async def outcomes_of(producer: Producer, records: Sequence[Record]) -> list[ApiError | None]:
    """What `send` says of each."""
    outcomes: list[ApiError | None] = []
    for record in records:
        try:
            await producer.send(record)
        except ApiError as error:
            outcomes.append(error)
        else:
            outcomes.append(None)
    return outcomes
