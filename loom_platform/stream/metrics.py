"""What stream runs count of themselves, for Prometheus.

A run is short and listens on no port: it adds what it counted to the table `stream_metrics` at each of its reports and
at its end, and the ingest service shows the table's numbers at /metrics. So they go on from run to run. A run that is
killed loses what it counted since its last report.

The names and labels are those of the processing-flows document, where each stage is a service. Its label `stage` is the
last part of the topic that the stage fills, by the document's naming convention: raw, cleaned, detected, enriched.
"""

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import psycopg

from loom_models.stage import Stage
from loom_platform.stream.database import connect

log = logging.getLogger(__name__)

Metric = Literal["latency", "events", "errors", "batch_size"]

LATENCY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Upper limits of the buckets, from acceptance by the ingest service to the committed row."""
BATCH_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4)
"""Upper limits of the buckets, records."""
_BOUNDS: Final[dict[Metric, tuple[float, ...]]] = {"latency": LATENCY_SECONDS, "batch_size": BATCH_SIZES}

# A version of Loom with other buckets begins anew: Prometheus takes it for a restart. In order, so that two runs that
# add at the same time never wait for each other.
_ADD = """
INSERT INTO stream_metrics AS s (metric, service, label, bounds, counts, total)
SELECT metric, service, label, bounds, counts, total
FROM jsonb_to_recordset(%s) AS n (metric text, service text, label text, bounds float8[], counts bigint[], total float8)
ORDER BY metric, service, label
ON CONFLICT (metric, service, label) DO UPDATE SET
    bounds = EXCLUDED.bounds, updated_at = now(),
    counts = CASE WHEN s.bounds = EXCLUDED.bounds THEN ARRAY(
        SELECT a + b FROM unnest(s.counts, EXCLUDED.counts) WITH ORDINALITY AS u (a, b, n) ORDER BY n
    ) ELSE EXCLUDED.counts END,
    total = CASE WHEN s.bounds = EXCLUDED.bounds THEN s.total + EXCLUDED.total ELSE EXCLUDED.total END
"""


class Series(NamedTuple):
    """Which series of which metric. `label` is a topic, a type of error or a stage; empty for sizes of batches."""

    metric: Metric
    service: str
    label: str


@dataclass(slots=True)
class Counted:
    """What was counted of one series: a number for each bucket, and the sum of what was measured."""

    counts: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    total: float = 0.0


@dataclass(slots=True)
class Counts:
    """What was counted since it was last taken."""

    by_series: dict[Series, Counted] = field(default_factory=dict)

    def add(self, series: Series, count: int = 1) -> None:
        """Count events or errors."""
        self._of(series).counts[0] += count

    def measure(self, series: Series, values: "np.ndarray[Any, np.dtype[np.float64]]") -> None:
        """Count measured values in their buckets, each of which includes its upper limit."""
        known = self._of(series)
        places = np.searchsorted(_BOUNDS[series.metric], values)
        known.counts += np.bincount(places, minlength=len(known.counts))
        known.total += float(values.sum())

    def include(self, other: "Counts") -> None:
        """Add what was counted elsewhere."""
        for series, counted in other.by_series.items():
            known = self._of(series)
            known.counts += counted.counts
            known.total += counted.total

    def _of(self, series: Series) -> Counted:
        if series not in self.by_series:
            buckets = len(_BOUNDS.get(series.metric, ())) + 1
            self.by_series[series] = Counted(np.zeros(buckets, dtype=np.int64))
        return self.by_series[series]


class StageMeter:
    """Counts one stage."""

    def __init__(self, stage: Stage) -> None:
        self._counts = Counts()
        self._latency = Series("latency", stage.name, stage.sinks[0].parts[-1])
        self._events = Series("events", stage.name, stage.source.name)
        self._batch_size = Series("batch_size", stage.name, "")

    def batch(
        self, records: int, latencies: "np.ndarray[Any, np.dtype[np.float64]] | None", errors: Mapping[str, int]
    ) -> None:
        """Count a committed batch of `records`, of which `errors` gives the dead letters by their type."""
        for kind, count in errors.items():
            self._counts.add(self._latency._replace(metric="errors", label=kind), count)
        if not records:
            return
        self._counts.add(self._events, records)
        self._counts.measure(self._batch_size, np.array([records], dtype=np.float64))
        if latencies is not None:
            self._counts.measure(self._latency, latencies)

    def failed(self, kind: str) -> None:
        """Count what went wrong with a whole batch, such as a broker that was away."""
        self._counts.add(self._latency._replace(metric="errors", label=kind))

    def take(self) -> Counts:
        """What was counted since the last call."""
        taken, self._counts = self._counts, Counts()
        return taken


class Meters:
    """Adds what the stages of a run counted to the table. What can't be added now is added the next time."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._pending = Counts()
        self._lock = threading.Lock()

    def add(self, counted: Iterable[Counts]) -> None:
        """Add what was counted; a database that is away costs nothing but time."""
        with self._lock:
            for counts in counted:
                self._pending.include(counts)
            if not self._pending.by_series:
                return
            try:
                with connect(self._url, "loom metrics") as connection:
                    add(connection, self._pending)
            except psycopg.Error as error:
                log.warning("metrics are kept for the next report: %s", str(error).splitlines()[0])
            else:
                self._pending = Counts()


def add(connection: psycopg.Connection[Any], counts: Counts) -> None:
    """Add `counts` to the table."""
    rows = [
        {
            **series._asdict(),
            "bounds": _BOUNDS.get(series.metric, ()),
            "counts": counted.counts.tolist(),
            "total": counted.total,
        }
        for series, counted in counts.by_series.items()
    ]
    connection.execute(_ADD, (json.dumps(rows),))
