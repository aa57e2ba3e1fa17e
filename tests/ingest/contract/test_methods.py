"""HEAD, OPTIONS and 405 on every resource; numbers and keys as JSON Schema has them."""

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.ingest.memory import MemoryProducer

GPS = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/docs", "/openapi.json", "/system/apps/stats"])
async def test_head_is_get_without_its_body(client: httpx.AsyncClient, path: str) -> None:
    head, get = await client.head(path), await client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_head_never_stores(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    assert (await client.head("/osmand?id=phone-001&lat=1&lon=2")).status_code == 405
    assert producer.records == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/sensor/gps", "OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/devices", "GET, HEAD, OPTIONS, POST"),
        ("/devices/phone-001", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ],
)
async def test_options_and_405_name_all_methods(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    options, wrong = await client.options(path), await client.put(path)
    assert (options.status_code, options.headers["allow"]) == (204, allowed)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, allowed)


async def test_options_of_nothing_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.options("/nowhere")).status_code == 404


async def test_a_whole_number_is_an_integer_however_it_is_written(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    good = await client.post("/sensor/heartrate", json={"device_id": "watch-1", "bpm": 72.0})
    bad = await client.post("/sensor/heartrate", json={"device_id": "watch-1", "bpm": 72.5})
    text = await client.post("/sensor/heartrate", json={"device_id": "watch-1", "bpm": "72"})
    assert [r.status_code for r in (good, bad, text)] == [201, 422, 422]
    assert producer.messages[0]["bpm"] == 72


async def test_an_idempotency_key_is_checked_beside_a_message_id(client: httpx.AsyncClient) -> None:
    body = GPS | {"message_id": "550e8400-e29b-41d4-a716-446655440000"}
    answer = await client.post("/sensor/gps", json=body, headers={"Idempotency-Key": "k" * 256})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    empty = await client.post("/sensor/batch", json=[], headers={"Idempotency-Key": "k" * 256})
    assert empty.status_code == 400


async def test_what_is_in_value_never_changes_whose_reading_it_is(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    item = {"device_id": "phone-001", "sensor_type": "gps"}
    item_value = {"device_id": "phone-002", "latitude": 1.5, "longitude": 2.5}
    assert (await client.post("/sensor/generic", json=item | {"value": item_value})).status_code == 201
    assert producer.messages[0]["device_id"] == "phone-001"


async def test_every_error_of_the_document_is_told_in_both_forms(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    shared = document["components"]["responses"]
    for response in shared.values():
        for media in ("application/json", "application/problem+json"):
            content = response["content"][media]
            schema = content["schema"] | {"components": document["components"]}
            Draft202012Validator(schema).validate(content["example"])
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "408", "431", "500", "503"} <= operation["responses"].keys()
