"""One batch of one stage, from decoded records to a committed transaction."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from json import JSONDecodeError
from typing import Any

import polars as pl
import psycopg
from psycopg import errors as pg

from loom_contracts.topic import Topic
from loom_models.frames import rows_by_day
from loom_models.stage import DUE_SCHEMA, Output, Stage
from loom_platform.stream import lease, offsets
from loom_platform.stream.apply import Applied, apply, finish, halves, timer
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.decode import Decoded
from loom_platform.stream.erased import Erased
from loom_platform.stream.errors import TooLargeError
from loom_platform.stream.pauses import Threshold, TooManyDeadLettersError, tolerated
from loom_platform.stream.sink import Sink, dead_letter, encode
from loom_platform.stream.source import Records
from loom_platform.stream.waking import wake, woken_by
from loom_platform.stream.writer import Writer

Connection = psycopg.Connection[Any]
log = logging.getLogger(__name__)

_PREPARED_SECONDS = 60.0
"""So long a day's partitions are taken for made; the transaction that writes to them makes sure."""
REFUSED = (psycopg.DataError, pg.NotNullViolation, pl.exceptions.ComputeError, JSONDecodeError, TooLargeError)
"""A row can't be written or sent: the record that it is made from is to blame, and its neighbours go on."""

_DEAD_LETTER = """
INSERT INTO processing_errors (stage, topic, partition, "offset", stage_version, error_type, reason, device_id, value,
                               received_at, run_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (stage, topic, partition, "offset") DO UPDATE SET
    stage_version = EXCLUDED.stage_version, error_type = EXCLUDED.error_type, reason = EXCLUDED.reason,
    device_id = EXCLUDED.device_id, value = EXCLUDED.value, received_at = EXCLUDED.received_at,
    occurred_at = now(), run_id = EXCLUDED.run_id, resolved_at = NULL, resolution = NULL,
    attempts = processing_errors.attempts + 1
"""
_SET_TIMERS = """
INSERT INTO stream_timers (stage, stage_version, device_id, key, due_at)
SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::timestamptz[])
ON CONFLICT (stage, stage_version, device_id, key) DO UPDATE SET due_at = EXCLUDED.due_at
"""
# Where the time is given, a timer that was set anew meanwhile stays. In order, so that two never wait for each other.
_END_TIMERS = """
WITH done AS (
    SELECT t.device_id, t.key FROM stream_timers t
    JOIN unnest(%(devices)s::text[], %(keys)s::text[], %(times)s::timestamptz[]) AS due (device_id, key, due_at)
      USING (device_id, key, due_at)
    WHERE t.stage = %(stage)s AND t.stage_version = %(version)s ORDER BY device_id, key FOR UPDATE OF t
)
DELETE FROM stream_timers t USING done
WHERE t.stage = %(stage)s AND t.stage_version = %(version)s AND (t.device_id, t.key) = (done.device_id, done.key)
"""
_CLEAR_TIMERS = """
DELETE FROM stream_timers t USING unnest(%s::text[], %s::text[]) AS gone (device_id, key)
WHERE t.stage = %s AND t.stage_version = %s AND t.device_id = gone.device_id AND t.key = gone.key
"""
_KEEP_STATE = """
INSERT INTO stream_state (stage, stage_version, device_id, state) VALUES (%s, %s, %s, %s)
ON CONFLICT (stage, stage_version, device_id) DO UPDATE SET state = EXCLUDED.state, updated_at = now()
"""
_PUT_OFF_TIMER = """
UPDATE stream_timers SET due_at = now() + interval '1 hour'
WHERE stage = %s AND stage_version = %s AND device_id = %s AND key = %s
"""
_FORGET_STATE = "DELETE FROM stream_state WHERE stage = %s AND stage_version = %s AND device_id = %s"
# Held from the reading of the context to the commit, by the live run and by a recompute: whichever writes last has
# seen everything that the other saw, so an older answer can't take the place of a newer one. A stage that reads what it
# sends waits by it for the end of this transaction.
LOCK_STAGE = "SELECT pg_advisory_xact_lock(hashtext('loom-stage'), hashtext(%s))"
SHARE_STAGE = "SELECT pg_advisory_xact_lock_shared(hashtext('loom-stage'), hashtext(%s))"
"""For a stage that reads no tables: its shards need not wait for each other."""


