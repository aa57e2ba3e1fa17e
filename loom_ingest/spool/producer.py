"""The producer that keeps records on disk while the broker is away, and gives them to it in order when it is back."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from loom_ingest.errors import ApiError, BrokerUnavailableError, RecordTooLargeError
from loom_ingest.logging import log, where
from loom_ingest.metrics import Metrics
from loom_ingest.producer import LARGEST_RECORD, KafkaProducer, Producer, Record, State
from loom_ingest.settings import Settings
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.erased import Tombstones, covered
from loom_ingest.spool.errors import SpoolError
from loom_ingest.spool.log import SpoolLog
from loom_ingest.spool.record import Spooled, size_of
from loom_ingest.spool.slots import take_slots
from loom_ingest.spool.spool import LARGEST_SEGMENT, SEGMENTS, Spool, oldest_age_seconds

LOOK_SECONDS: Final = 0.1
"""How often the drain looks whether the broker is back."""
RETRY_SECONDS: Final = 0.5
REMIND_SECONDS: Final = 60.0
LAST_BATCH_SECONDS: Final = 2.0
WAIT_FOR_SLOT_SECONDS: Final = 30.0


class Link(Producer, Protocol):
    """The way to the broker itself."""

    async def deliver(self, records: Sequence[tuple[int, Record]]) -> list[ApiError | None]:
        """Send records, each with its acceptance in Unix ms, in their order; None for each that the broker has."""


class _Flight:
    """Records of one key that are on their way to the broker, and those that must not overtake them."""

    __slots__ = ("count", "waiting")

    def __init__(self) -> None:
        self.count = 0
        self.waiting: list[tuple[Record, int, asyncio.Future[None]]] = []


class SpoolingProducer:
    """Straight to the broker while it is there and the spool is empty; else to the spool, which a task drains.

    A record is acknowledged when either has it. Per key the order is kept: what comes while the spool holds anything
    goes behind it, and what comes while an earlier record of its key is still on its way waits to see where that ends.
    """

    def __init__(self, kafka: Link, settings: Settings, root: Path, metrics: Metrics, disk: Disk | None = None) -> None:
        self._kafka = kafka
        self._settings = settings
        self._metrics = metrics
        self._disk = disk or Disk()
        self._root = root
        self._tombstones = Tombstones(root)
        self._spools: list[Spool] = []
        self._flights: dict[bytes, _Flight] = {}
        self._wake = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None
        self._reminded = 0.0
        self._stopping = False
        metrics.spool_records.set_function(lambda: self.held)
        metrics.spool_bytes.set_function(lambda: sum(spool.log.bytes for spool in self._spools))
        metrics.spool_oldest.set_function(lambda: oldest_age_seconds(self._spools))
        metrics.spool_damaged.set_function(lambda: sum(spool.log.damaged for spool in self._spools))

    @property
    def connected(self) -> bool:
        """Whether the broker answered lately."""
        return self._kafka.connected

    @property
    def pending(self) -> int:
        """How many records are on their way to the broker."""
        return self._kafka.pending

    @property
    def held(self) -> int:
        """How many records the spool has."""
        return sum(spool.held for spool in self._spools)

    @property
    def state(self) -> State:
        """Where a record goes now."""
        if self.connected and not self.held:
            return "direct"
        if not self._spools or self._spools[-1].full:
            return "full"
        return "draining" if self.connected else "spooling"

    async def start(self) -> None:
        """Take up what an earlier process left, and begin to connect. Raises SpoolError."""
        try:
            await self._open()
        except SpoolError as error:
            log.error("spool_unusable", reason=str(error))
            raise
        if self.held:
            log.warning("spool_found", records=self.held, directory=str(self._root))
        await self._kafka.start()
        self._drainer = asyncio.create_task(self._drain(), name="spool-drain")

    async def _open(self) -> None:
        settings = self._settings
        own, left = await asyncio.to_thread(take_slots, self._root, settings.workers, WAIT_FOR_SLOT_SECONDS)
        share = settings.spool_max_bytes // settings.workers
        for slot in (*left, own):
            segment_bytes = min(LARGEST_SEGMENT, max(1, share // SEGMENTS))
            try:
                opened = await asyncio.to_thread(SpoolLog, slot.directory, segment_bytes, self._disk)
            except OSError as error:
                raise SpoolError(
                    f"LOOM_SPOOL_DIR={self._root}: what is in it cannot be read ({error}); mend it, or choose another"
                ) from error
            self._spools.append(Spool(opened, slot, share, settings.kafka_max_pending_bytes, self._metrics))

    async def stop(self) -> None:
        """Drain, for at most half of the shutdown timeout; what is left is for the next start."""
        deadline = time.monotonic() + self._settings.shutdown_timeout_seconds / 2
        while self.held and self.connected and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if self._drainer is not None:
            self._stopping = True
            self._wake.set()
            # What the broker just took is noted, so that it does not go there again.
            await asyncio.wait({self._drainer}, timeout=LAST_BATCH_SECONDS)
            self._drainer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._drainer
        await self._kafka.stop()
        if self.held:
            log.warning("spool_left", records=self.held, remedy="the next start gives them to the broker")
        for spool in self._spools:
            await spool.close()
        self._spools.clear()

    async def send(self, record: Record) -> None:
        """Return when the broker or the spool has `record`; raises an ApiError when neither does."""
        accepted_ms = time.time_ns() // 1_000_000
        flight = self._flights.get(record.key)
        if self.connected and not self.held and (flight is None or not flight.waiting):
            if flight is None:
                flight = self._flights[record.key] = _Flight()
            flight.count += 1
            try:
                await self._kafka.send(record)
                return
            except BrokerUnavailableError:
                done = self._append(record, accepted_ms)
            finally:
                flight.count -= 1
                if not flight.count:
                    self._land(record.key, flight)
        elif flight is not None:
            done = asyncio.get_running_loop().create_future()
            flight.waiting.append((record, accepted_ms, done))
        else:
            done = self._append(record, accepted_ms)
        await done

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        """Send `records`, in their order; None for each that the broker or the spool has."""
        flights = [self._flights.get(record.key) for record in records]
        if not self.connected or self.held or any(flight is not None and flight.waiting for flight in flights):
            outcomes = await asyncio.gather(*map(self.send, records), return_exceptions=True)
            return [_told(outcome) for outcome in outcomes]
        accepted_ms = time.time_ns() // 1_000_000
        for record in records:
            self._flights.setdefault(record.key, _Flight()).count += 1
        written: dict[int, asyncio.Future[None]] = {}
        try:
            told = await self._kafka.send_all(records)
            for index, outcome in enumerate(told):
                if isinstance(outcome, BrokerUnavailableError):
                    written[index] = self._append(records[index], accepted_ms)
        finally:
            for record in records:
                flight = self._flights[record.key]
                flight.count -= 1
                if not flight.count:
                    self._land(record.key, flight)
        for index, done in written.items():
            told[index] = _told((await asyncio.gather(done, return_exceptions=True))[0])
        return told

    def _land(self, key: bytes, flight: _Flight) -> None:
        del self._flights[key]
        for record, accepted_ms, done in flight.waiting:
            if not done.done():
                self._append(record, accepted_ms, done)

    def _append(
        self, record: Record, accepted_ms: int, done: "asyncio.Future[None] | None" = None
    ) -> "asyncio.Future[None]":
        done = done or asyncio.get_running_loop().create_future()
        if size_of(record) > LARGEST_RECORD:
            done.set_exception(RecordTooLargeError(record.topic, len(record.value)))
        else:
            self._spools[-1].append(record, accepted_ms, done)
            self._wake.set()
        return done

    async def _drain(self) -> None:
        """Give the broker what the spools hold, the oldest first, whenever it is there."""
        drained = 0
        while not self._stopping:
            spool = next((spool for spool in self._spools if spool.held), None)
            if spool is None:
                if drained:
                    log.info("spool_drained", records=drained)
                    drained = 0
                self._wake.clear()
                await self._wake.wait()
            elif not self.connected:
                await asyncio.sleep(LOOK_SECONDS)
            else:
                try:
                    drained += await self._drain_some(spool)
                except OSError as error:
                    self._remind(reason=error.strerror or type(error).__name__, directory=str(self._root))
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception as error:
                    # Whatever it is, what waits must not wait for the next start.
                    log.error("spool_drain_failed", **where(error))
                    await asyncio.sleep(RETRY_SECONDS)

    async def _drain_some(self, spool: Spool) -> int:
        """Give the broker the oldest records; returns how many it took."""
        batch = await spool.read()
        if not batch:
            # They are being written.
            await asyncio.sleep(0.001)
            return 0
        todo = [spooled for spooled in batch if spooled.seq not in spool.delivered]
        if erased := self._tombstones.now():
            gone = {spooled.seq for spooled in todo if covered(erased, spooled)}
            spool.delivered |= gone
            todo = [spooled for spooled in todo if spooled.seq not in gone]
        outcomes = await self._kafka.deliver([(spooled.accepted_ms, spooled.record) for spooled in todo])
        waits: ApiError | None = None
        taken = 0
        for spooled, outcome in zip(todo, outcomes, strict=True):
            if isinstance(outcome, RecordTooLargeError):
                outcome = await self._alone(spool, spooled)
            if outcome is None:
                spool.delivered.add(spooled.seq)
                taken += 1
            else:
                waits = waits or outcome
        self._metrics.spool_drained.inc(taken)
        done = 0
        for spooled in batch:
            if spooled.seq not in spool.delivered:
                break
            done = spooled.seq
        if done:
            await spool.acknowledge(done)
            spool.delivered = {seq for seq in spool.delivered if seq > done}
        if waits is not None:
            if self.connected:
                self._remind(reason=waits.message, code=waits.code.value)
            await asyncio.sleep(RETRY_SECONDS)
        return taken

    async def _alone(self, spool: Spool, spooled: Spooled) -> ApiError | None:
        """A record that was refused in company: once more alone, then set aside."""
        (outcome,) = await self._kafka.deliver([(spooled.accepted_ms, spooled.record)])
        if not isinstance(outcome, RecordTooLargeError):
            return outcome
        await spool.set_aside(spooled)
        self._metrics.spool_refused.inc()
        log.error(
            "spool_record_refused",
            topic=spooled.record.topic,
            bytes=len(spooled.record.value),
            remedy="the broker takes no record of this size; it is kept beside the spool, as .refused",
        )
        return None

    def _remind(self, **why: str) -> None:
        if time.monotonic() - self._reminded > REMIND_SECONDS:
            self._reminded = time.monotonic()
            log.warning("spool_drain_waits", records=self.held, **why)


def _told(outcome: BaseException | None) -> ApiError | None:
    if outcome is not None and not isinstance(outcome, ApiError):
        raise outcome
    return outcome


def producer_for(settings: Settings, metrics: Metrics) -> Producer:
    """The producer as the settings have it: with a spool when it has a directory and room."""
    kafka = KafkaProducer(settings, metrics)
    if settings.spool_dir is None or not settings.spool_max_bytes:
        return kafka
    return SpoolingProducer(kafka, settings, settings.spool_dir, metrics)
