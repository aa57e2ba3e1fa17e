"""Spans of the real process, with the real broker, at a collector that decodes them."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.testing import capture_logs

from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW
from loom_ingest.app import create_app
from loom_ingest.metrics import Metrics
from loom_ingest.settings import Settings
from loom_ingest.telemetry import Tracing
from loom_ingest.trace import RequestContext
from loom_platform.embedded.process import free_port
from tests.ingest.conftest import read_topic
from tests.ingest.memory import MemoryProducer
from tests.ingest.server import LiveServer, live_server, wait_for
from tests.ingest.telemetry.collector import Collector, attributes, collecting

pytestmark = pytest.mark.integration

PARENT = "00f067aa0ba902b7"
CHUNK = {
    "chunk_data": "UExBVEVBVQ==",
    "sample_rate": 16000,
    "channels": 1,
    "format": "wav",
    "duration_ms": 100,
}
# In a hurry, for the test's sake; the variables are OpenTelemetry's own.
HASTE = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(bootstrap_servers: str, ingest_prefix: str, collector: Collector) -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HASTE.items():
            patch.setenv(name, value)
        with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix, otlp_endpoint=collector.url) as server:
            yield server


def new_trace() -> str:
    return uuid.uuid4().hex


def gps(device_id: str, **more: Any) -> dict[str, Any]:
    return {"device_id": device_id, "latitude": 48.25, "longitude": 11.75} | more


def test_a_request_and_its_record_are_spans_of_the_callers_trace(
    server: LiveServer, collector: Collector, bootstrap_servers: str, ingest_prefix: str
) -> None:
    trace, device = new_trace(), f"secret-{uuid.uuid4().hex[:8]}"
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "tracestate": "vendor=one, other@tenant=two"}
    before = time.time_ns()
    answer = httpx.post(f"{server.url}/sensor/gps?extra=secret-query", json=gps(device), headers=headers)
    assert answer.status_code == 201
    served, sent = collector.of_trace(trace, 2)

    assert (served.name, served.kind) == ("POST /sensor/gps", Span.SPAN_KIND_SERVER)
    assert served.parent_span_id.hex() == PARENT
    assert attributes(served) == {
        "http.request.method": "POST",
        "http.route": "/sensor/gps",
        "http.response.status_code": 201,
    }
    assert served.status.code == Status.STATUS_CODE_UNSET
    assert answer.headers["traceparent"] == f"00-{trace}-{served.span_id.hex()}-01"
    assert before < served.start_time_unix_nano < sent.start_time_unix_nano
    assert sent.start_time_unix_nano < sent.end_time_unix_nano <= served.end_time_unix_nano < time.time_ns()

    topic = f"{ingest_prefix}.{GPS_RAW.name}"
    (record,) = (r for r in read_topic(bootstrap_servers, topic) if r.key == device.encode())
    assert (sent.name, sent.kind) == (f"send {topic}", Span.SPAN_KIND_PRODUCER)
    assert sent.parent_span_id == served.span_id
    assert attributes(sent) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.body.size": len(record.value),
        "loom.producer.state": "direct",
    }
    # A stage goes on with the trace from here.
    assert dict(record.headers) == {
        "traceparent": f"00-{trace}-{served.span_id.hex()}-01".encode(),
        "tracestate": b"vendor=one,other@tenant=two",
    }
    assert (json.loads(record.value)["trace_id"], json.loads(record.value)["span_id"]) == (trace, served.span_id.hex())
    assert served.trace_state == sent.trace_state == "vendor=one,other@tenant=two"

    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.version"]) == ("loom-ingestion-api", "0.1.0")
    assert collector.paths == {"/v1/traces"}
    assert not any(b"secret" in body for body in collector.bodies)


def test_a_refusal_has_no_record_and_a_batch_has_many(server: LiveServer, collector: Collector) -> None:
    refused, batch = new_trace(), new_trace()
    answer = httpx.post(f"{server.url}/sensor/gps", json={}, headers={"traceparent": f"00-{refused}-{PARENT}-01"})
    assert answer.status_code == 422
    items = [{"device_id": "sensor-001", "sensor_type": "light", "value": {"lux": n}} for n in range(5)]
    answer = httpx.post(f"{server.url}/sensor/batch", json=items, headers={"traceparent": f"00-{batch}-{PARENT}-01"})
    assert answer.status_code == 201
    served, *sent = collector.of_trace(batch, 6)
    assert {span.parent_span_id for span in sent} == {served.span_id}
    assert len({span.span_id for span in sent}) == 5
    (served,) = collector.of_trace(refused, 1)
    assert attributes(served)["http.response.status_code"] == 422
    # The caller's mistake is no failure of the service.
    assert served.status.code == Status.STATUS_CODE_UNSET


def test_paths_that_anyone_may_invent_are_not_in_spans(server: LiveServer, collector: Collector) -> None:
    trace = new_trace()
    headers = {"traceparent": f"00-{trace}-{PARENT}-01"}
    httpx.request("PROPFIND", f"{server.url}/secret/path", headers=headers)
    httpx.get(f"{server.url}/devices/secret-device", headers=headers)
    spans = collector.of_trace(trace, 2)
    assert {span.name for span in spans} == {"HTTP", "GET /devices/{device_id}"}
    assert not any(b"secret" in body for body in collector.bodies)


def test_a_trace_that_is_not_sampled_stays_so(
    server: LiveServer, collector: Collector, bootstrap_servers: str, ingest_prefix: str
) -> None:
    silent, spoken, device = new_trace(), new_trace(), f"d-{uuid.uuid4().hex[:8]}"
    for trace, flags in ((silent, "00"), (spoken, "ff")):
        headers = {"traceparent": f"00-{trace}-{PARENT}-{flags}"}
        assert httpx.post(f"{server.url}/sensor/gps", json=gps(device), headers=headers).status_code == 201
    collector.of_trace(spoken, 2)
    assert not [span for span in collector.spans if span.trace_id.hex() == silent]
    records = read_topic(bootstrap_servers, f"{ingest_prefix}.{GPS_RAW.name}")
    passed = [dict(r.headers)["traceparent"][-3:] for r in records if r.key == device.encode()]
    # Of flags that nobody knows, none is passed on.
    assert passed == [b"-00", b"-03"]


async def test_each_message_of_a_stream_is_a_span(
    server: LiveServer, collector: Collector, bootstrap_servers: str, ingest_prefix: str
) -> None:
    trace, device = new_trace(), f"mic-{uuid.uuid4().hex[:8]}"
    url = f"ws://127.0.0.1:{server.port}/audio/stream/{device}"
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "tracestate": "vendor=one"}
    async with websockets.connect(url, additional_headers=headers) as stream:
        for message in (CHUNK, {"message_type": "ping"}, {"message_type": "nonsense"}):
            await stream.send(json.dumps(message))
            await stream.recv()
    spans = await asyncio.to_thread(collector.of_trace, trace, 4)
    (sent,) = (span for span in spans if span.kind == Span.SPAN_KIND_PRODUCER)
    served = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert {span.name for span in served} == {"message /audio/stream/{device_id}"}
    assert {span.parent_span_id.hex() for span in served} == {PARENT}
    assert [attributes(span).get("error.type") for span in served] == [None, None, "UNKNOWN_MESSAGE_TYPE"]
    assert sent.parent_span_id == served[0].span_id
    (record,) = read_topic(bootstrap_servers, f"{ingest_prefix}.{AUDIO_RAW.name}")
    assert dict(record.headers)["traceparent"] == f"00-{trace}-{served[0].span_id.hex()}-01".encode()
    assert dict(record.headers)["tracestate"] == b"vendor=one"


@pytest.mark.fault
def test_a_collector_that_fails_or_is_away_costs_spans_and_nothing_else(
    bootstrap_servers: str, ingest_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in HASTE.items():
        monkeypatch.setenv(name, value)
    away = f"http://127.0.0.1:{free_port()}/v1/traces"
    settings = {"kafka_topic_prefix": ingest_prefix, "otlp_endpoint": away}
    with live_server(bootstrap_servers, **settings) as server, httpx.Client(base_url=server.url) as client:
        times = []
        for n in range(300):
            started = time.perf_counter()
            assert client.post("/sensor/gps", json=gps(f"phone-{n % 5}")).status_code == 201
            times.append(time.perf_counter() - started)
        assert sorted(times)[len(times) // 2] < 0.1
        assert 'trace_spans_total{status="recorded"}' in client.get("/metrics").text
        server.process.terminate()
        began = time.monotonic()
        assert server.process.wait(20) == 0
        assert time.monotonic() - began < 8
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line["message"] for line in lines].count("spans_not_exported") == 1
    assert not any("opentelemetry" in line["logger"] for line in lines)
    with collecting() as collector:
        collector.status = 500
        with live_server(bootstrap_servers, **settings | {"otlp_endpoint": collector.url}) as server:
            assert httpx.post(f"{server.url}/sensor/gps", json=gps("phone-1")).status_code == 201
            wait_for(lambda: "spans_not_exported" in server.log.read_text(), "the failure", 20)
            collector.status = 200
            trace = new_trace()
            headers = {"traceparent": f"00-{trace}-{PARENT}-01"}
            assert httpx.post(f"{server.url}/sensor/gps", json=gps("phone-1"), headers=headers).status_code == 201
            collector.of_trace(trace, 2)
            wait_for(lambda: "spans_exported_again" in server.log.read_text(), "the recovery", 20)
            metrics = httpx.get(f"{server.url}/metrics").text
            assert 'trace_spans_total{status="exported"}' in metrics
            assert 'trace_spans_total{status="failed"}' in metrics


def test_of_the_traces_that_begin_here_a_part_is_recorded() -> None:
    tracing = Tracing("http://127.0.0.1:1", 0.25, "development", Metrics())
    begun = [RequestContext([]) for _ in range(2_000)]
    for context in begun:
        tracing.begin(context)
    assert 0.2 < sum(context.sampled for context in begun) / len(begun) < 0.3
    for flags in ("00", "01"):
        inherited = RequestContext([(b"traceparent", f"00-{'f' * 32}-{PARENT}-{flags}".encode())])
        tracing.begin(inherited)
        assert inherited.flags == flags


async def test_a_variable_of_opentelemetrys_that_cannot_be_used_costs_only_the_spans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    app = create_app(Settings(otlp_endpoint="http://127.0.0.1:1"), MemoryProducer())
    with capture_logs() as logs:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                assert (await client.post("/sensor/gps", json=gps("phone-001"))).status_code == 201
    assert "spans_off" in [line["event"] for line in logs]


def test_opentelemetrys_sdk_is_loaded_only_for_a_collector() -> None:
    code = (
        "import sys; from loom_ingest.app import create_app; from loom_ingest.settings import Settings;"
        "create_app(Settings(otlp_endpoint={endpoint!r}));"
        "print(any(m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for m in sys.modules))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOM_")}
    # Another program's collector is not Loom's: a person's data service tells nobody unless it is told to.
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:4318"
    for endpoint, loaded in ((None, "False"), ("http://127.0.0.1:4318", "True")):
        command = [sys.executable, "-c", code.format(endpoint=endpoint)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, env=environment)
        assert done.stdout.decode().strip() == loaded
