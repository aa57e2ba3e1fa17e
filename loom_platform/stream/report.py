"""What a stream run tells of itself as it goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from loom_contracts.topic import Topic


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage did to one sink since its last report.

    `rows_by_day` counts rows by the UTC day of their event time. `offsets` gives, for each partition of the source,
    the first offset of the interval and the one after its last. Latencies run from acceptance by the ingest
    service to the database commit; None when there were no records.
    """

    stage: str
    version: str
    sink: Topic
    rows_by_day: Mapping[date, int]
    offsets: Mapping[int, tuple[int, int]]
    latency_p50_seconds: float | None
    latency_p95_seconds: float | None
    latency_p99_seconds: float | None
    records: int
    dead_letters: int
    batches: int
    at: datetime

    @property
    def rows(self) -> int:
        """All rows of the interval."""
        return sum(self.rows_by_day.values())


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What one stage did in the whole run; `waiting_for` names a dependency that was away at its end."""

    stage: str
    version: str
    records: int
    rows: int
    dead_letters: int
    batches: int
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a stage is behind its source.

    `messages` are the records after the stored offsets. `oldest_received_at` is None where it is not known.
    `due_timers` counts timers whose time has come, `next_timer_at` is the time of the first one to come.
    """

    stage: str
    messages: int
    offsets: Mapping[int, tuple[int, int]]
    has_live_run: bool
    due_timers: int
    next_timer_at: datetime | None
    halted: str | None = None

    @property
    def has_work(self) -> bool:
        """Whether a stream run would find something to do."""
        return self.halted is None and (self.messages > 0 or self.due_timers > 0)
