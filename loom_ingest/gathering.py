"""Records on their way to the broker, gathered: all that wait for a partition travel as one batch with one answer.

aiokafka's own `send` costs a future, a timeout and several look-ups for each record, more than parsing it does
(docs/architecture.md, "Numbers"). Here a partition is a lane: while its batch is on its way, records queue, and go
together when the answer is there. So a lane never has two batches under way, and its records keep their order.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import perf_counter, time_ns
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import TopicPartition

from loom_ingest.errors import ApiError
from loom_ingest.logging import log, where

TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
SWEEP_SECONDS: Final = 0.25
"""How often it looks for records that waited too long; the precision of the delivery timeout."""
_REFUSED: Final = (*TOO_LARGE, TopicAuthorizationFailedError)
"""With these the broker says that it did not append the batch."""
_UNKNOWN: Final = -1
"""The partition of records whose topic the producer has not met yet."""


class Record(NamedTuple):
    """One record: the topic's name on the broker, key, value and headers."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class _Entry(NamedTuple):
    """A record that waits; `since` is a perf_counter's, `patience` seconds, `timestamp_ms` None for the present."""

    record: Record
    done: "asyncio.Future[None]"
    since: float
    patience: float
    timestamp_ms: int | None


class _Lane:
    """What goes to one partition: `flight` is on its way, `waiting` goes next; `alone` of it one at a time."""

    __slots__ = ("alone", "flight", "partition", "server", "topic", "waiting")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: list[_Entry] = []
        self.flight: list[_Entry] = []
        self.alone = 0
        self.server: asyncio.Task[None] | None = None


