"""OpenTelemetry spans of requests, stream messages and records, to a collector over OTLP/HTTP.

Imported only where `LOOM_OTLP_ENDPOINT` is set: it alone loads the SDK. Names and attributes are those of the semantic
conventions (https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and .../messaging/kafka/). No span holds a
device, a path, a query, a key or any part of a payload.
"""

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from loom_ingest import SERVICE, VERSION
from loom_ingest.errors import ApiError
from loom_ingest.logging import log
from loom_ingest.metrics import METHODS, UNMATCHED, Metrics
from loom_ingest.producer import Producer, Record, State
from loom_ingest.settings import Settings
from loom_ingest.trace import RequestContext

TRACES_PATH: Final = "/v1/traces"
SHUTDOWN_SECONDS: Final = 3.0
"""How long a stop waits for a collector to take the last spans."""
GIVE_UP_SECONDS: Final = 0.5
_SCOPE: Final = InstrumentationScope("loom_ingest", VERSION)
_UNSET: Final = Status(StatusCode.UNSET)
_FAILED: Final = Status(StatusCode.ERROR)


class Tracing:
    """Makes spans and gives them to a thread that sends them; a collector that is away costs spans and nothing else."""

    def __init__(self, endpoint: str, ratio: float, environment: str, metrics: Metrics) -> None:
        self._endpoint = endpoint
        # Of the trace id's right half, as OpenTelemetry's TraceIdRatioBased sampler.
        self._bound = round(ratio * 2**64)
        self._metrics = metrics
        self._resource = Resource.create(
            {
                "service.name": SERVICE,
                "service.version": VERSION,
                "service.instance.id": str(uuid.uuid4()),
                "deployment.environment.name": environment,
            }
        )
        self._exporter: SpanExporter | None = None
        self._processor: BatchSpanProcessor | None = None

    def start(self) -> None:
        """Begin the thread that sends; without it, and said so, where OpenTelemetry's own variables cannot be used."""
        try:
            exporter = Telling(OTLPSpanExporter(traces_url(self._endpoint)), self._endpoint, self._metrics)
            self._processor = BatchSpanProcessor(exporter)
            self._exporter = exporter
        except Exception as error:
            remedy = "correct the OTEL_ variables; ingest goes on without spans"
            log.error("spans_off", endpoint=self._endpoint, reason=str(error), remedy=remedy)

    async def stop(self) -> None:
        """Send what is left, for a moment."""
        processor, self._processor = self._processor, None
        exporter, self._exporter = self._exporter, None
        if processor is None or exporter is None:
            return
        # Of its own and a daemon: a collector that does not answer must not hold up the end of the process.
        thread = threading.Thread(target=processor.shutdown, name="spans-shutdown", daemon=True)
        thread.start()
        if not await _ends(thread, SHUTDOWN_SECONDS):
            exporter.shutdown()
            await _ends(thread, GIVE_UP_SECONDS)

    def begin(self, context: RequestContext) -> None:
        """Decide whether a trace that begins here is recorded; one that began elsewhere has it decided."""
        if not context.inherited and int(context.trace_id[16:], 16) >= self._bound:
            context.flags = "00"

    def request(self, context: RequestContext, method: str, route: str, status: int, seconds: float) -> None:
        """The span of one HTTP request that was answered just now."""
        if not context.sampled:
            return
        name = method if method in METHODS else "HTTP"
        attributes: dict[str, str | int] = {
            "http.request.method": name if name != "HTTP" else "_OTHER",
            "http.response.status_code": status,
        }
        if route != UNMATCHED:
            attributes["http.route"] = route
            name = f"{name} {route}"
        if status >= 500:
            attributes["error.type"] = str(status)
        self._serve(context, name, attributes, seconds, failed=status >= 500)

    def message(self, context: RequestContext, route: str, seconds: float, code: str | None) -> None:
        """The span of one message on a WebSocket that was answered just now, with the code of its error."""
        if not context.sampled:
            return
        attributes: dict[str, str | int] = {"network.protocol.name": "websocket", "http.route": route}
        if code is not None:
            attributes["error.type"] = code
        self._serve(context, f"message {route}", attributes, seconds, failed=code is not None)

    def sent(self, record: Record, state: State, began_ns: int, error: BaseException | None) -> None:
        """The span of one record that the broker or the spool took, or neither, just now; a child of its request's."""
        headers = dict(record.headers)
        _, trace_id, parent_id, flags = headers["traceparent"].decode().split("-")
        if not int(flags, 16) & 1:
            return
        tracestate = headers.get("tracestate", b"")
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": record.topic,
            "messaging.message.body.size": len(record.value),
            "loom.producer.state": state,
        }
        if error is not None:
            attributes["error.type"] = error.code.value if isinstance(error, ApiError) else type(error).__qualname__
        self._end(
            ReadableSpan(
                f"send {record.topic}",
                _span_context(trace_id, os.urandom(8).hex(), flags, tracestate),
                _span_context(trace_id, parent_id, flags, tracestate),
                self._resource,
                attributes,
                kind=SpanKind.PRODUCER,
                status=_UNSET if error is None else _FAILED,
                start_time=began_ns,
                end_time=time.time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )

    def _serve(
        self,
        context: RequestContext,
        name: str,
        attributes: dict[str, str | int],
        seconds: float,
        *,
        failed: bool,
    ) -> None:
        ended_ns = time.time_ns()
        parent = None
        if context.inherited:
            parent = _span_context(context.trace_id, context.parent_id, context.flags, context.tracestate, remote=True)
        self._end(
            ReadableSpan(
                name,
                _span_context(context.trace_id, context.span_id, context.flags, context.tracestate),
                parent,
                self._resource,
                attributes,
                kind=SpanKind.SERVER,
                status=_FAILED if failed else _UNSET,
                start_time=ended_ns - round(seconds * 1e9),
                end_time=ended_ns,
                instrumentation_scope=_SCOPE,
            )
        )

    def _end(self, span: ReadableSpan) -> None:
        if self._processor is not None:
            self._metrics.spans("recorded", 1)
            self._processor.on_end(span)


class TracedProducer:
    """A producer whose every record is a span."""

    def __init__(self, producer: Producer, tracing: Tracing) -> None:
        self._producer = producer
        self._tracing = tracing

    @property
    def connected(self) -> bool:
        """Whether the broker answered lately."""
        return self._producer.connected

    @property
    def state(self) -> State:
        """Where a record goes now."""
        return self._producer.state

    @property
    def pending(self) -> int:
        """How many records are not acknowledged yet."""
        return self._producer.pending

    async def start(self) -> None:
        """Begin to connect."""
        await self._producer.start()

    async def stop(self) -> None:
        """Deliver what is pending."""
        await self._producer.stop()

    async def send(self, record: Record) -> None:
        """Return when the broker or the spool has `record`; raises what the producer raises."""
        began_ns, state = time.time_ns(), self._producer.state
        failure: BaseException | None = None
        try:
            await self._producer.send(record)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._tracing.sent(record, state, began_ns, failure)

    async def send_all(self, records: Sequence[Record]) -> list[ApiError | None]:
        """Send `records`, in their order; None for each that the broker or the spool has."""
        began_ns, state = time.time_ns(), self._producer.state
        outcomes = await self._producer.send_all(records)
        for record, outcome in zip(records, outcomes, strict=True):
            self._tracing.sent(record, state, began_ns, outcome)
        return outcomes


class Telling(SpanExporter):
    """Counts what the collector took, and says once when it is away and once when it is back."""

    def __init__(self, exporter: SpanExporter, endpoint: str, metrics: Metrics) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._metrics = metrics
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send `spans`; in the thread of the batches."""
        result = self._exporter.export(spans)
        taken = result is SpanExportResult.SUCCESS
        self._metrics.spans("exported" if taken else "failed", len(spans))
        if taken is self._away:
            self._away = not taken
            if taken:
                log.info("spans_exported_again", endpoint=self._endpoint)
            else:
                remedy = "start the collector, or correct or unset LOOM_OTLP_ENDPOINT; ingest goes on without it"
                log.warning("spans_not_exported", endpoint=self._endpoint, remedy=remedy)
        return result

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._exporter.force_flush(timeout_millis)


def tracing_of(settings: Settings, metrics: Metrics) -> Tracing:
    """The tracing that `settings` ask for."""
    return Tracing(settings.otlp_endpoint or "", settings.trace_sample_ratio, settings.environment, metrics)


def traces_url(endpoint: str) -> str:
    """Where spans go at `endpoint`, which is a collector's base URL or the whole of it."""
    endpoint = endpoint.rstrip("/")
    return endpoint if endpoint.endswith(TRACES_PATH) else endpoint + TRACES_PATH


async def _ends(thread: threading.Thread, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return not thread.is_alive()


def _span_context(trace_id: str, span_id: str, flags: str, tracestate: bytes, *, remote: bool = False) -> SpanContext:
    state = TraceState.from_header([tracestate.decode()]) if tracestate else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(int(flags, 16)), state)
