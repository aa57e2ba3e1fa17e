"""What stream runs have counted, shown with the service's own metrics.

The runs are short and listen on no port: they add their counts to a table, which is read here when somebody asks. The
names and labels are those of the processing-flows document; `loom_platform/stream/metrics.py` tells what is counted.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from loom_ingest.database import Database
from loom_ingest.errors import DatabaseUnavailableError

_READ: Final = "SELECT metric, service, label, bounds, counts, total FROM loom_stream_metrics()"
_LONGEST_SECONDS: Final = 1.0
_FRESH_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 10.0
"""A database that was away is left alone for so long: whoever asks for metrics does not want to wait each time."""


class StreamMetrics(Collector):
    """The numbers of the table in `database` when it was last read; none before, and without a database."""

    def __init__(self, database: Database | None = None) -> None:
        self._database = database
        self._rows: list[dict[str, Any]] = []
        self._next = 0.0

    async def refresh(self) -> None:
        """Read the table, unless that was just done. While the database is away the last numbers stay."""
        if self._database is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _FRESH_SECONDS
        try:
            async with asyncio.timeout(_LONGEST_SECONDS), self._database.connection() as connection:
                self._rows = [dict(row) for row in await (await connection.execute(_READ)).fetchall()]
        except (TimeoutError, DatabaseUnavailableError):
            self._next = time.monotonic() + _PAUSE_SECONDS

    def collect(self) -> Iterator[Metric]:
        """The document's four, as they were read."""
        latency = HistogramMetricFamily(
            "processing_latency_seconds",
            "Time from acceptance to the committed row, by stage.",
            labels=["service", "stage"],
        )
        events = CounterMetricFamily(
            "events_processed", "Records that a stage is done with.", labels=["service", "topic"]
        )
        errors = CounterMetricFamily(
            "errors", "Dead letters by type, and batches that had to wait.", labels=["service", "error_type"]
        )
        sizes = HistogramMetricFamily("batch_size_histogram", "Records of a stage's batches.", labels=["service"])
        for row in self._rows:
            labels = [row["service"], row["label"]]
            match row["metric"]:
                case "latency":
                    latency.add_metric(labels, _buckets(row), row["total"])
                case "events":
                    events.add_metric(labels, row["counts"][0])
                case "errors":
                    errors.add_metric(labels, row["counts"][0])
                case "batch_size":
                    sizes.add_metric(labels[:1], _buckets(row), row["total"])
        yield from (latency, events, errors, sizes)


class FromAnotherThread(CollectorRegistry):
    """`registry` and the streams' numbers, read on `loop` when another thread asks."""

    def __init__(self, registry: CollectorRegistry, streams: StreamMetrics, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._registry, self._streams, self._loop = registry, streams, loop

    def collect(self) -> Iterator[Metric]:
        """The service's own, then the streams'."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._streams.refresh(), self._loop).result(2 * _LONGEST_SECONDS)
        yield from self._registry.collect()
        yield from self._streams.collect()


def _buckets(row: dict[str, Any]) -> list[tuple[str, float]]:
    """Upper limits and how many values are not above them."""
    limits = [*(str(float(bound)) for bound in row["bounds"]), "+Inf"]
    return list(zip(limits, accumulate(row["counts"]), strict=True))
