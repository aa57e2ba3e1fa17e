"""Records to the broker: what the service needs of a producer, and the one over aiokafka that it runs with."""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2
from aiokafka.protocol.metadata import MetadataRequest

from loom_contracts.topics.registry import LANDED
from loom_ingest.errors import (
    ApiError,
    BrokerUnavailableError,
    OverloadedError,
    RecordTooLargeError,
    TopicUnavailableError,
)
from loom_ingest.gathering import TOO_LARGE, Gatherer
from loom_ingest.gathering import Record as Record
from loom_ingest.logging import log
from loom_ingest.metrics import Metrics
from loom_ingest.settings import MEBIBYTE, Settings

PROBE_SECONDS: Final = 2.0
PROBE_TIMEOUT_SECONDS: Final = 3.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0
DELIVER_TIMEOUT_SECONDS: Final = 30.0
"""Of many records that no client waits for."""
RECONNECT_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
LARGEST_RECORD: Final = 16 * MEBIBYTE
"""The broker's own limit, as deploy/ and the embedded broker set it."""
ENVELOPE_BYTES: Final = 1024
"""More than a record has beside key and value."""
BATCH_BYTES: Final = 256 * 1024
"""Of one partition in one request; larger records travel alone."""

State = Literal["direct", "spooling", "draining", "full", "unavailable"]
"""Where a record goes now: to the broker; to the spool, the broker being away; to the spool, behind others that go to
the broker; nowhere, the spool being full; nowhere, there being neither broker nor spool."""


class Producer(Protocol):
    """What the service needs: a live connection is not one of its preconditions."""

    @property
    def connected(self) -> bool:
        """Whether the broker answered lately."""

    @property
    def state(self) -> State:
        """Where a record goes now."""

    @property
    def pending(self) -> int:
        """How many records are not acknowledged yet."""

    async def start(self) -> None:
        """Begin to connect; returns at once, with the broker away too."""

    async def stop(self) -> None:
        """Deliver what is pending, within the shutdown timeout, and let go of everything."""

    async def send(self, record: Record) -> None:
        """Return when the broker has `record`; raises an ApiError when it does not."""

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        """Send `records`, in their order; None for each that the broker has."""


