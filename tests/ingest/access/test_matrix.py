"""Every route of the app, whoever added it, times every kind of key."""

import json
from typing import Any

import httpx
import pytest

from tests.ingest.access.harness import (
    OTHER,
    OWN,
    Endpoint,
    Served,
    bearer,
    endpoints,
    every_kind,
    handshake,
    make,
    serving,
)

pytestmark = pytest.mark.integration

# Written down here again, so that a slip in the service's own table is seen.
OPEN = {
    *(
        "GET /",
        "GET /healthz",
        "GET /readyz",
        "GET /docs",
        "GET /docs/errors",
        "GET /redoc",
        "GET /openapi.json",
        "HEAD /openapi.json",
    ),
    "GET /static/docs/*",
}
OWN_CREDENTIAL = ("/api/webhook/",)
"""Beginnings of paths that hold a secret of their own."""
CLIENTS = ("/api/", "/pub", "/overland", "/osmand")
"""Beginnings of paths whose data goes to the key's own device, whatever the client calls itself."""
SENDING_READS = {"GET /osmand"}
EITHER_READS = {"GET /api/0/info"}
REFUSALS = {"UNAUTHENTICATED", "INSUFFICIENT_SCOPE", "DEVICE_NOT_ALLOWED", "INTERNAL_ERROR"}
ADMIN = {"POST /devices", "PATCH /devices/{device_id}"}
"""With a device's own key too."""
ADMIN_ALONE = {"DELETE /devices/{device_id}"}
KINDS = ("none", "expired", "revoked", "ingest", "read", "admin", "own", "own-read", "other")
ENDED = {"none": "missing", "expired": "expired", "revoked": "revoked"}


def wanted(endpoint: Endpoint, kind: str) -> str:
    """What the endpoint must answer to a key of this kind: ok, 401, scope, device; or own: ok, but for its device."""
    if endpoint.key in OPEN or endpoint.template.startswith(OWN_CREDENTIAL):
        return "ok"
    if kind in ENDED:
        return "401"
    if endpoint.key in ADMIN_ALONE:
        return "ok" if kind == "admin" else "scope"
    if endpoint.key in ADMIN:
        return {"admin": "ok", "own": "ok", "ingest": "scope", "other": "device"}.get(kind, "scope")
    reads = endpoint.method in ("GET", "HEAD") and endpoint.key not in SENDING_READS
    scopes = {"own": {"ingest"}, "own-read": {"read"}, "other": {"ingest", "read"}}.get(kind, {kind})
    needs = {"ingest", "read"} if endpoint.key in EITHER_READS else {"read"} if reads else {"ingest"}
    if kind == "admin":
        return "ok"
    if endpoint.key == "GET /devices/{device_id}":
        return {"ingest": "scope", "other": "device"}.get(kind, "ok")
    if not scopes & needs:
        return "scope"
    if endpoint.template == "/sensor/batch" and kind == "own":
        return "device"
    if kind == "other":
        return "own" if reads or endpoint.template.startswith(CLIENTS) else "device"
    return "ok"


