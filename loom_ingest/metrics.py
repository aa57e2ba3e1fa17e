"""Prometheus metrics by the guide's names. Labels are bounded: route templates, contract topics, known codes."""

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
UNMATCHED: Final = "unmatched"
"""The endpoint label of requests that no route answers."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self, *, device_labels: bool = False) -> None:
        self.registry = CollectorRegistry()
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
            "Time until the broker acknowledged a record.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._rejected = Counter("requests_rejected", "Error answers by code.", ["code"], registry=self.registry)
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
        self.started = Gauge("process_start_time_seconds", "When the service started.", registry=self.registry)
        self.started.set(time.time())
        # A labels() call takes a lock and builds a key; the set of children is small and fixed.
        self._request = lru_cache(maxsize=1024)(
            lambda method, endpoint, status: self._requests.labels(method, endpoint, str(status))
        )
        self._duration = lru_cache(maxsize=256)(self._durations.labels)
        self._message = lru_cache(maxsize=256)(self._messages.labels)

    def request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in _METHODS else "other"
        self._request(method, endpoint, status).inc()
        self._duration(method, endpoint).observe(seconds)

    def rejected(self, code: str) -> None:
        """Count one error answer."""
        self._rejected.labels(code).inc()

    def acknowledged(self, topic: str, seconds: float) -> None:
        """Count one record that the broker has."""
        self._message(topic, "success").inc()
        self._produce.observe(seconds)

    def failed(self, topic: str) -> None:
        """Count one record that the broker did not acknowledge."""
        self._message(topic, "error").inc()

    def websockets(self, device_ids: Iterable[str]) -> None:
        """Say which devices have an audio stream open."""
        if not self._device_labels:
            self._websockets.set(len(list(device_ids)))
            return
        self._websockets.clear()
        for device_id in device_ids:
            self._websockets.labels(device_id).set(1)

    def exposition(self) -> bytes:
        """All of them in the text format 0.0.4."""
        return generate_latest(self.registry)