class Gatherer:
    """The lanes of one aiokafka producer, which is nobody else's.

    `explain` makes the ApiError of a record from what went wrong. `settled` is told of each record that has its
    answer: topic, seconds, whether the broker has it, and whether it came with a time of its own. `pending` and
    `pending_bytes` count those without an answer.
    """

    def __init__(
        self,
        client: AIOKafkaProducer,
        partition_of: Callable[[bytes, int], int],
        explain: Callable[[BaseException, Record], ApiError],
        settled: Callable[[str, float, bool, bool], None],
        linger_seconds: float,
    ) -> None:
        self.pending = 0
        self.pending_bytes = 0
        self.broken: BaseException | None = None
        """Why the producer can deliver nothing more on some partition, and must be replaced."""
        self._client = client
        self._partition_of = partition_of
        self._explain = explain
        self._settled = settled
        self._linger_seconds = linger_seconds
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._unknown: dict[str, _Lane] = {}
        self._partitions: dict[str, int] = {}
        self._lost: BaseException | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    def post(self, record: Record, patience: float, timestamp_ms: int | None = None) -> "asyncio.Future[None]":
        """Queue `record`; the future ends when the broker has it, or with the ApiError, within `patience` seconds."""
        done: asyncio.Future[None] = self._loop.create_future()
        entry = _Entry(record, done, perf_counter(), patience, timestamp_ms)
        self.pending += 1
        self.pending_bytes += len(record.value)
        self._queue(entry)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return done

    async def drain(self) -> None:
        """Return when nothing is pending."""
        while servers := [lane.server for lane in self._all() if lane.server is not None]:
            await asyncio.wait(servers)

    def abandon(self, error: BaseException) -> None:
        """Answer everything that waits with `error`, and take nothing more; the producer is lost."""
        self._lost = error
        if self._sweeper is not None:
            self._sweeper.cancel()
        for lane in self._all():
            self._settle(lane.flight, error)
            self._settle(lane.waiting, error)
            if lane.server is not None:
                lane.server.cancel()

    def _all(self) -> list[_Lane]:
        return [*self._lanes.values(), *self._unknown.values()]

    def _queue(self, entry: _Entry) -> None:
        record = entry.record
        topic = record.topic
        count = self._partitions.get(topic) or self._count(topic)
        if not count or topic in self._unknown:
            lane = self._unknown.setdefault(topic, _Lane(topic, _UNKNOWN))
        else:
            place = (topic, self._partition_of(record.key, count))
            found = self._lanes.get(place)
            if found is None:
                found = self._lanes[place] = _Lane(*place)
            lane = found
        lane.waiting.append(entry)
        if lane.server is None:
            # It is of many requests, so of none.
            lane.server = self._loop.create_task(self._serve(lane), context=Context())

    def _count(self, topic: str) -> int:
        """How many partitions the topic has, 0 when that is not known; remembered until the next sweep."""
        count = len(self._client.client.cluster.partitions_for_topic(topic) or ())
        if count:
            self._partitions[topic] = count
        return count

    async def _serve(self, lane: _Lane) -> None:
        """Send what waits in `lane`, batch after batch, until nothing does."""
        try:
            if lane.partition == _UNKNOWN:
                await self._learn(lane)
            while lane.waiting:
                # From the first one's arrival: under load it has waited long enough for the batch before it.
                linger = self._linger_seconds - (perf_counter() - lane.waiting[0].since)
                if linger > 0:
                    await asyncio.sleep(linger)
                await self._fly(lane)
        except Exception as error:
            # Whatever it is, its clients must not wait for their time-out, nor the next for this lane.
            log.error("kafka_lane_failed", topic=lane.topic, **where(error))
            self._fail(lane, error)
        finally:
            lane.server = None

    async def _learn(self, lane: _Lane) -> None:
        """Put what waits where it belongs, once the broker said which partitions the topic has."""
        try:
            await self._client.partitions_for(lane.topic)
        except KafkaError as error:
            self._fail(lane, error)
        finally:
            del self._unknown[lane.topic]
        waiting, lane.waiting = lane.waiting, []
        for entry in waiting:
            self._queue(entry)

    async def _fly(self, lane: _Lane) -> None:
        """Send one batch of what waits, and tell those concerned."""
        if not lane.waiting:
            return
        batch = self._client.create_batch()
        most = 1 if lane.alone else len(lane.waiting)
        count = 0
        # What a clock that was ahead has accepted would be refused for ever (message.timestamp.after.max.ms).
        now_ms = time_ns() // 1_000_000
        for record, _, _, _, timestamp_ms in lane.waiting[:most]:
            accepted_ms = None if timestamp_ms is None else min(timestamp_ms, now_ms)
            if batch.append(timestamp=accepted_ms, key=record.key, value=record.value, headers=record.headers) is None:
                break
            count += 1
        # A closed batch is sent at once: the gathering was done here.
        batch.close()
        lane.flight, lane.waiting = lane.waiting[:count], lane.waiting[count:]
        lane.alone = max(0, lane.alone - count)
        try:
            answer = await self._client.send_batch(batch, lane.topic, partition=lane.partition)
        except KafkaError as error:
            self._break(lane, error)
            return
        try:
            await answer
        except _REFUSED as error:
            self._take_back(lane, count)
            if isinstance(error, TOO_LARGE) and len(lane.flight) > 1:
                # The broker's limit is of the batch. Alone, only those that are too large are refused.
                lane.alone = len(lane.flight)
                lane.waiting[:0], lane.flight = lane.flight, []
            else:
                self._settle(lane.flight, error)
        except KafkaError as error:
            self._break(lane, error)
        else:
            self._settle(lane.flight, None)

    def _take_back(self, lane: _Lane, count: int) -> None:
        """The sequence numbers of a batch that the broker did not append; with a gap it would refuse all that follow.

        aiokafka has no such step, and its next batches would end with OutOfOrderSequenceNumber.
        """
        manager = self._client._txn_manager
        if manager is not None:
            manager.increment_sequence_number(TopicPartition(lane.topic, lane.partition), -count)

    def _break(self, lane: _Lane, error: KafkaError) -> None:
        """Whether the broker has the batch is not known: only another producer can go on from here."""
        self.broken = error
        self._fail(lane, error)

    def _fail(self, lane: _Lane, error: BaseException) -> None:
        """What waits must not overtake what failed before it: both have the same answer."""
        self._settle(lane.flight, error)
        self._settle(lane.waiting, error)

    def _settle(self, entries: list[_Entry], error: BaseException | None) -> None:
        """Give each of `entries` its answer, and empty the list."""
        now = perf_counter()
        for record, done, since, _, timestamp_ms in entries:
            self.pending -= 1
            self.pending_bytes -= len(record.value)
            self._settled(record.topic, now - since, error is None, timestamp_ms is not None)
            if done.done():
                # Whoever waited left.
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(self._explain(error, record))
        entries.clear()

    def _sweep(self) -> None:
        """Tell those that waited for too long. What is on its way stays so: its lane goes on after its answer."""
        self._sweeper = None
        self._partitions.clear()
        now = perf_counter()
        for lane in self._all():
            for entries in (lane.flight, lane.waiting):
                if late := [entry for entry in entries if now - entry.since > entry.patience]:
                    entries[:] = [entry for entry in entries if now - entry.since <= entry.patience]
                    self._settle(late, TimeoutError())
        if self.pending:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
