"""Prometheus metrics by the guides' names. Labels are bounded: route templates, contract topics, known codes.

docs/how-to/observe-the-api.md tells what each of them means; a test holds it and this module together.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from loom_ingest.stream_metrics import StreamMetrics
from loom_ingest.tallies import Counts, Durations, Tellers
from loom_ingest.workers import Workers

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
UNMATCHED: Final = "unmatched"
"""The endpoint label of requests that no route answers."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one service, in a registry of their own; with `workers` those of all its processes are shown."""

    def __init__(self, *, device_labels: bool = False, workers: Workers | None = None) -> None:
        # When each series began, as a series of its own: twice as many, and nobody asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.streams = StreamMetrics()
        self._workers = workers
        self._tellers = Tellers()
        self.registry.register(self._tellers)
        self._requests = Counter(
            "http_requests", "HTTP requests.", ["method", "endpoint", "status_code"], registry=self.registry
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time from the request's first byte to the end of its answer.",
            ["method", "endpoint"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._messages = Counter("kafka_messages", "Records by outcome.", ["topic", "status"], registry=self.registry)
        self._produce = Histogram(
            "kafka_produce_duration_seconds",
            "Time until the broker acknowledged a record, or it was given up.",
            ["status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._produced = Durations(self._produce.labels("success"))
        self._lost = Durations(self._produce.labels("error"))
        self._drained: Tally[str] = Tally()
        self._spooled: Tally[str] = Tally()
        self.registry.register(_Derived(self._messages, self._drained, self._spooled))
        self._rejected = Counter("requests_rejected", "Error answers by code.", ["code"], registry=self.registry)
        self.connections = Gauge("connections_open", "Connections, WebSockets among them.", registry=self.registry)
        self.connections_held = Gauge(
            "connections_buffered_bytes", "Of bodies and frames that are being received.", registry=self.registry
        )
        self.connections_closed = Counter(
            "connections_closed", "Connections that the service ended or refused.", ["reason"], registry=self.registry
        )
        self._items = Counter("batch_items_rejected", "Readings refused in a batch.", ["code"], registry=self.registry)
        self.kafka_connected = Gauge("kafka_connected", "1 while the broker answers.", registry=self.registry)
        self.kafka_pending = Gauge("kafka_pending_records", "Records not yet acknowledged.", registry=self.registry)
        self._websockets = Gauge(
            "websocket_connections_total",
            "Audio streams that are open.",
            ["device_id"] if device_labels else [],
            registry=self.registry,
        )
        self._device_labels = device_labels
        self.websocket_messages = Counter(
            "websocket_messages", "Messages on audio streams, by outcome.", ["status"], registry=self.registry
        )
        self.spool_records = Gauge("spool_records", "Records on disk, not at the broker yet.", registry=self.registry)
        self.spool_bytes = Gauge("spool_bytes", "Bytes of the spool's segments.", registry=self.registry)
        self.spool_oldest = Gauge(
            "spool_oldest_age_seconds", "How long the oldest record has been on disk.", registry=self.registry
        )
        self.spool_damaged = Gauge("spool_damaged", "Damaged places met in the spool.", registry=self.registry)
        self.spool_written = Counter("spool_written", "Records taken by the spool.", registry=self.registry)
        self.spool_drained = Counter("spool_drained", "Of these, now at the broker.", registry=self.registry)
        self.spool_rejected = Counter("spool_rejected", "Records it had no room for.", registry=self.registry)
        self.spool_refused = Counter(
            "spool_refused", "Records the broker refused for good, set aside.", registry=self.registry
        )
        self._spans = Counter(
            "trace_spans", "Spans: recorded, of these exported or failed.", ["status"], registry=self.registry
        )
        ProcessCollector(registry=self.registry)
        self._answers = Counts(lambda label: self._requests.labels(*label))
        self._records = Counts(lambda label: self._messages.labels(*label))
        self._by_route: dict[tuple[str, str], Durations] = {}
        self._tellers.all += [self._produced, self._lost, self._answers, self._records]

    def request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in METHODS else "other"
        self._answers.add((method, endpoint, str(status)))
        durations = self._by_route.get((method, endpoint))
        if durations is None:
            durations = self._by_route[method, endpoint] = Durations(self._durations.labels(method, endpoint))
            self._tellers.all.append(durations)
        durations.observe(seconds)

    def rejected(self, code: str) -> None:
        """Count one error answer."""
        self._rejected.labels(code).inc()

    def item_rejected(self, code: str) -> None:
        """Count one reading of a batch that was refused."""
        self._items.labels(code).inc()

    def acknowledged(self, topic: str, seconds: float) -> None:
        """Count one record that the broker has."""
        self._records.add((topic, "success"))
        self._produced.observe(seconds)

    def drained(self, topic: str, seconds: float) -> None:
        """Count one record that the broker has from the spool."""
        self._drained[topic] += 1
        self.acknowledged(topic, seconds)

    def spooled(self, topics: Iterable[str]) -> None:
        """Count records, by their topics, that the spool has."""
        before = self._spooled.total()
        self._spooled.update(topics)
        self.spool_written.inc(self._spooled.total() - before)

    def failed(self, topic: str, seconds: float | None = None) -> None:
        """Count one record that the broker did not acknowledge, and the time that it was waited for."""
        self._records.add((topic, "error"))
        if seconds is not None:
            self._lost.observe(seconds)

    def spans(self, status: Literal["recorded", "exported", "failed"], count: int) -> None:
        """Count spans of `loom_ingest.telemetry`."""
        self._spans.labels(status).inc(count)

    def websockets(self, device_ids: Iterable[str]) -> None:
        """Say which devices have an audio stream open."""
        if not self._device_labels:
            self._websockets.set(len(list(device_ids)))
            return
        self._websockets.clear()
        for device_id in device_ids:
            self._websockets.labels(device_id).set(1)

    def exposition(self) -> bytes:
        """All of them in the text format 0.0.4, of all workers; those of stream runs as `streams` has read them."""
        own = generate_latest(self.registry if self._workers is None else self._workers.merged(self.registry))
        return own + generate_latest(self.streams)


class _Derived(Collector):
    """What follows from other numbers, worked out when somebody asks instead of at every record."""

    def __init__(self, messages: Counter, drained: Tally[str], spooled: Tally[str]) -> None:
        self._messages = messages
        self._drained = drained
        self._spooled = spooled

    def collect(self) -> Iterator[Metric]:
        """The project guide's name of the broker's records, and the records that clients were answered for."""
        sent = CounterMetricFamily("kafka_messages_sent", "Records that the broker acknowledged.", labels=["topic"])
        accepted = CounterMetricFamily(
            "records_accepted", "Records that a client's success stands for.", labels=["topic", "kept"]
        )
        for sample in (sample for metric in self._messages.collect() for sample in metric.samples):
            if sample.name.endswith("_total") and sample.labels["status"] == "success":
                topic = sample.labels["topic"]
                sent.add_metric([topic], sample.value)
                accepted.add_metric([topic, "broker"], sample.value - self._drained[topic])
        for topic, count in list(self._spooled.items()):
            accepted.add_metric([topic, "spool"], count)
        yield sent
        yield accepted
