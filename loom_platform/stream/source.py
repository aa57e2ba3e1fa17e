"""Reading a topic: partitions by assignment, positions from the database, and the checks that they still mean
what they meant.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol

import polars as pl
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient

from loom_models.errors import DependencyError
from loom_models.stage import BatchPolicy
from loom_platform.stream import topics
from loom_platform.stream.topics import TopicState

FIRST_WAIT_SECONDS = 0.25
"""The longest wait for a first record, so that a stop and a timer are seen soon."""
_ADVISE_SECONDS = 5.0
# Of what comes many times a second each answer to a fetch costs the broker, and this side, as much as one with many.
_GATHERS_FROM = timedelta(milliseconds=150)
_GATHERED_BYTES = 32 * 1024
_TWO_MILLISECONDS = timedelta(milliseconds=2)


class Received(Protocol):
    """What the engine asks of a record: confluent-kafka's `Message`, or a stored dead letter."""

    def key(self) -> bytes | str | None:
        """Whose it is."""

    def value(self) -> bytes | None:
        """Its bytes; None for a tombstone."""

    def partition(self) -> int | None:
        """Where it lies."""

    def offset(self) -> int | None:
        """Its place there."""

    def timestamp(self) -> tuple[int, int]:
        """Kind and milliseconds since 1970."""


@dataclass(frozen=True)
class Records:
    """The records of one poll, in order within each partition. Columns are made once, when asked for."""

    messages: Sequence[Received]

    @cached_property
    def values(self) -> list[bytes | None]:
        """The message values as they came."""
        return [m.value() for m in self.messages]

    @cached_property
    def partitions(self) -> pl.Series:
        """Int32: the partition of each record."""
        return pl.Series("kafka_partition", [m.partition() for m in self.messages], dtype=pl.Int32)

    @cached_property
    def offsets(self) -> pl.Series:
        """Int64: the offset of each record."""
        return pl.Series("kafka_offset", [m.offset() for m in self.messages], dtype=pl.Int64)

    @cached_property
    def received_at(self) -> pl.Series:
        """Datetime("us", "UTC"): when the ingest service accepted each record (the Kafka timestamp)."""
        millis = pl.Series("received_at", [m.timestamp()[1] for m in self.messages], dtype=pl.Int64)
        return millis.cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC"))

    @cached_property
    def spans(self) -> dict[int, tuple[int, int]]:
        """For each partition: its first offset here, and the one after its last."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for message in self.messages:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                first.setdefault(partition, offset)
                last[partition] = offset
        return {partition: (first[partition], offset + 1) for partition, offset in last.items()}

    def origin(self, position: int) -> tuple[int, int]:
        """Partition and offset of the record at `position`."""
        return self.partitions[position], self.offsets[position]

    def __len__(self) -> int:
        return len(self.messages)


def broker_config(bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    """What every client of ours has in common."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 2,
        "topic.metadata.refresh.interval.ms": 60_000,
    }


def admin_client(bootstrap_servers: str) -> AdminClient:
    """A client for questions about topics; one serves many threads."""
    return AdminClient(broker_config(bootstrap_servers))


