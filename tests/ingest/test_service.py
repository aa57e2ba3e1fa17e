"""The service about itself: information, probes, metrics, documentation, CORS."""

import json
import re

import httpx
import pytest
from jsonschema import Draft202012Validator

from loom_ingest.app import create_app
from loom_ingest.errors import BrokerUnavailableError
from loom_ingest.settings import Settings
from tests.ingest.memory import MemoryProducer
from tests.ingest.test_rest_endpoints import ENDPOINTS

GPS = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}


async def test_root_is_the_guides(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.json() == {
        "service": "loom-ingestion-api",
        "version": "0.1.0",
        "description": "FastAPI service for ingesting device data into Kafka topics",
        "endpoints": {
            "health": "/healthz",
            "readiness": "/readyz",
            "audio_websocket": "/audio/stream/{device_id}",
            "audio_upload": "/audio/upload",
            "sensor_endpoints": "/sensor/*",
            "metrics": "/metrics",
            "docs": "/docs",
        },
    }


async def test_probes(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    for path in ("/healthz", "/readyz"):
        response = await client.get(path)
        assert response.status_code == 200
        assert list(response.json()) == ["status", "timestamp", "version", "kafka_connected", "state"]
        assert response.json()["status"] == "healthy"
        assert response.json()["kafka_connected"] is True
        assert response.json()["state"] == "direct"
    producer.connected = False
    alive, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (alive.status_code, ready.status_code) == (200, 503)
    assert (alive.json()["status"], ready.json()["status"]) == ("healthy", "unhealthy")
    assert alive.json()["kafka_connected"] is ready.json()["kafka_connected"] is False


async def test_the_brokers_absence_is_a_503_that_says_when_to_come_back(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    producer.failure = BrokerUnavailableError("Unable to connect to Kafka broker")
    response = await client.post("/sensor/gps", content=json.dumps(GPS).encode())
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["code"] == "KAFKA_UNAVAILABLE"
    assert response.json()["message"] == "Unable to connect to Kafka broker"


async def test_a_batch_that_is_stored_in_part_is_a_503_that_says_so(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    producer.failure = BrokerUnavailableError("Unable to connect to Kafka broker")
    producer.failing = {"device.sensor.humidity.raw"}
    items = [{"device_id": "sensor-1", "sensor_type": t, "value": {"v": 1}} for t in ("light", "humidity", "light")]
    response = await client.post("/sensor/batch", content=json.dumps(items).encode())
    answer = response.json()
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert (answer["status"], answer["processed"], answer["failed"]) == ("error", 2, 1)
    assert answer["errors"][0]["index"] == 1
    assert len(producer.records) == 2


async def test_metrics_have_the_guides_names_and_bounded_labels(client: httpx.AsyncClient) -> None:
    for path in ("/sensor/gps", "/made/up", "/made/up/too"):
        await client.post(path, content=json.dumps(GPS).encode())
    await client.post("/sensor/gps", content=b"{")
    await client.request("INVENTED", "/sensor/gps")
    response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = response.text
    assert 'http_requests_total{endpoint="/sensor/gps",method="POST",status_code="201"} 1.0' in text
    assert 'http_requests_total{endpoint="/sensor/gps",method="POST",status_code="400"} 1.0' in text
    assert 'http_requests_total{endpoint="unmatched",method="POST",status_code="404"} 2.0' in text
    assert 'method="other"' in text
    assert 'http_request_duration_seconds_count{endpoint="/sensor/gps",method="POST"} 2.0' in text
    assert 'requests_rejected_total{code="MALFORMED_JSON"} 1.0' in text
    assert "kafka_messages_total" in text
    assert "made" not in text
    assert "phone-001" not in text


async def test_probes_and_metrics_can_be_left_out(producer: MemoryProducer) -> None:
    app = create_app(Settings(enable_metrics=False, enable_health_checks=False), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 404


async def test_the_document_describes_every_body_and_answer(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    # Those of other makers' clients have tests of their own.
    posts = {path: operation for path, operation in posts.items() if operation["tags"] != ["clients"]}
    assert set(posts) == {
        *(f"/sensor/{name}" for name in ("gps", "accelerometer", "heartrate", "power", "generic", "batch")),
        "/audio/upload",
        "/devices",
        *ENDPOINTS,
    }
    for path, operation in posts.items():
        content = operation["requestBody"]["content"]["application/json"]
        schema = content["schema"] | {"components": document["components"]}
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(content["example"])
        sending = {"403", "429"} if path != "/devices" else {"409"}
        assert {"201", "400", "401", "413", "415", "422", "500", "503", *sending} <= set(operation["responses"])
    assert "$defs" not in json.dumps(document)


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_documentation_needs_nothing_from_elsewhere(client: httpx.AsyncClient, page: str) -> None:
    text = (await client.get(page)).text
    assert re.findall(r"https?://[^\s\"']+", text) == []
    for source in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert source.startswith("/")
        found = await client.get(source)
        assert found.status_code == 200, source
        assert len(found.content) > 1_000


@pytest.mark.parametrize(
    ("settings", "origin", "allowed"),
    [
        (Settings(), "http://anywhere.example", True),
        (Settings(cors_origins=("https://mine.example",)), "https://mine.example", True),
        (Settings(cors_origins=("https://mine.example",)), "https://other.example", False),
        (Settings(environment="production"), "https://other.example", False),
    ],
)
async def test_pages_of_allowed_origins_may_send(
    producer: MemoryProducer, settings: Settings, origin: str, allowed: bool
) -> None:
    app = create_app(settings, producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/sensor/gps", headers=headers)
        assert ("access-control-allow-origin" in preflight.headers) is allowed
        response = await client.post("/sensor/gps", content=json.dumps(GPS).encode(), headers={"Origin": origin})
        assert ("access-control-allow-origin" in response.headers) is allowed
        assert response.status_code == (401 if settings.keys_required else 201)


async def test_the_lifespan_owns_the_producer(producer: MemoryProducer) -> None:
    app = create_app(Settings(), producer)
    assert not producer.started
    async with app.router.lifespan_context(app):
        assert producer.started
    assert not producer.started
