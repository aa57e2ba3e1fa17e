"""The document's own examples are taken as they are, with the service's defaults: /docs can be tried."""

import httpx

from loom_ingest.app import SENDING
from loom_ingest.direct import direct_routes


async def test_every_example_of_a_body_is_taken(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path in direct_routes(*SENDING):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        answer = await client.post(path, json=example)
        assert answer.status_code == 201, (path, answer.text)


async def test_times_of_long_ago_are_refused_with_the_remedy(client: httpx.AsyncClient) -> None:
    """The readme's examples are of 2024; only a service that is set to takes them."""
    body = {"device_id": "phone-001", "timestamp": "2024-01-01T12:00:00Z", "latitude": 37.7749, "longitude": -122.4194}
    answer = await client.post("/sensor/gps", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "TIMESTAMP_OUT_OF_RANGE")
    assert "leave it out, or widen LOOM_TIMESTAMP_TOLERANCE_HOURS" in answer.json()["message"]