class Source:
    """One consumer on one topic, for one stage. It never commits to Kafka by itself."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        group: str,
        *,
        max_bytes: int = 16 * 1024 * 1024,
        max_wait: timedelta = timedelta(0),
        admin: AdminClient | None = None,
    ) -> None:
        """`max_wait` is that of the stage's batches; half of a long one is spent at the broker, for one answer."""
        self.topic = topic
        self._admin = admin or admin_client(bootstrap_servers)
        self._average_bytes = 512.0
        # A run is opened for a backlog, so much is expected until it is known better.
        self._per_second = 1e4
        self._polled_at = time.monotonic()
        self._advise_at = 0.0
        self._gathers = max_wait >= _GATHERS_FROM
        self._consumer = Consumer(
            {
                **broker_config(bootstrap_servers),
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": max_wait // _TWO_MILLISECONDS if self._gathers else 1_000,
                "fetch.min.bytes": _GATHERED_BYTES if self._gathers else 1,
                "queued.min.messages": 100_000,
                # A full queue is looked at again soon: the default second leaves a fast stage without records.
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": max(1024, 2 * max_bytes // 1024),
                "fetch.max.bytes": max(max_bytes, 4 * 1024 * 1024),
                "check.crcs": True,
            }
        )

    def describe(self) -> TopicState:
        """The topic as it is on the broker; raises TopicMissingError, or DependencyError when the broker is away."""
        return topics.state(self._admin, self.topic)

    def identity(self) -> tuple[str, int]:
        """Kafka's present identity of the topic, and how many partitions it has; raises as `describe` does."""
        return topics.identity(self._admin, self.topic)

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read on from these offsets (partition to offset)."""
        self._consumer.assign([TopicPartition(self.topic, p, o) for p, o in positions.items()])

    def poll(self, policy: BatchPolicy, rows: int, first_wait: float = FIRST_WAIT_SECONDS) -> Records:
        """Up to `rows` records, waiting `first_wait` seconds for the first and `policy.max_wait` for the others.

        Where records come so rarely that none is to be expected in `max_wait`, it is not waited for: the wait would
        only add to the first one's latency.
        """
        linger = policy.max_wait.total_seconds() / (2 if self._gathers else 1)
        if self._per_second * linger < 1:
            linger = 0.0
        messages: list[KafkaMessage] = []
        size = 0
        deadline = 0.0
        wait = first_wait
        while len(messages) < rows and size < policy.max_bytes:
            average = max(self._average_bytes, size / len(messages)) if messages else self._average_bytes
            fits = max(1, int((policy.max_bytes - size) / average))
            # One at first, so that the wait ends with the first record and not with the first full batch.
            got = self._consumer.consume(1 if not messages else min(rows - len(messages), fits), wait)
            now = time.monotonic()
            if not messages:
                deadline = now + linger
            for message in got:
                if (error := message.error()) is not None:
                    self._raise(error)
                messages.append(message)
                size += len(message.value() or b"")
            if not got or now > deadline:
                break
            wait = max(0.0, deadline - now)
        self._measure(len(messages))
        if messages:
            self._average_bytes = max(64.0, 0.8 * self._average_bytes + 0.2 * size / len(messages))
        return Records(messages)

    def first(self, timeout: float) -> datetime | None:
        """When the record at the assigned position was accepted; None when none comes in `timeout` seconds."""
        for message in self._consumer.consume(1, timeout):
            if (error := message.error()) is not None:
                self._raise(error)
            return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        return None

    def _measure(self, records: int) -> None:
        now = time.monotonic()
        elapsed = max(1e-3, now - self._polled_at)
        self._polled_at = now
        self._per_second = 0.7 * self._per_second + 0.3 * records / elapsed

    @staticmethod
    def _raise(error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise OffsetsMovedError(error.str())
        raise DependencyError(f"broker: {error.str()}")

    def commit_advisory(self, positions: Mapping[int, int]) -> None:
        """Tell Kafka's monitors where this stage is, every few seconds.

        Nothing of ours reads it, so a failure is of no account, and neither is a last one that is not told.
        """
        now = time.monotonic()
        if now < self._advise_at:
            return
        self._advise_at = now + _ADVISE_SECONDS
        offsets = [TopicPartition(self.topic, p, o) for p, o in positions.items() if o != OFFSET_INVALID]
        if offsets:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException:
                return

    def close(self) -> None:
        """Leave; never raises."""
        self._consumer.close()


class OffsetsMovedError(DependencyError):
    """The broker refused an offset: the topic must be looked at again."""


class PartitionsAddedError(DependencyError):
    """The topic has more partitions than were assigned."""


def offset_at(source: Source, moment_ms: int, timeout: timedelta = timedelta(seconds=10)) -> dict[int, int]:
    """For each partition, the first offset accepted at or after `moment_ms` (Unix milliseconds), or its end."""
    state = source.describe()
    asked = [TopicPartition(source.topic, p, moment_ms) for p in state.ranges]
    found = source._consumer.offsets_for_times(asked, timeout=timeout.total_seconds())
    return {tp.partition: (tp.offset if tp.offset >= 0 else state.ranges[tp.partition][1]) for tp in found}
