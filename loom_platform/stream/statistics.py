"""What a stage has done, gathered by its worker and read by whoever reports."""

import threading
from datetime import UTC, date, datetime

import numpy as np

from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.stream.batch import Outcome
from loom_platform.stream.metrics import Counts, StageMeter
from loom_platform.stream.report import StageReport, StageSummary

_KEPT_LATENCIES = 20_000


class Statistics:
    """Counts of one stage; safe to use from two threads."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._meter = StageMeter(stage)
        self._lock = threading.Lock()
        self._records = self._rows = self._dead_letters = self._batches = 0
        self._waiting_for: str | None = None
        self._clear()

    def _clear(self) -> None:
        self._rows_by_day: dict[Topic, dict[date, int]] = {}
        self._spans: dict[int, tuple[int, int]] = {}
        self._latencies: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        self._kept = 0
        self._new_records = self._new_dead_letters = self._new_batches = 0

    def add(self, outcome: Outcome) -> None:
        """Count a committed batch."""
        with self._lock:
            self._records += outcome.records
            self._new_records += outcome.records
            self._dead_letters += outcome.dead_letters
            self._new_dead_letters += outcome.dead_letters
            self._batches += 1
            self._new_batches += 1
            self._waiting_for = None
            for topic, days in outcome.rows_by_day.items():
                known = self._rows_by_day.setdefault(topic, {})
                for day, count in days.items():
                    known[day] = known.get(day, 0) + count
                    self._rows += count
            for partition, (start, end) in outcome.spans.items():
                self._spans[partition] = (self._spans.get(partition, (start, end))[0], end)
            latencies = None if outcome.latencies is None else outcome.latencies.to_numpy()
            self._meter.batch(outcome.records, latencies, outcome.errors)
            if latencies is not None and self._kept < _KEPT_LATENCIES:
                self._latencies.append(latencies[:_KEPT_LATENCIES])
                self._kept += len(latencies[:_KEPT_LATENCIES])

    def wait(self, reason: str | None) -> None:
        """Say what the stage is waiting for."""
        with self._lock:
            self._waiting_for = reason

    def failed(self, error: BaseException) -> None:
        """Count what went wrong with a batch that is to be tried again, or ends the run."""
        with self._lock:
            self._meter.failed(type(error).__name__)

    def counted(self) -> Counts:
        """What was counted for Prometheus since the last call."""
        with self._lock:
            return self._meter.take()

    @property
    def waiting_for(self) -> str | None:
        """What the stage is waiting for, or None."""
        with self._lock:
            return self._waiting_for

    def reports(self) -> list[StageReport]:
        """What was done since the last call, one report a sink; empty when nothing was."""
        with self._lock:
            if not self._new_batches:
                return []
            p50 = p95 = p99 = None
            if self._latencies:
                p50, p95, p99 = (float(v) for v in np.percentile(np.concatenate(self._latencies), (50, 95, 99)))
            reports = [
                StageReport(
                    stage=self._stage.name,
                    version=self._stage.version,
                    sink=sink,
                    rows_by_day=self._rows_by_day.get(sink, {}),
                    offsets=dict(self._spans),
                    latency_p50_seconds=p50,
                    latency_p95_seconds=p95,
                    latency_p99_seconds=p99,
                    records=self._new_records,
                    dead_letters=self._new_dead_letters,
                    batches=self._new_batches,
                    at=datetime.now(UTC),
                )
                for sink in self._stage.sinks
            ]
            self._clear()
            return reports

    def summary(self) -> StageSummary:
        """The whole run's counts."""
        with self._lock:
            return StageSummary(
                self._stage.name,
                self._stage.version,
                self._records,
                self._rows,
                self._dead_letters,
                self._batches,
                self._waiting_for,
            )
