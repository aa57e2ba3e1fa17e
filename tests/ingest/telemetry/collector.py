"""A collector of OpenTelemetry spans: OTLP/HTTP with protobuf, as the real ones take it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """What came to `url`; it answers `status`."""

    url: str
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def of_trace(self, trace_id: str, count: int) -> list[Span]:
        """The spans of one trace, the servers' first, when there are `count`."""
        deadline = time.monotonic() + 20
        while len(found := [span for span in list(self.spans) if span.trace_id.hex() == trace_id]) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} spans of {trace_id}"
            time.sleep(0.05)
        return sorted(found, key=lambda span: (span.kind != Span.SPAN_KIND_SERVER, span.start_time_unix_nano))


def attributes(span: Span) -> dict[str, str | int]:
    """The attributes of `span`; all that Loom gives are text or whole numbers."""
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.add(self.path)
            if collector.status == 200:
                request = ExportTraceServiceRequest.FromString(body)
                collector.bodies.append(body)
                for group in request.resource_spans:
                    named = {a.key: a.value.string_value for a in group.resource.attributes}
                    collector.resources.append(named)
                    for scope in group.scope_spans:
                        collector.spans.extend(scope.spans)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
