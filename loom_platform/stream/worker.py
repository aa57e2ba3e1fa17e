"""The loop of one stage: poll, decode, transform, write, commit; and what happens when something it needs is away."""

import logging
import threading
import time
from dataclasses import replace
from typing import Any

import polars as pl
import psycopg
from confluent_kafka.admin import AdminClient

from loom_models.errors import DependencyError
from loom_models.stage import TIMER_SCHEMA, Stage
from loom_platform.stream import offsets
from loom_platform.stream.apply import no_timers
from loom_platform.stream.batch import BatchRunner
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect, register
from loom_platform.stream.decode import Decoded, decode
from loom_platform.stream.errors import FencedError, ProduceError, RewoundError, TopicRecreatedError
from loom_platform.stream.landed import Landed
from loom_platform.stream.lease import Lease
from loom_platform.stream.pauses import StagePausedError, TooManyDeadLettersError, pause, paused
from loom_platform.stream.reader import Reader
from loom_platform.stream.sink import Sink
from loom_platform.stream.source import FIRST_WAIT_SECONDS, OffsetsMovedError, PartitionsAddedError, Records, Source
from loom_platform.stream.standing import standing
from loom_platform.stream.statistics import Statistics
from loom_platform.stream.waking import woken_by

log = logging.getLogger(__name__)

_BACKOFF_FIRST, _BACKOFF_LAST = 0.1, 5.0
_RENEWALS_PER_LEASE = 3
_LOOK_AT_TOPIC_SECONDS = 5.0
_BETWEEN_WAKES_SECONDS = 2.0
"""A wake mends answers that were given already, so several are heeded at once."""
_LOOK_FOR_TIMERS_SECONDS = 30.0
"""Who asks services sets timers of stages too, from another process."""
_SMALLEST_SHARE = 100
"""A batch is made no smaller than this part of its stage's limit: what takes long then is not the number of rows."""
_DUE = """
SELECT device_id, key, due_at FROM stream_timers WHERE stage = %s AND stage_version = %s AND due_at <= now()
ORDER BY due_at LIMIT 1000
"""
_NEXT_DUE = """
SELECT extract(epoch FROM min(due_at) - now())::float8 FROM stream_timers WHERE stage = %s AND stage_version = %s
"""
AWAY = (DependencyError, ProduceError, psycopg.OperationalError, psycopg.InterfaceError)
"""What is tried again with back-off: nothing is wrong with the records."""


