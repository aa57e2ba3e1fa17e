"""What the real process writes, at DEBUG and under every kind of request: JSON, with ids, without payloads."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from loom_ingest.logging import with_identity
from loom_ingest.trace import CURRENT, RequestContext
from tests.ingest.server import LiveServer, live_server, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "SECRETSECRET"  # base64, so that it passes for audio
PNG = b"\x89PNG\r\n\x1a\n" + SECRET.encode()


@pytest.fixture(scope="module")
def server(
    bootstrap_servers: str, ingest_prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    spool = tmp_path_factory.mktemp("spool")
    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix, debug=True, spool_dir=spool) as server:
        yield server


def lines_of(log: Path, request_id: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line.get("request_id") == request_id]


@pytest.mark.integration
async def test_every_line_is_json_with_the_requests_ids_and_no_payload(server: LiveServer) -> None:
    request_id = f"test-{uuid.uuid4().hex[:8]}"
    headers = {"x-request-id": request_id, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        image = {"file": ("secret.png", PNG, "image/png")}
        for content in (
            {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5, "source": SECRET},
            {"device_id": "phone-001", "latitude": SECRET, SECRET: SECRET},
            [SECRET],
        ):
            await client.post("/sensor/gps", json=content)
        await client.post("/digital/clipboard", json={"device_id": "phone-001", "content": SECRET, "text": SECRET})
        await client.post("/images/screenshot", files=image, data={"device_id": "phone-001"})
        await client.get(f"/{SECRET}?token={SECRET}", headers={"Authorization": f"Bearer {SECRET}"})
        await client.post("/owntracks", content=SECRET, headers={"X-API-Key": SECRET})
    url = f"ws://127.0.0.1:{server.port}/audio/stream/mic-001?secret={SECRET}"
    async with websockets.connect(url, additional_headers=headers) as stream:
        chunk = {"chunk_data": SECRET, "sample_rate": 16000, "channels": 1, "format": "wav", "duration_ms": 100}
        for message in (chunk, {"message_type": SECRET}, chunk | {"sample_rate": SECRET}, SECRET):
            await stream.send(json.dumps(message))
            await stream.recv()
        await stream.send(SECRET.encode())
        await stream.recv()
    wait_for(lambda: len(lines_of(server.log, request_id)) > 6, "the lines", 10)
    text = server.log.read_text()
    assert SECRET not in text
    assert "secret" not in text.lower()
    every = [json.loads(line) for line in text.splitlines()]
    for line in every:
        assert {"timestamp", "level", "message", "service", "logger"} <= set(line)
        assert line["service"] == "loom-ingestion-api"
    about = [line for line in lines_of(server.log, request_id) if line["message"].endswith("_refused")]
    assert {line["message"] for line in about} == {"request_refused", "message_refused"}
    assert {line["trace_id"] for line in about} == {TRACE}
    # No line about a request is without them.
    assert all(line["request_id"] and line["trace_id"] for line in every if "refused" in line["message"])


def test_whoever_writes_a_line_it_has_the_ids_of_the_request_that_is_served() -> None:
    def line() -> dict[str, Any]:
        return dict(with_identity(None, "info", {"event": "somewhere_below"}))

    assert set(line()) == {"event", "service"}
    context = RequestContext([(b"x-request-id", b"mine")])
    token = CURRENT.set(context)
    try:
        assert line() == {
            "event": "somewhere_below",
            "service": "loom-ingestion-api",
            "request_id": "mine",
            "trace_id": context.trace_id,
        }
    finally:
        CURRENT.reset(token)
    assert set(line()) == {"event", "service"}
