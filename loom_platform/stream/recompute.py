"""Days again, through the same transform: a derived stage from its source's table, a landing stage from Kafka.

A day is computed one device after the other, in slices, each in one transaction with how far it came. So memory is
bounded by a slice, what was done before a crash stays done, and the live run waits for no more than a slice.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import polars as pl
import psycopg

from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.retention.drops import dropped_days
from loom_platform.stream import lease
from loom_platform.stream.apply import Applied, apply, finish, halves, no_timers
from loom_platform.stream.batch import LOCK_STAGE, REFUSED, Outcome
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect, register
from loom_platform.stream.erased import begin, unerased
from loom_platform.stream.errors import DaysDroppedError
from loom_platform.stream.land_again import land_again
from loom_platform.stream.progress import Job, Progress, forget, inputs_of
from loom_platform.stream.report import StageReport, StageSummary
from loom_platform.stream.slices import DAY, SliceReader, devices_of
from loom_platform.stream.statistics import Statistics
from loom_platform.stream.writer import Writer

log = logging.getLogger(__name__)

SLICE_SECONDS: Final = 0.4
"""A slice that takes longer is followed by smaller ones: so long a live batch of the same stage may have to wait."""

BESIDE_LIVE: Final = 4
"""While a live run has the stage, slices are so many times shorter."""

_FIRST_ROWS: Final = 5_000
_SMALLEST_SHARE: Final = 8
"""A busy machine makes slices no smaller than this part of the largest: smaller ones would only cost more."""

_REPORT_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 5.0
_GIVE_UP: Final = timedelta(minutes=5)
_BACKOFF_FIRST, _BACKOFF_LAST = 0.2, 10.0
_AWAY = (DependencyError, psycopg.OperationalError, psycopg.InterfaceError)
_LOCK = "SELECT pg_try_advisory_lock(hashtext('loom-recompute'), hashtext(%s))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('loom-recompute'), hashtext(%s))"

Report = Callable[[StageReport], None]
OnPoison = Callable[[str, str, str], None]
"""Called with the message_id, the error's type and the reason of each record that can't be processed."""


def _ignored(_message_id: str, _kind: str, _reason: str) -> None:
    """The default of `on_poison`: they are counted, and keep the dead letters that they have."""


def recompute(
    stage: Stage,
    first_day: date,
    last_day: date,
    config: StreamConfig,
    *,
    on_report: Report,
    stop: threading.Event,
    on_poison: OnPoison = _ignored,
    devices: Collection[str] | None = None,
    anew: bool = False,
) -> StageSummary:
    """Compute the UTC days `first_day` to `last_day` of `stage` again, for all or some `devices`, beside the live run.

    Rows that come out the same keep their ids and are left alone; where the answer has changed the new row supersedes
    the old one, and rows that are no longer an answer are superseded too. Only tables are written: what comes
    after this stage is recomputed by its own. Between two slices it heeds `stop`.

    The same request, when it was broken off less than 24 h ago, goes on where it was, unless `anew` is set or what its
    answers depend on has changed. A database that is away is waited for; DependencyError or psycopg.OperationalError is
    raised when it stays away for five minutes. `config.on_point` is called with `slice` before each slice's commit,
    `sliced` after it, and `end` before a device's day is committed as done.
    """
    most = stage.policy.max_rows_again or stage.policy.max_rows
    run = _Run(stage, config, Statistics(stage), stop, on_report, on_poison, most, min(_FIRST_ROWS, most))
    named = None if devices is None else sorted(set(devices))
    backoff, last_work = _BACKOFF_FIRST, time.monotonic()
    while True:
        worked = run.statistics.summary().batches
        try:
            _session(run, first_day, last_day, named, anew=anew and worked == 0)
            break
        except _AWAY as error:
            if run.statistics.summary().batches > worked:
                backoff, last_work = _BACKOFF_FIRST, time.monotonic()
            if time.monotonic() - last_work > _GIVE_UP.total_seconds() or stop.is_set():
                raise
            log.warning("recompute of %s waits %.1f s: %s", stage.name, backoff, str(error).splitlines()[0])
            stop.wait(backoff)
            backoff = min(2 * backoff, _BACKOFF_LAST)
    run.tell(at_once=True)
    return run.statistics.summary()


def _session(run: "_Run", first: date, last: date, devices: list[str] | None, *, anew: bool) -> None:
    """All that is left to do, over one set of connections."""
    stage, config = run.stage, run.config
    with connect(config.database_url, f"loom recompute {stage.name}") as connection:
        register(connection, stage)
        name = f"{first}/{last}/{','.join(devices) if devices is not None else '*'}"
        job = Job(stage, name, inputs_of(connection, stage), config.run_id)
        if anew:
            forget(connection, job, first, last)
        if stage.landing:
            land_again(stage, first, last, devices, config, connection, run.statistics, run.stop)
            return
        if gone := dropped_days(connection, stage.source.table.name, first, last):
            raise DaysDroppedError(stage.name, stage.source.table.name, gone)
        with SliceReader(stage, config.database_url, config.blobs) as reader:
            day = first
            while day <= last and not run.stop.is_set():
                with _alone(connection, f"{stage.name} {day}", run.stop):
                    tables = [stage.source.table, *(sink.table for sink in stage.sinks)]
                    for device in devices if devices is not None else devices_of(connection, tables, day):
                        if not run.stop.is_set():
                            _Device(run, connection, reader, Progress.begin(connection, job, day, device)).run()
                day += DAY
        if not run.stop.is_set():
            forget(connection, job, first, last)


@contextmanager
def _alone(connection: psycopg.Connection[Any], what: str, stop: threading.Event) -> Iterator[None]:
    """Wait until no other recompute is at the same stage and day; its session's end ends its claim."""
    while True:
        row = connection.execute(_LOCK, (what,)).fetchone()
        if row is not None and row[0]:
            break
        if stop.wait(0.5):
            yield
            return
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(_UNLOCK, (what,))


