"""The register of devices over a real database, and without one."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.rows import dict_row
from structlog.testing import capture_logs

from loom_ingest import database
from loom_ingest.app import create_app
from loom_ingest.devices import sightings
from loom_ingest.settings import Settings
from tests.ingest.memory import MemoryProducer

pytestmark = pytest.mark.integration

GPS: dict[str, Any] = {"latitude": 1.5, "longitude": 2.5}
NOBODY = "postgresql://nobody@127.0.0.1:1/none"


@asynccontextmanager
async def serving(database_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The app with its lifespan, over the in-memory producer."""
    app: FastAPI = create_app(Settings(database_url=database_url, **settings), MemoryProducer())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database_url) as client:
        yield client


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sightings are written at once."""
    monkeypatch.setattr(sightings, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(sightings, "REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(sightings, "REFUSAL_SECONDS", 0.05)


async def gps(client: httpx.AsyncClient, device_id: str) -> int:
    return (await client.post("/sensor/gps", json={"device_id": device_id, **GPS})).status_code


async def eventually(client: httpx.AsyncClient, path: str, condition: Any) -> Any:
    for _ in range(200):
        answer = (await client.get(path)).json()
        if condition(answer):
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} stayed {answer}")


async def test_the_life_of_a_device(client: httpx.AsyncClient) -> None:
    body = {
        "device_id": "phone-001",
        "name": "My phone",
        "device_type": "phone",
        "tags": ["pocket"],
        "metadata": {"a": 1},
    }
    response = await client.post("/devices", json=body)
    assert response.status_code == 201, response.text
    device = response.json()["device"]
    assert {k: device[k] for k in body} == body
    assert device["registered"]
    assert device["last_seen_at"] is None

    again = await client.post("/devices", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "DEVICE_EXISTS")

    changed = await client.patch("/devices/phone-001", json={"name": None, "tags": [], "model": "Pixel 9"})
    assert changed.status_code == 200
    device = (await client.get("/devices/phone-001")).json()
    assert device == changed.json()["device"]
    assert (device["name"], device["tags"], device["model"], device["metadata"]) == (None, [], "Pixel 9", {"a": 1})
    assert device["updated_at"] > device["created_at"]

    deleted = await client.delete("/devices/phone-001")
    assert deleted.status_code == 200
    assert deleted.json()["device"]["deleted_at"]
    for response in (await client.delete("/devices/phone-001"), await client.patch("/devices/phone-001", json={})):
        assert (response.status_code, response.json()["code"]) == (404, "DEVICE_NOT_FOUND")
    assert (await client.get("/devices/phone-001")).status_code == 404
    assert (await client.get("/devices/phone-001?include_deleted=true")).json()["deleted_at"]
    assert (await client.get("/devices")).json() == {"devices": [], "total": 0}
    assert (await client.get("/devices?include_deleted=true")).json()["total"] == 1

    back = (await client.post("/devices", json={"device_id": "phone-001", "name": "New"})).json()["device"]
    assert (back["name"], back["model"], back["deleted_at"]) == ("New", "Pixel 9", None)


async def test_the_list_has_pages(client: httpx.AsyncClient) -> None:
    for n in range(5):
        await client.post("/devices", json={"device_id": f"device-{n}"})
    page = (await client.get("/devices?limit=2&offset=3")).json()
    assert ([d["device_id"] for d in page["devices"]], page["total"]) == (["device-3", "device-4"], 5)
    assert (await client.get("/devices?offset=9")).json() == {"devices": [], "total": 5}


@pytest.mark.usefixtures("quick")
async def test_a_device_is_recorded_on_first_sight(client: httpx.AsyncClient, database_url: str) -> None:
    reading = {"sensor_type": "light", "value": {"lux": 1}}
    assert await gps(client, "phone-001") == 201
    batch = [{"device_id": d, **reading} for d in ("phone-001", "sensor-001", "sensor-001")]
    assert (await client.post("/sensor/batch", json=batch)).status_code == 201
    summary = await eventually(client, "/devices/activity", lambda a: a["message_count"] == 4)
    assert (summary["total_devices"], summary["active_devices"], summary["active_seconds"]) == (2, 2, 300)
    phone = next(d for d in summary["devices"] if d["device_id"] == "phone-001")
    assert {t["topic"]: t["message_count"] for t in phone["topics"]} == {
        "device.sensor.gps.raw": 1,
        "device.sensor.light.raw": 1,
    }
    device = (await client.get("/devices/phone-001")).json()
    assert device["registered"] is False
    assert device["first_seen_at"] <= device["last_seen_at"]
    await gps(client, "phone-001")
    await eventually(client, "/devices/activity", lambda a: a["message_count"] == 5)
    registered = (await client.post("/devices", json={"device_id": "phone-001"})).json()["device"]
    assert registered["registered"]
    assert registered["first_seen_at"] == device["first_seen_at"]

    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("UPDATE device_activity SET last_seen_at = last_seen_at - interval '1 hour'")
    assert (await client.get("/devices/activity")).json()["active_devices"] == 0
    assert (await client.get("/devices/activity?active_seconds=7200")).json()["active_devices"] == 2


async def test_what_was_seen_is_written_at_the_end(database_url: str) -> None:
    async with serving(database_url) as client:
        await gps(client, "phone-001")
    async with serving(database_url) as client:
        assert (await client.get("/devices/activity")).json()["message_count"] == 1


@pytest.mark.usefixtures("quick")
async def test_devices_can_have_to_be_registered(database_url: str) -> None:
    async with (
        serving(database_url, require_registered_devices=True) as one,
        serving(database_url, require_registered_devices=True) as two,
    ):
        response = await one.post("/sensor/gps", json={"device_id": "phone-001", **GPS})
        assert (response.status_code, response.json()["code"]) == (403, "DEVICE_NOT_REGISTERED")
        await one.post("/devices", json={"device_id": "phone-001"})
        assert [await gps(one, "phone-001"), await gps(two, "phone-001")] == [201, 201]
        await one.delete("/devices/phone-001")
        assert await gps(one, "phone-001") == 403
        for _ in range(100):
            if await gps(two, "phone-001") == 403:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("a deletion by another process was not seen")


async def test_without_a_database_ingest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", 0.2)
    with capture_logs() as logs:
        async with serving(NOBODY) as client:
            assert await gps(client, "phone-001") == 201
            response = await client.get("/devices")
            assert (response.status_code, response.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
            assert int(response.headers["retry-after"]) > 0
            assert (await client.get("/readyz")).status_code == 200
        async with serving(NOBODY, require_registered_devices=True) as client:
            assert await gps(client, "phone-001") == 503
    assert any(line["event"] == "devices_unavailable" for line in logs)
    assert "nobody" not in json.dumps(logs)


async def test_a_database_without_tables_says_so(empty_database_url: str) -> None:
    async with serving(empty_database_url) as client:
        response = await client.get("/devices")
        assert response.status_code == 503
        assert "loom db migrate" in response.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        ("GET", "/devices?limit=0", None, ["query", "limit"]),
        ("GET", "/devices?offset=x", None, ["query", "offset"]),
        ("GET", "/devices/activity?active_seconds=0", None, ["query", "active_seconds"]),
        ("GET", "/devices/a%20b", None, ["path", "device_id"]),
        ("DELETE", "/devices/ab", None, ["path", "device_id"]),
        ("PATCH", "/devices/phone-001", {"colour": "red"}, ["body", "colour"]),
        ("PATCH", "/devices/phone-001", {"name": ""}, ["body", "name"]),
        ("PATCH", "/devices/phone-001", {"metadata": {"a": "\x00"}}, ["body", "metadata"]),
        ("POST", "/devices", {"name": "x"}, ["body", "device_id"]),
        ("POST", "/devices", {"device_id": "x"}, ["body", "device_id"]),
    ],
)
async def test_what_is_wrong_is_named(method: str, path: str, body: Any, place: list[str]) -> None:
    app = create_app(Settings(), MemoryProducer())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        response = await client.request(method, path, json=body)
        assert response.status_code == 422, response.text
        assert response.json()["detail"][0]["loc"][: len(place)] == place


async def test_names_are_only_names(client: httpx.AsyncClient) -> None:
    name = f"'; DROP TABLE devices; -- {uuid.uuid4()}"
    await client.post("/devices", json={"device_id": "phone-001", "name": name})
    assert (await client.get("/devices/phone-001")).json()["name"] == name
