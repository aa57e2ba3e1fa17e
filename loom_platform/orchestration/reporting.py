"""Stage reports as materializations, few enough that Dagster's database stays small.

A stage reports to its run every 15 s. A run passes on the first report at once, and any that tells of a new day; the
others ever more rarely, up to one in `LONGEST_GAP`, each with all that was counted since the last: 7 in three hours of
full work instead of 720.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import dagster as dg

from loom_contracts.topic import Topic
from loom_platform.orchestration.specs import asset_key
from loom_platform.stream.api import StageReport

FIRST_GAP = timedelta(minutes=1)
LONGEST_GAP = timedelta(minutes=60)
GROWTH = 4


@dataclass
class Pending:
    """What one stage did to one sink since it was last told.

    Latencies of several reports are joined: the mean p50 by records, the worst p95 and p99. `api_url` is where the
    ingest service is, which explains rows; without it nothing links there.
    """

    stage: str
    version: str
    sink: Topic
    rows_by_day: dict[date, int] = field(default_factory=dict)
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    weight: int = 0
    records: int = 0
    dead_letters: int = 0
    batches: int = 0
    api_url: str = ""

    def add(self, report: StageReport) -> None:
        """Count one more report."""
        for day, rows in report.rows_by_day.items():
            self.rows_by_day[day] = self.rows_by_day.get(day, 0) + rows
        for partition, (start, end) in report.offsets.items():
            self.offsets[partition] = (self.offsets.get(partition, (start, end))[0], end)
        if report.latency_p50_seconds is not None:
            new = max(1, report.records)
            known = self.p50 if self.p50 is not None else report.latency_p50_seconds
            self.p50 = (known * self.weight + report.latency_p50_seconds * new) / (self.weight + new)
            self.weight += new
        self.p95 = _worst(self.p95, report.latency_p95_seconds)
        self.p99 = _worst(self.p99, report.latency_p99_seconds)
        self.records += report.records
        self.dead_letters += report.dead_letters
        self.batches += report.batches

    def materializations(self) -> Iterator[dg.AssetMaterialization]:
        """One for each event-day that has rows."""
        for day, rows in sorted(self.rows_by_day.items()):
            yield dg.AssetMaterialization(
                asset_key(self.sink), partition=day.isoformat(), metadata=self.metadata(rows, day)
            )

    def metadata(self, rows: int, day: date) -> dict[str, dg.MetadataValue]:
        """Numbers, so that the UI plots them; `rows` are the day's, the rest is of the whole interval.

        `offsets` gives the range of each partition, `next_offset` their sum, which only grows. `explain` leads to where
        the day's newest row came from and what came of it.
        """
        numbers: dict[str, dg.MetadataValue] = {
            "rows": dg.MetadataValue.int(rows),
            "records": dg.MetadataValue.int(self.records),
            "batches": dg.MetadataValue.int(self.batches),
            "dead_letters": dg.MetadataValue.int(self.dead_letters),
            "version": dg.MetadataValue.text(self.version),
        }
        if self.offsets:
            ranges = (f"{p}: {start}-{end}" for p, (start, end) in sorted(self.offsets.items()))
            numbers["offsets"] = dg.MetadataValue.text(", ".join(ranges))
            numbers["next_offset"] = dg.MetadataValue.int(sum(end for _, end in self.offsets.values()))
        for name, latency in (("p50", self.p50), ("p95", self.p95), ("p99", self.p99)):
            if latency is not None:
                numbers[f"latency_{name}_seconds"] = dg.MetadataValue.float(round(latency, 4))
        if self.api_url:
            numbers["explain"] = dg.MetadataValue.url(
                f"{self.api_url}/lineage/latest?topic={self.sink.name}&day={day.isoformat()}"
            )
        return numbers


def _worst(known: float | None, new: float | None) -> float | None:
    return known if new is None else new if known is None else max(known, new)


class Reporter:
    """Gathers reports and tells them when they are due. `tell` may raise: what it was given is then kept for later."""

    def __init__(
        self,
        tell: Callable[[Sequence[dg.AssetMaterialization]], None],
        *,
        first_gap: timedelta = FIRST_GAP,
        longest_gap: timedelta = LONGEST_GAP,
        api_url: str = "",
    ) -> None:
        self._tell, self._api_url = tell, api_url
        self._first_gap, self._longest_gap = first_gap, longest_gap
        self._pending: dict[tuple[str, Topic], Pending] = {}
        self._due: dict[tuple[str, Topic], datetime] = {}
        self._gap: dict[tuple[str, Topic], timedelta] = {}
        self._told: dict[tuple[str, Topic], set[date]] = {}

    def on_report(self, report: StageReport) -> None:
        """Take a report, and tell whatever is due by its time."""
        key = (report.stage, report.sink)
        fresh = Pending(report.stage, report.version, report.sink, api_url=self._api_url)
        self._pending.setdefault(key, fresh).add(report)
        for each in [k for k in self._pending if self._is_due(k, report.at)]:
            self._send(each)
            self._gap[each] = min(GROWTH * self._gap.get(each, self._first_gap / GROWTH), self._longest_gap)
            self._due[each] = report.at + self._gap[each]

    def _is_due(self, key: tuple[str, Topic], now: datetime) -> bool:
        days = self._pending[key].rows_by_day.keys()
        return bool(days) and (self._due.get(key, now) <= now or not days <= self._told.get(key, set()))

    def flush(self) -> None:
        """Tell everything, at the end of a run."""
        for key in list(self._pending):
            self._send(key)

    def _send(self, key: tuple[str, Topic]) -> None:
        events = list(self._pending[key].materializations())
        if events:
            self._tell(events)
            self._told.setdefault(key, set()).update(self._pending[key].rows_by_day)
        del self._pending[key]