@dataclass(slots=True)
class Outcome:
    """What a committed batch did. `latencies` are seconds from acceptance to commit, one for each record.

    `errors` gives the dead letters by their type. `timers`: it has set some.
    """

    records: int
    rows_by_day: dict[Topic, dict[date, int]] = field(default_factory=dict)
    dead_letters: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    spans: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    latencies: pl.Series | None = None
    timers: bool = False

    def count(self, topic: Topic, days: Mapping[date, int]) -> None:
        """Add rows of `topic` by their days."""
        known = self.rows_by_day.setdefault(topic, {})
        for day, rows in days.items():
            known[day] = known.get(day, 0) + rows

    def include(self, other: "Outcome") -> None:
        """Add the counts of another part of the same batch."""
        self.records += other.records
        self.dead_letters += other.dead_letters
        for topic, days in other.rows_by_day.items():
            self.count(topic, days)


Steps = Callable[[pl.DataFrame, pl.DataFrame, dict[int, tuple[str, str]], Outcome], None]


class BatchRunner:
    """Runs the batches of one stage over one connection. `topic_id` is the identity that the offsets are of."""

    def __init__(self, stage: Stage, config: StreamConfig, connection: Connection, sink: Sink, topic_id: str) -> None:
        self._stage, self._config, self._connection, self._sink = stage, config, connection, sink
        self._topic_id = topic_id
        self._writer = Writer(connection)
        self._prepared: set[date] = set()
        self._prepared_until = 0.0
        self._topic = stage.source.on_broker(config.topic_prefix)
        self._threshold = Threshold(stage)
        self._woken = woken_by(stage, config)

    def run(
        self, records: Records, decoded: Decoded, spans: Mapping[int, tuple[int, int]], due: pl.DataFrame
    ) -> Outcome:
        """Process `records`, decoded, and `due` timers (TIMER_SCHEMA), and move the offsets by `spans`, all or nothing.

        Raises FencedError or LeaseLostError when another run is ahead, DependencyError or psycopg.OperationalError
        when the batch is to be tried again, TooManyDeadLettersError when the stage is to be paused; in each case
        nothing was written.
        """
        # What must not happen inside a transaction (partitions) is done as soon as the days are known: for landed
        # and most derived rows they are the batch's own.
        self._prepare(decoded.frame)
        try:
            outcome = self._transaction(records, decoded, spans, due, self._steps)
        except REFUSED as error:
            log.warning(
                "stage %s: a row was refused, looking for its record: %s", self._stage.name, type(error).__name__
            )
            outcome = self._transaction(records, decoded, spans, due, self._steps_in_parts)
        self._config.on_point("after-commit")
        if len(records):
            # The wall clock in seconds, as the broker's times are.
            outcome.latencies = time.time() - records.received_at.to_physical() / 1e6
        outcome.spans = spans
        return outcome

    def _transaction(
        self,
        records: Records,
        decoded: Decoded,
        spans: Mapping[int, tuple[int, int]],
        due: pl.DataFrame,
        steps: Steps,
    ) -> Outcome:
        stage, config, connection = self._stage, self._config, self._connection
        outcome = Outcome(len(records))
        poison = {position: ("invalid", reason) for position, reason in decoded.poison.items()}
        with connection.transaction():
            offsets.advance(connection, stage.name, self._topic, self._topic_id, spans)
            if not spans:
                # Timers alone move no offset, so here the lease is the fence.
                lease.confirm(connection, stage.name, config.shard[0], config.run_id)
            config.on_point("fenced")
            erased = Erased.at(connection, records.received_at)
            poison = erased.letters(records, poison)
            if not stage.landing:
                connection.execute(LOCK_STAGE if stage.context else SHARE_STAGE, (stage.name,))
            steps(erased.without(decoded.frame), due, poison, outcome)
            self._judge(len(records), poison)
            self._bury(records, poison)
            config.on_point("before-commit")
        outcome.dead_letters = len(poison)
        outcome.errors = Counter(kind for kind, _ in poison.values())
        self._threshold.add(len(records), len(poison))
        return outcome

    def _judge(self, records: int, poison: Mapping[int, tuple[str, str]]) -> None:
        """Raise TooManyDeadLettersError, unless a person said that many are in order now."""
        try:
            self._threshold.check(records, poison)
        except TooManyDeadLettersError:
            if not tolerated(self._connection, self._stage.name):
                raise

    def _steps_in_parts(
        self, frame: pl.DataFrame, due: pl.DataFrame, poison: dict[int, tuple[str, str]], outcome: Outcome
    ) -> None:
        """The steps behind a savepoint, in halves until what is refused stands alone."""
        self._writer.rolled_back()
        try:
            with self._connection.transaction():
                self._steps(frame, due, poison, outcome)
        except REFUSED as error:
            reason = str(error).splitlines()[0]
            if frame.height + due.height > 1:
                for part, timers in halves(frame, due):
                    self._steps_in_parts(part, timers, poison, outcome)
            elif frame.height:
                poison[frame["position"][0]] = (type(error).__name__, f"its row can't be kept: {reason}")
            else:
                self._put_off({timer(due): reason})

    def _steps(
        self, frame: pl.DataFrame, due: pl.DataFrame, poison: dict[int, tuple[str, str]], outcome: Outcome
    ) -> None:
        """Transform, produce, write."""
        applied = Applied()
        if not frame.is_empty() or not due.is_empty():
            applied = apply(self._connection, self._stage, frame, due, blobs=self._config.blobs)
        frames = self._frames(applied)
        spans = {topic: applied.spans(topic) for topic in self._stage.sinks}
        self._config.on_point("before-produce")
        if frames and not self._stage.landing:
            for topic, rows in frames.items():
                news = rows if spans[topic].is_empty() else self._writer.news(topic.table, rows)
                self._sink.send(topic, *encode(news, topic))
            self._sink.flush()
        self._config.on_point("after-produce")
        self._write(frames, spans, applied, due, outcome)
        poison.update(applied.poison)

    def _prepare(self, frame: pl.DataFrame) -> None:
        days = rows_by_day(frame["timestamp"])
        now = time.monotonic()
        if now > self._prepared_until:
            self._prepared, self._prepared_until = set(), now + _PREPARED_SECONDS
        if not days.keys() <= self._prepared:
            for sink in self._stage.sinks:
                self._writer.prepare(sink.table, days)
            self._prepared |= days.keys()

    def _frames(self, applied: Applied) -> dict[Topic, pl.DataFrame]:
        frames = {}
        for sink in self._stage.sinks:
            rows = applied.rows(sink)
            if rows is not None:
                frames[sink] = finish(rows, self._stage, self._config.run_id)
        return frames

    def _bury(self, records: Records, poison: Mapping[int, tuple[str, str]]) -> None:
        """Dead letters, onto their topic and into their table."""
        stage = self._stage
        for position, (kind, reason) in poison.items():
            message = records.messages[position]
            partition, offset = records.origin(position)
            letter = dead_letter(
                stage=stage.name,
                version=stage.version,
                topic=self._topic,
                partition=partition,
                offset=offset,
                topic_id=self._topic_id,
                key=_text(message.key()),
                error_type=kind,
                reason=clean(reason),
                value=message.value(),
            )
            self._sink.send(stage.error_topic, [_text(message.key())], [letter])
            self._keep_dead_letter(records, position, kind, reason)
        if poison:
            self._sink.flush()

    def _write(
        self,
        frames: Mapping[Topic, pl.DataFrame],
        spans: Mapping[Topic, pl.DataFrame],
        applied: Applied,
        due: pl.DataFrame,
        outcome: Outcome,
    ) -> None:
        self._config.on_point("before-copy")
        written = {}
        for topic, frame in frames.items():
            written[topic] = self._writer.write(topic.table, frame)
        for sink in self._stage.sinks:
            self._writer.settle(sink.table, self._stage, frames.get(sink), spans[sink])
        self._config.on_point("after-copy")
        for output in applied.outputs:
            self._keep(output)
            outcome.timers |= output.timers is not None and not output.timers.is_empty()
        for frame in frames.values():
            wake(self._connection, self._woken, frame)
        if not due.is_empty():
            self._end_timers(due, applied)
        self._put_off(applied.broken_timers)
        for topic, days in written.items():
            outcome.count(topic, days)

    def _keep_dead_letter(self, records: Records, position: int, kind: str, reason: str) -> None:
        message = records.messages[position]
        self._connection.execute(
            _DEAD_LETTER,
            (
                self._stage.name,
                self._topic,
                *records.origin(position),
                self._stage.version,
                kind,
                clean(reason),
                _text(message.key()),
                message.value(),
                records.received_at[position],
                self._config.run_id,
            ),
        )

    def _keep(self, output: Output) -> None:
        stage, connection = self._stage, self._connection
        if output.cleared is not None and not output.cleared.is_empty():
            self._clear(output.cleared)
        if output.timers is not None and not output.timers.is_empty():
            timers = output.timers
            connection.execute(
                _SET_TIMERS,
                (
                    stage.name,
                    stage.version,
                    timers["device_id"].to_list(),
                    timers["key"].to_list(),
                    timers["due_at"].to_list(),
                ),
            )
        for device, state in output.state.items():
            if state is None:
                connection.execute(_FORGET_STATE, (stage.name, stage.version, device))
            else:
                connection.execute(_KEEP_STATE, (stage.name, stage.version, device, state))

    def _end_timers(self, due: pl.DataFrame, applied: Applied) -> None:
        """A timer that was due is done, unless the transform has set it anew."""
        for output in applied.outputs:
            if output.timers is not None and not output.timers.is_empty():
                due = due.join(output.timers, on=["device_id", "key"], how="anti")
        if applied.broken_timers:
            broken = pl.DataFrame(list(applied.broken_timers), schema=DUE_SCHEMA, orient="row")
            due = due.join(broken, on=["device_id", "key"], how="anti")
        if not due.is_empty():
            values = {"devices": due["device_id"].to_list(), "keys": due["key"].to_list()}
            of_the_stage = {"stage": self._stage.name, "version": self._stage.version}
            self._connection.execute(_END_TIMERS, {**values, **of_the_stage, "times": due["due_at"].to_list()})

    def _put_off(self, broken: Mapping[tuple[str, str], str]) -> None:
        """A timer that breaks the transform is no record that could be dead-lettered: it is tried again in an hour."""
        stage = self._stage
        for (device, key), reason in broken.items():
            log.error("stage %s: timer %r of device %s failed and is put off: %s", stage.name, key, device, reason)
            self._connection.execute(_PUT_OFF_TIMER, (stage.name, stage.version, device, key))

    def _clear(self, timers: pl.DataFrame) -> None:
        self._connection.execute(
            _CLEAR_TIMERS,
            (timers["device_id"].to_list(), timers["key"].to_list(), self._stage.name, self._stage.version),
        )


def clean(reason: str) -> str:
    """`reason` as a table and JSON can hold it."""
    return reason.replace("\x00", "\\u0000").encode(errors="replace").decode()


def _text(key: bytes | str | None) -> str | None:
    return key.decode(errors="replace").replace("\x00", "") if isinstance(key, bytes) else key