class KafkaProducer:
    """An idempotent aiokafka producer (acks=all) that is replaced whenever the broker stops answering.

    aiokafka's idempotent producer never gives up a batch: it would deliver, after an outage, records whose clients
    were told to send them again. So a producer that lost its broker is abandoned with all that it holds, every
    waiting client gets its 503 at once, and a new one connects in the background.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._client: AIOKafkaProducer | None = None
        self._gatherer: Gatherer | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._doubt = asyncio.Event()
        self._told = False
        self._timeout_seconds = settings.kafka_delivery_timeout_ms / 1000
        self._topics = [topic.on_broker(settings.kafka_topic_prefix) for topic in LANDED]

    @property
    def connected(self) -> bool:
        """Whether the broker answered lately."""
        return self._client is not None

    @property
    def state(self) -> State:
        """Where a record goes now."""
        return "direct" if self.connected else "unavailable"

    @property
    def pending(self) -> int:
        """How many records are not acknowledged yet."""
        return self._gatherer.pending if self._gatherer is not None else 0

    async def start(self) -> None:
        """Begin to connect; gives a broker that is there a moment to answer."""
        self._keeper = asyncio.create_task(self._keep_connected(), name="kafka-keeper")
        for _ in range(50):
            if self.connected:
                break
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Deliver what is pending, within the shutdown timeout, and let go of everything."""
        client, gatherer, self._client = self._client, self._gatherer, None
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if client is None or gatherer is None:
            return
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_seconds):
                await gatherer.drain()
                await client.stop()
        except (KafkaError, TimeoutError) as error:
            log.warning("kafka_drain_failed", pending=gatherer.pending, reason=type(error).__name__)
            gatherer.abandon(error)
            await _abandon(client)

    async def send(self, record: Record) -> None:
        """Return when the broker has `record`.

        Raises BrokerUnavailableError within the delivery timeout, OverloadedError, TopicUnavailableError or
        RecordTooLargeError.
        """
        await self._post(record)

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        """Send `records`, in their order; None for each that the broker has, else what `send` raises."""
        sent: list[asyncio.Future[None] | ApiError] = []
        for record in records:
            try:
                sent.append(self._post(record))
            except ApiError as error:
                sent.append(error)
        return await _outcomes(sent)

    async def deliver(self, records: Sequence[tuple[int, Record]]) -> list[ApiError | None]:
        """Send records, each with its acceptance in Unix ms, in their order; None for each that the broker has.

        Unlike `send` it waits until the broker answers or is lost, so that nothing is sent again while it may arrive.
        """
        gatherer = self._gatherer
        if self._client is None or gatherer is None:
            return [BrokerUnavailableError("Unable to connect to Kafka broker") for _ in records]
        return await _outcomes(
            [
                _too_large(record) or gatherer.post(record, DELIVER_TIMEOUT_SECONDS, accepted_ms)
                for accepted_ms, record in records
            ]
        )

    def _post(self, record: Record) -> "asyncio.Future[None]":
        """The future of `record`, which is on its way then; raises what is known at once."""
        gatherer, settings = self._gatherer, self._settings
        if self._client is None or gatherer is None:
            self._metrics.failed(record.topic)
            raise BrokerUnavailableError("Unable to connect to Kafka broker")
        if (
            gatherer.pending >= settings.kafka_max_pending_records
            or gatherer.pending_bytes + len(record.value) > settings.kafka_max_pending_bytes
        ):
            self._metrics.failed(record.topic)
            raise OverloadedError(f"{gatherer.pending} records of {gatherer.pending_bytes} bytes wait for the broker")
        if refusal := _too_large(record):
            self._metrics.failed(record.topic)
            raise refusal
        return gatherer.post(record, self._timeout_seconds)

    def _settled(self, topic: str, seconds: float, delivered: bool, spooled: bool) -> None:
        if not delivered:
            self._metrics.failed(topic, seconds)
        elif spooled:
            self._metrics.drained(topic, seconds)
        else:
            self._metrics.acknowledged(topic, seconds)

    def _answer(self, error: BaseException, record: Record) -> ApiError:
        client = self._client
        if isinstance(error, TOO_LARGE):
            return RecordTooLargeError(record.topic, len(record.value))
        if isinstance(error, UnknownTopicOrPartitionError | TopicAuthorizationFailedError):
            return TopicUnavailableError(record.topic)
        if client is not None and client.client.cluster.partitions_for_topic(record.topic) is None:
            return TopicUnavailableError(record.topic)
        self._doubt.set()
        if isinstance(error, TimeoutError):
            return BrokerUnavailableError(
                f"Kafka broker did not acknowledge within {self._timeout_seconds:g} seconds", retry_after_seconds=5
            )
        return BrokerUnavailableError("Unable to connect to Kafka broker")

    async def _keep_connected(self) -> None:
        attempt = 0
        while True:
            client = self._build()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await client.start()
                    # Known beforehand, so that the first record of a topic does not wait for its metadata.
                    await client.client.set_topics(self._topics)
            except (KafkaError, OSError, TimeoutError) as error:
                self._say_lost(type(error).__name__)
                await _abandon(client)
                await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
                attempt += 1
                continue
            except BaseException:
                await _abandon(client)
                raise
            attempt, self._told = 0, False
            gatherer = self._gatherer = Gatherer(
                client, _place, self._answer, self._settled, self._settings.kafka_linger_ms / 1000
            )
            self._client = client
            self._metrics.kafka_connected.set(1)
            log.info("kafka_connected", bootstrap_servers=self._settings.kafka_bootstrap_servers)
            reason = await self._watch(client, gatherer)
            self._client = None
            self._say_lost(reason)
            gatherer.abandon(KafkaError(reason))
            await _abandon(client)

    def _say_lost(self, reason: str) -> None:
        """Say it once for each outage."""
        self._metrics.kafka_connected.set(0)
        if self._told:
            return
        self._told = True
        log.warning(
            "kafka_unavailable",
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            reason=reason,
            pending=self.pending,
            remedy="start the broker, or set LOOM_KAFKA_BOOTSTRAP_SERVERS; the service reconnects by itself",
        )

    async def _watch(self, client: AIOKafkaProducer, gatherer: Gatherer) -> str:
        """Return, with the reason, when `client` lost its broker."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._doubt.wait()
            self._doubt.clear()
            sender = client._sender.sender_task
            if sender is None or sender.done():
                return "the producer's sender ended"
            if gatherer.broken is not None:
                return f"{type(gatherer.broken).__name__} of a batch"
            if not await _answers(client):
                return "no broker answers"

    def _build(self) -> AIOKafkaProducer:
        settings = self._settings
        return AIOKafkaProducer(
            bootstrap_servers=[s.strip() for s in settings.kafka_bootstrap_servers.split(",")],
            client_id=settings.kafka_client_id,
            acks="all",
            enable_idempotence=True,
            compression_type=None if settings.kafka_compression_type == "none" else settings.kafka_compression_type,
            linger_ms=settings.kafka_linger_ms,
            max_batch_size=BATCH_BYTES,
            max_request_size=LARGEST_RECORD,
            request_timeout_ms=settings.kafka_request_timeout_ms,
            partitioner=partition_of,
        )


def partition_of(key: bytes, all_partitions: list[int], _available: list[int]) -> int:
    """The partition of `key`: murmur2, as the Java client's default partitioner and librdkafka's `murmur2`."""
    return _positive_hash(key) % len(all_partitions)


@lru_cache(maxsize=4096)
def _positive_hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


def _place(key: bytes, count: int) -> int:
    """The partition of `key`, of `count` that are numbered from 0."""
    return _positive_hash(key) % count


def _too_large(record: Record) -> RecordTooLargeError | None:
    """The refusal of a record that no broker of Loom's takes."""
    if len(record.value) + len(record.key) + ENVELOPE_BYTES <= LARGEST_RECORD:
        return None
    return RecordTooLargeError(record.topic, len(record.value))