@dataclass(slots=True)
class _Run:
    """What one recompute has in common, over all its sessions."""

    stage: Stage
    config: StreamConfig
    statistics: Statistics
    stop: threading.Event
    on_report: Report
    on_poison: OnPoison
    most: int
    rows: int
    told_at: float = 0.0
    looked_at: float = 0.0
    shorter: int = 1
    known: set[int] = field(default_factory=set)

    def tell(self, *, at_once: bool = False) -> None:
        """Report what was done since the last report, now and then."""
        if at_once or time.monotonic() - self.told_at >= _REPORT_SECONDS:
            self.told_at = time.monotonic()
            for report in self.statistics.reports():
                self.on_report(report)

    def look(self, connection: psycopg.Connection[Any]) -> None:
        """See now and then whether a live run has the stage: its batches wait while a slice is at work."""
        if time.monotonic() - self.looked_at >= _LOOK_SECONDS:
            self.looked_at = time.monotonic()
            live = {row[0] for row in connection.execute(lease.LIVE).fetchall()}
            self.shorter = BESIDE_LIVE if self.stage.name in live else 1
            self.rows = max(1, min(self.rows, self.most // self.shorter))

    def adapt(self, records: int, seconds: float) -> None:
        """Larger slices while they are quick, smaller ones when one takes too long."""
        most, target = self.most // self.shorter, SLICE_SECONDS / self.shorter
        if seconds > target:
            self.rows = min(self.rows, max(1, most // _SMALLEST_SHARE, min(self.rows, records) // 2))
        elif records >= self.rows // 2 and seconds < target / 2:
            self.rows = max(1, min(2 * self.rows, most))


class _Device:
    """One device's day."""

    def __init__(self, run: _Run, connection: psycopg.Connection[Any], reader: SliceReader, progress: Progress) -> None:
        self._run, self._connection, self._reader, self._progress = run, connection, reader, progress
        self._writer = Writer(connection)

    def run(self) -> None:
        """Go on from where the progress is, to the day's end or a stop."""
        progress, run = self._progress, self._run
        if progress.id not in run.known and progress.counted.records:
            # What was done before this run: its summary is of the whole.
            run.statistics.add(replace(progress.counted))
        run.known.add(progress.id)
        if progress.finished:
            return
        last = False
        while not last and not run.stop.is_set():
            last = self._slice()
            run.tell()
        if not run.stop.is_set():
            self._end()

    def _slice(self) -> bool:
        """The next slice: read, computed and written in one transaction; whether it was the last."""
        progress, run = self._progress, self._run
        run.look(self._connection)
        with self._locked():
            started = time.monotonic()
            piece = self._reader.read(progress.day, progress.device_id, progress.position, run.rows)
            if piece is None:
                return True
            outcome = self._compute(unerased(self._connection, piece.batch), no_timers())
            outcome.dead_letters += len(piece.unreadable)
            for message_id, reason in piece.unreadable.items():
                run.on_poison(message_id, "body", reason)
            progress.counted.include(outcome)
            progress.save(self._connection, piece.end)
            run.config.on_point("slice")
        run.statistics.add(outcome)
        run.config.on_point("sliced")
        run.adapt(piece.batch.height, time.monotonic() - started)
        return piece.last

    def _end(self) -> None:
        """What the stage was still waiting for when the day's records ended, such as an open segment's end."""
        progress, run = self._progress, self._run
        outcome = Outcome(0)
        with self._locked():
            due = progress.due(datetime.now(UTC))
            if not due.is_empty():
                outcome = self._compute(self._reader.empty(), due)
                progress.counted.include(outcome)
            progress.finish(self._connection)
            run.config.on_point("end")
        run.statistics.add(outcome)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A transaction with the stage's lock, from the reading to the commit; a fault makes the next slice small."""
        try:
            with self._connection.transaction():
                begin(self._connection)
                self._connection.execute(LOCK_STAGE, (self._run.stage.name,))
                yield
        except BaseException:
            # It may have been too much for the server's time limits: then it would be for ever.
            self._run.rows = max(1, self._run.rows // 2)
            raise

    def _compute(self, batch: pl.DataFrame, due: pl.DataFrame, *, whole: bool = True) -> Outcome:
        """Rows, state and timers behind a savepoint; in halves until a row that is refused stands alone."""
        run = self._run
        try:
            with self._connection.transaction():
                applied = apply(
                    self._connection,
                    run.stage,
                    batch,
                    due,
                    blobs=run.config.blobs,
                    live=False,
                    state=self._progress.state,
                    now=datetime.now(UTC),
                    whole=whole,
                )
                outcome = self._write(applied, batch.height)
        except REFUSED as error:
            self._writer.rolled_back()
            if batch.height + due.height == 1:
                for message_id in batch["message_id"]:
                    reason = f"its row can't be kept: {str(error).splitlines()[0]}"
                    run.on_poison(message_id, type(error).__name__, reason)
                return Outcome(batch.height, dead_letters=batch.height)
            outcome = Outcome(0)
            for part, timers in halves(batch, due):
                outcome.include(self._compute(part, timers, whole=False))
            return outcome
        for output in applied.outputs:
            self._progress.keep(output)
        for position, (kind, reason) in applied.poison.items():
            run.on_poison(batch.filter(pl.col("position") == position)["message_id"][0], kind, reason)
        return outcome

    def _write(self, applied: Applied, records: int) -> Outcome:
        stage = self._run.stage
        outcome = Outcome(records, dead_letters=len(applied.poison))
        for sink in stage.sinks:
            rows, spans = applied.rows(sink), applied.spans(sink)
            if rows is None:
                self._writer.settle(sink.table, stage, None, spans)
                continue
            frame = finish(rows, stage, self._run.config.run_id)
            outcome.rows_by_day[sink] = self._writer.write(sink.table, frame)
            self._writer.settle(sink.table, stage, frame, spans)
            self._writer.confirm(sink.table, self._progress.id)
        return outcome
