"""The spool for the event loop: many requests share one sync, and every wait for the disk is in a thread of its own."""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial
from typing import Final, TypeVar

from loom_ingest.errors import ApiError, OverloadedError
from loom_ingest.logging import log
from loom_ingest.metrics import Metrics
from loom_ingest.producer import Record
from loom_ingest.settings import MEBIBYTE
from loom_ingest.spool.errors import SpoolFailedError, SpoolFullError
from loom_ingest.spool.log import SpoolLog
from loom_ingest.spool.record import Spooled, size_of
from loom_ingest.spool.slots import Slot

T = TypeVar("T")

LARGEST_SEGMENT: Final = 16 * MEBIBYTE
SEGMENTS: Final = 16
"""At least so many fit, so that room comes back in small steps."""
READ_RECORDS: Final = 2_000
READ_BYTES: Final = 2 * MEBIBYTE
SMALLEST_ROOM: Final = 1_024
"""With less left the spool counts as full: no record worth the name fits."""
RETRY_DISK_SECONDS: Final = 2.0
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Spool:
    """One slot's SpoolLog; `held` is how many records it has or is writing."""

    def __init__(self, opened: SpoolLog, slot: Slot, max_bytes: int, max_waiting_bytes: int, metrics: Metrics) -> None:
        self.log = opened
        self._slot = slot
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._max_waiting_bytes = max_waiting_bytes
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: list[tuple[int, Record, asyncio.Future[None]]] = []
        self._waiting_bytes = 0
        self._writing = 0
        self._committer: asyncio.Task[None] | None = None
        self._refused_until = 0.0
        self.delivered: set[int] = set()
        """Of the records not acknowledged yet, those that the broker has: one before them is missing."""

    @property
    def held(self) -> int:
        """Records that the broker does not have yet."""
        return self.log.pending + len(self._waiting) + self._writing

    @property
    def room(self) -> int:
        """Bytes that still fit."""
        return self._max_bytes - self.log.bytes - self._waiting_bytes

    @property
    def full(self) -> bool:
        """Whether a record would be refused now."""
        return self.room < SMALLEST_ROOM or time.monotonic() < self._refused_until

    def append(self, record: Record, accepted_ms: int, done: "asyncio.Future[None]") -> None:
        """Begin to write; `done` tells when the record is durable, or has the ApiError."""
        size = size_of(record)
        if size > self.room:
            self._metrics.spool_rejected.inc()
            done.set_exception(
                SpoolFullError("Unable to connect to Kafka broker, and the spool is full", retry_after_seconds=10)
            )
            return
        if self._waiting_bytes + size > self._max_waiting_bytes and self._waiting_bytes:
            self._metrics.spool_rejected.inc()
            done.set_exception(OverloadedError(f"{self._waiting_bytes} bytes wait for the spool's disk"))
            return
        self._waiting_bytes += size
        self._waiting.append((accepted_ms, record, done))
        if self._committer is None:
            # It is of many requests, so of none.
            self._committer = asyncio.create_task(self._commit(), name="spool-commit", context=Context())

    async def _commit(self) -> None:
        """Write what waits, as long as something does: those that came during one sync share the next."""
        while self._waiting:
            group, self._waiting = self._waiting, []
            size = self._waiting_bytes
            self._writing = len(group)
            failure: Exception | None = None
            try:
                await self._run(partial(self.log.append, [(ms, record) for ms, record, _ in group]))
            except Exception as error:
                # Of whatever kind: requests wait for an answer.
                failure = error
                self._refuse(error, len(group))
            else:
                self._metrics.spooled(record.topic for _, record, _ in group)
            self._writing = 0
            self._waiting_bytes -= size
            for _, _, done in group:
                if done.done():
                    continue
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(_answer(failure))
        self._committer = None

    def _refuse(self, error: Exception, records: int) -> None:
        self._metrics.spool_rejected.inc(records)
        self._refused_until = time.monotonic() + RETRY_DISK_SECONDS
        log.error(
            "spool_write_failed",
            directory=str(self.log.directory),
            reason=getattr(error, "strerror", None) or type(error).__name__,
            remedy="make room on the disk or mend it, or point LOOM_SPOOL_DIR elsewhere",
        )

    async def read(self) -> list[Spooled]:
        """The oldest records; raises OSError."""
        return await self._run(lambda: self.log.read(READ_RECORDS, READ_BYTES))

    async def acknowledge(self, seq: int) -> None:
        """Forget what was read up to `seq`."""
        await self._run(lambda: self.log.acknowledge(seq))

    async def set_aside(self, spooled: Spooled) -> None:
        """Keep a record that the broker refuses for good, out of the way; raises OSError."""
        await self._run(lambda: self.log.set_aside(spooled))

    async def close(self) -> None:
        """Finish what is being written, and let another process have the slot."""
        if self._committer is not None:
            await self._committer
        await self._run(self.log.close)
        self._thread.shutdown()
        os.close(self._slot.lock)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _answer(error: Exception) -> ApiError:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return SpoolFullError("Unable to connect to Kafka broker, and the spool's disk is full", retry_after_seconds=10)
    return SpoolFailedError("Unable to connect to Kafka broker, and the spool's disk fails", retry_after_seconds=10)


def oldest_age_seconds(spools: Sequence[Spool]) -> float:
    """How long the oldest record has waited; 0 when none does."""
    oldest = [spool.log.oldest_ms for spool in spools if spool.log.pending and spool.log.oldest_ms is not None]
    return max(0.0, time.time() - min(oldest) / 1000) if oldest else 0.0