async def _outcomes(sent: "Sequence[asyncio.Future[None] | ApiError]") -> list[ApiError | None]:
    """None for each that the broker has, else why not."""
    if waiting := [each for each in sent if isinstance(each, asyncio.Future)]:
        await asyncio.wait(waiting)
    outcomes: list[ApiError | None] = []
    for each in sent:
        failure = each.exception() if isinstance(each, asyncio.Future) else each
        if failure is not None and not isinstance(failure, ApiError):
            raise failure
        outcomes.append(failure)
    return outcomes


async def _answers(client: AIOKafkaProducer) -> bool:
    """Whether any broker of the cluster answers a request."""
    connection = client.client
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            for broker in connection.cluster.brokers():
                try:
                    await connection.send(broker.nodeId, MetadataRequest([]))
                except KafkaError:
                    continue
                return True
    except TimeoutError:
        return False
    return False


async def _abandon(client: AIOKafkaProducer) -> None:
    """Let go of `client` without delivering what it holds: `stop()` would wait for the broker for ever."""
    sender = client._sender.sender_task
    if sender is not None:
        # It would end a transaction, and there is none.
        sender.remove_done_callback(client._sender._fail_all)
        accumulator = client._message_accumulator
        # What waits for another attempt is not among the pending, and its callback takes it from there.
        accumulator._pending_batches.update(b for each in accumulator._batches.values() for b in each if b.retry_count)
        accumulator.fail_all(KafkaError("the broker is away"))
        # The first cancellation makes the sender wait for its requests, the second ends that.
        for _ in range(2):
            sender.cancel()
            await asyncio.wait({sender}, timeout=0.1)
        if sender.done() and not sender.cancelled():
            sender.exception()
    with contextlib.suppress(KafkaError, TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await client.stop()