class Worker:
    """Runs one stage until it is stopped. `run` returns at a stop and raises when the stage can't go on."""

    def __init__(
        self,
        stage: Stage,
        config: StreamConfig,
        landed: Landed,
        landing_stage: str | None,
        stop: threading.Event,
        admin: AdminClient,
    ) -> None:
        self.stage = stage
        self.statistics = Statistics(stage)
        self.last_work = time.monotonic()
        self._has_opened = False
        self._config, self._landed, self._landing_stage, self._stop = config, landed, landing_stage, stop
        self._admin = admin
        self._topic = stage.source.on_broker(config.topic_prefix)
        self._positions: dict[int, int] = {}
        self._of_stage = "stage" in stage.source.payload.model_fields
        self._woken = [s.name for s in woken_by(stage, config)]
        self._rows = min(1_000, stage.policy.max_rows)
        self._lease = Lease(stage.name, config.shard[0], config.run_id, config.run_id, config.lease_duration)
        self._renew_at = 0.0
        self._timers_at = 0.0
        self._wake_at = 0.0
        self._look_at = 0.0

    def run(self) -> None:
        """Work until the stop event is set, or the stage is paused.

        Broken dependencies are waited for; other errors are raised.
        """
        backoff = _BACKOFF_FIRST
        while not self._stop.is_set():
            worked = self.statistics.summary().batches
            try:
                self._session()
            except RewoundError as error:
                log.info("%s", error)
            except StagePausedError as error:
                # Its reason can hold a part of a record, which no log may.
                log.warning("stage %s is paused; `loom lag` tells why", self.stage.name)
                self.statistics.failed(error)
                self.statistics.wait(str(error))
                return
            except AWAY as error:
                if self.statistics.summary().batches > worked:
                    backoff = _BACKOFF_FIRST
                log.warning("stage %s waits %.1f s: %s", self.stage.name, backoff, error)
                self.statistics.failed(error)
                self.statistics.wait(str(error).splitlines()[0])
                self._stop.wait(backoff)
                backoff = min(2 * backoff, _BACKOFF_LAST)

    def _session(self) -> None:
        """One stretch of work over one set of connections."""
        stage, config = self.stage, self._config
        with connect(config.database_url, f"loom {stage.name}") as connection:
            self._lease.acquire(connection)
            self._renew_at = time.monotonic() + config.lease_duration.total_seconds() / _RENEWALS_PER_LEASE
            source = Source(
                config.bootstrap_servers,
                self._topic,
                stage.consumer_group,
                max_bytes=stage.policy.max_bytes,
                max_wait=stage.policy.max_wait,
                admin=self._admin,
            )
            sink = Sink(config.bootstrap_servers, config.topic_prefix)
            reader = Reader(lambda: self._read(source))
            try:
                register(connection, stage)
                self._heed_pause(connection)
                self._loop(connection, source, sink, reader)
            finally:
                reader.close()
                sink.close()
                source.close()
                if not connection.broken:
                    self._lease.release(connection)

    def _open(self, connection: psycopg.Connection[Any], source: Source) -> str:
        state = source.describe()
        self._positions = offsets.open_positions(connection, self.stage.name, self._topic, state, self._config.shard)
        source.assign(self._positions)
        if self.stage.landing:
            self._landed.advance(self._topic, self._positions)
        else:
            self._landed.forget(self._topic)
        self.statistics.wait(None)
        return state.topic_id

    def _loop(self, connection: psycopg.Connection[Any], source: Source, sink: Sink, reader: Reader) -> None:
        topic_id = self._open(connection, source)
        if not self._has_opened:
            # What it took to get here on a busy machine was no idleness; later sessions are for what is broken.
            self._has_opened, self.last_work = True, time.monotonic()
        runner = BatchRunner(self.stage, self._config, connection, sink, topic_id)
        self._timers_at = 0.0
        self._look_at = time.monotonic() + _LOOK_AT_TOPIC_SECONDS
        while not self._stop.is_set():
            self._renew(connection)
            self._look_at_topic(source, topic_id)
            try:
                records, decoded = reader.take()
            except OffsetsMovedError:
                self._open(connection, source)  # tells a truncation from a passing fault
                continue
            if len(records) >= self._rows:
                reader.ahead()  # a backlog: the next batch is decoded while this one is written
            due = self._due(connection)
            if not len(records) and due.is_empty():
                continue
            self._config.on_point("polled")
            if len(records) and not self._wait_landed(connection, records):
                return
            if self._of_stage:
                decoded = replace(decoded, frame=standing(connection, self.stage, decoded.frame))
            self._work(connection, runner, source, records, decoded, due)

    def _heed_pause(self, connection: psycopg.Connection[Any]) -> None:
        """Raise StagePausedError when the stage is paused."""
        if told := paused(connection, [self.stage.name]):
            raise StagePausedError(told[self.stage.name])

    def _heed_rewind(self, connection: psycopg.Connection[Any]) -> None:
        """Raise RewoundError when a stored offset is before the one that this run reads on from."""
        stored = offsets.stored(connection, self.stage.name, self._topic)
        if any(stored.get(p, o) < o for p, o in self._positions.items()):
            raise RewoundError(self.stage.name)

    def _work(
        self,
        connection: psycopg.Connection[Any],
        runner: BatchRunner,
        source: Source,
        records: Records,
        decoded: Decoded,
        due: pl.DataFrame,
    ) -> None:
        # Offsets can have holes (transaction markers, compaction): the fence is on what this run has stored before.
        spans = {p: (self._positions[p], end) for p, (_, end) in records.spans.items()}
        started = time.monotonic()
        try:
            outcome = runner.run(records, decoded, spans, due)
        except FencedError as error:
            if not error.rewound:
                raise
            self._lease.renew(connection)
            raise RewoundError(self.stage.name) from error
        except TooManyDeadLettersError as error:
            pause(connection, self.stage.name, "stage", error.reason)
            self._heed_pause(connection)
            raise
        except psycopg.Error:
            # It may have been too much for the server's time limits: then it would be for ever.
            self._rows = max(1, min(self._rows, len(records)) // 2)
            raise
        elapsed = time.monotonic() - started
        self._positions.update({p: end for p, (_, end) in spans.items()})
        if self.stage.landing:
            self._landed.advance(self._topic, self._positions)
            self._landed.wake(self._woken)
        source.commit_advisory({p: end for p, (_, end) in spans.items()})
        self.statistics.add(outcome)
        self.last_work = time.monotonic()
        if outcome.timers or not due.is_empty():
            self._timers_at = 0.0
        self._adapt(len(records), elapsed)

    def _adapt(self, records: int, elapsed: float) -> None:
        """Larger batches while there is a backlog and they are quick, smaller ones when one takes too long."""
        target = self._config.batch_target.total_seconds()
        if elapsed > target:
            least = max(1, self.stage.policy.max_rows // _SMALLEST_SHARE)
            self._rows = min(self._rows, max(least, min(self._rows, records) // 2))
        elif records >= self._rows and elapsed < target / 2:
            self._rows = min(2 * self._rows, self.stage.policy.max_rows)

    def _read(self, source: Source) -> tuple[Records, Decoded]:
        records = source.poll(self.stage.policy, self._rows, self._first_wait())
        return records, decode(records, self.stage.source.payload)

    def _renew(self, connection: psycopg.Connection[Any]) -> None:
        if time.monotonic() >= self._renew_at:
            self._lease.renew(connection)
            self._heed_pause(connection)
            self._heed_rewind(connection)
            self._renew_at = time.monotonic() + self._config.lease_duration.total_seconds() / _RENEWALS_PER_LEASE

    def _look_at_topic(self, source: Source, topic_id: str) -> None:
        """A topic that is made again while it is read gives no error: its offsets go on as if nothing had happened.

        Raises PartitionsAddedError, which begins a new session, when there is more to read than before.
        """
        if time.monotonic() < self._look_at:
            return
        found, partitions = source.identity()
        if found != topic_id:
            raise TopicRecreatedError(self.stage.name, self._topic, topic_id, found)
        index, count = self._config.shard
        if len(self._positions) < len(range(index, partitions, count)):
            raise PartitionsAddedError(f"topic {self._topic} has got new partitions")
        self._look_at = time.monotonic() + _LOOK_AT_TOPIC_SECONDS

    def _first_wait(self) -> float:
        """As long as nothing else is to be done: no longer than to the next timer."""
        if self.stage.landing:
            return FIRST_WAIT_SECONDS
        return max(0.0, min(FIRST_WAIT_SECONDS, self._timers_at - time.monotonic()))

    def _due(self, connection: psycopg.Connection[Any]) -> pl.DataFrame:
        """The timers whose time has come; the database is asked only when one may be due."""
        if self.stage.landing:
            return no_timers()
        now = time.monotonic()
        woken = bool(self.stage.wakes) and now >= self._wake_at and self._landed.is_woken(self.stage.name)
        if not woken and now < self._timers_at:
            return no_timers()
        self._wake_at = now + _BETWEEN_WAKES_SECONDS
        key = (self.stage.name, self.stage.version)
        wait = connection.execute(_NEXT_DUE, key).fetchone()
        seconds = wait[0] if wait else None
        if seconds is None or seconds > 0:
            # A timer of this stage is set by its own batches, which ask anew, by another shard's, or by landing, which
            # may run in another process.
            longest = _BETWEEN_WAKES_SECONDS if self.stage.wakes else _LOOK_FOR_TIMERS_SECONDS
            self._timers_at = time.monotonic() + min(longest, longest if seconds is None else seconds)
            return no_timers()
        rows = connection.execute(_DUE, key).fetchall()
        return pl.DataFrame(rows, schema=TIMER_SCHEMA, orient="row")

    def _wait_landed(self, connection: psycopg.Connection[Any], records: Records) -> bool:
        """Wait until the batch's own records are landed; False at a stop."""
        if self._landing_stage is None or self.stage.landing:
            return True
        ends = {p: end for p, (_, end) in records.spans.items()}
        waited = time.monotonic()
        while not self._landed.reached(connection, self._landing_stage, self._topic, ends):
            if self._stop.is_set():
                return False
            self._renew(connection)
            if time.monotonic() - waited > 1:
                self.statistics.wait(f"{self._landing_stage}, which lands {self._topic}")
        self.statistics.wait(None)
        return True