def body_of(document: dict[str, Any], endpoint: Endpoint) -> Any:
    """The documented example of what the endpoint takes, as from the own device."""
    operation = document["paths"].get(endpoint.template, {}).get(endpoint.method.lower(), {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    example = content.get("example", next((e["value"] for e in content.get("examples", {}).values()), {}))
    if endpoint.key == "PATCH /devices/{device_id}":
        return {"name": "Phone"}
    if isinstance(example, list) and example and isinstance(example[0], dict) and "device_id" in example[0]:
        # One item of each device: whose key is of one of them may not send the other along.
        return [item | {"device_id": device} for item, device in zip(example, (OTHER, OWN), strict=False)]
    if isinstance(example, dict) and ("device_id" in example or endpoint.template == "/devices"):
        return example | {"device_id": OWN}
    return example


async def call(served: Served, endpoint: Endpoint, key: str | None, body: Any) -> httpx.Response:
    if endpoint.method == "WEBSOCKET":
        status, sent = await handshake(served.app, endpoint.path, bearer(key))
        content = next((m["body"] for m in sent if m["type"] == "websocket.http.response.body"), b"{}")
        headers = sent[0].get("headers", [])
        return httpx.Response(status, content=content, headers=headers)
    content = None if endpoint.method in ("GET", "HEAD") else json.dumps(body)
    headers = bearer(key) | {"Content-Type": "application/json"}
    return await served.http.request(endpoint.method, endpoint.path, content=content, headers=headers)


def complaint(endpoint: Endpoint, kind: str, answer: httpx.Response, stored: set[str]) -> str | None:
    """What is wrong with an answer, and with the devices of which something was stored; None when all is well."""
    want = wanted(endpoint, kind)
    said = answer.json() if answer.headers.get("content-type", "").endswith("json") and answer.content else {}
    code = said.get("code") if isinstance(said, dict) else None
    problem = None
    if want == "401":
        reason = said.get("details", {}).get("reason") if isinstance(said, dict) else None
        if (answer.status_code, code, reason) != (401, "UNAUTHENTICATED", ENDED[kind]):
            problem = f"not a 401 for a key that is {ENDED[kind]}"
        elif not answer.headers.get("www-authenticate", "").startswith('Bearer realm="loom"'):
            problem = "a 401 without its challenge"
    elif want == "scope" and (answer.status_code, code) != (403, "INSUFFICIENT_SCOPE"):
        problem = "not refused for its scope"
    elif want == "device" and (answer.status_code, code) != (403, "DEVICE_NOT_ALLOWED"):
        problem = "not refused for its device"
    elif want in ("ok", "own") and (code in REFUSALS or answer.status_code in (403, 500, 503)):
        problem = "refused"
    elif want == "own" and answer.status_code == 200 and OWN in answer.text:
        problem = f"told of {OWN}"
    if want in ("401", "scope", "device") and stored:
        problem = f"refused, and stored for {stored}"
    elif kind == "other" and OWN in stored:
        problem = f"stored for {OWN}"
    return problem and f"{endpoint.key} with {kind}: {problem}: {answer.status_code} {answer.text[:200]}"


async def test_every_route_times_every_key(database_url: str) -> None:
    kinds = await every_kind(database_url)
    assert set(kinds) == set(KINDS)
    async with serving(database_url, timestamp_tolerance_hours=0) as served:
        document = served.app.openapi()
        seed = await make(database_url, "admin")
        for device in (OWN, OTHER):
            await served.http.post("/devices", json={"device_id": device}, headers=bearer(seed))
        found = endpoints(served.app)
        # What removes comes last, so that there is something for the others.
        found.sort(key=lambda e: e.method == "DELETE")
        keys = {e.key for e in found}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                endpoint = Endpoint(method.upper(), path, path)
                asks = wanted(endpoint, "none") == "401"
                assert (bool(operation.get("security")), "401" in operation["responses"]) == (asks, asks), endpoint
        assert {"POST /sensor/gps", "WEBSOCKET /audio/stream/{device_id}", "GET /metrics"} | OPEN <= keys
        complaints = []
        for endpoint in found:
            body = body_of(document, endpoint)
            for kind in KINDS:
                served.producer.records.clear()
                answer = await call(served, endpoint, kinds[kind], body)
                stored = {record.key.decode() for record in served.producer.records}
                complaints.append(complaint(endpoint, kind, answer, stored))
        wrong = [c for c in complaints if c]
        assert not wrong, "\n".join(wrong)
        assert len(complaints) >= 30 * len(KINDS)


async def test_the_right_key_stores(database_url: str) -> None:
    """The matrix would hold for a service that stores nothing; each of Loom's own endpoints takes its example."""
    own = await make(database_url, "ingest", devices=[OWN, OTHER])
    async with serving(database_url, timestamp_tolerance_hours=0) as served:
        document = served.app.openapi()
        sending = [
            e
            for e in endpoints(served.app)
            if e.method == "POST" and not e.template.startswith((*CLIENTS, "/devices")) and e.template != "/"
        ]
        assert len(sending) > 20
        refused = {}
        for endpoint in sending:
            answer = await call(served, endpoint, own, body_of(document, endpoint))
            if answer.status_code != 201:
                refused[endpoint.key] = answer.text
        assert refused == {}
        assert {record.key.decode() for record in served.producer.records} == {OWN, OTHER}
