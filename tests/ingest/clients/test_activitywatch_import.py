"""Imports of every form, their limits, and what else can be told without a broker."""

import gzip
import json
import resource
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import zstandard

from loom_contracts.topics.activity import ACTIVITYWATCH_RAW
from loom_contracts.topics.device_system import UNRECOGNIZED_RAW
from loom_ingest.app import create_app
from loom_ingest.settings import Settings
from tests.ingest.access.harness import Served, make, serving
from tests.ingest.memory import MemoryProducer

pytestmark = pytest.mark.integration

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
LIMIT = 2 * 1024 * 1024


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[Served]:
    async with serving(database_url, require_api_keys=False, max_activitywatch_import_bytes=LIMIT) as served:
        yield served


def bucket(count: int, **changes: Any) -> dict[str, Any]:
    name = f"aw-watcher-window_{uuid.uuid4().hex[:8]}"
    events = [
        {"id": n, "timestamp": (START - timedelta(seconds=n)).isoformat(), "duration": 1.0, "data": {"app": "a"}}
        for n in range(count)
    ]
    described = {"id": name, "created": START.isoformat(), "type": "t", "client": "c", "hostname": "laptop"}
    return described | {"events": events} | changes


def export(*buckets: dict[str, Any]) -> bytes:
    return json.dumps({"buckets": {b["id"]: b for b in buckets}}).encode()


def events_of(served: Served, described: dict[str, Any]) -> list[dict[str, Any]]:
    messages = [json.loads(r.value) for r in served.producer.records if r.topic == ACTIVITYWATCH_RAW.name]
    return [m for m in messages if m["bucket_id"] == described["id"]]


async def send(served: Served, body: bytes, **headers: str) -> httpx.Response:
    names = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await served.http.post("/api/0/import", content=body, headers=names)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd", "form"])
async def test_an_import_in_every_form(served: Served, encoding: str) -> None:
    first, second = bucket(1_200), bucket(3, hostname="other", events=[])
    # Written with its members sorted: the events come before what the bucket is.
    body = json.dumps(json.loads(export(first, second)), sort_keys=True, indent=1).encode()
    if encoding == "form":
        files = {"buckets.json": ("export.json", body, "application/json")}
        answer = await served.http.post("/api/0/import", files=files)
    else:
        packed = {"identity": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[encoding]
        answer = await send(served, packed, Content_Encoding=encoding)
    assert (answer.status_code, answer.json()) == (200, None), answer.text
    stored = events_of(served, first)
    assert len(stored) == len({m["event_id"] for m in stored}) == 1_200
    assert {m["device_id"] for m in stored} == {"laptop"}
    listed = (await served.http.get("/api/0/buckets/")).json()
    assert {name: found["hostname"] for name, found in listed.items()} == {first["id"]: "laptop", second["id"]: "other"}
    assert listed[first["id"]]["created"] == START.isoformat()
    assert listed[first["id"]]["last_updated"] == (START + timedelta(seconds=1)).isoformat()


async def test_an_import_again_is_the_same_records(served: Served) -> None:
    described = bucket(20)
    for _ in range(2):
        assert (await send(served, export(described))).status_code == 200
    identities = [m["message_id"] for m in events_of(served, described)]
    assert len(identities) == 40
    assert len(set(identities)) == 20
    count = await served.http.get(f"/api/0/buckets/{described['id']}/events/count")
    assert count.json() == 20


async def test_a_bad_event_does_not_stop_the_others(served: Served) -> None:
    described = bucket(3)
    described["events"][1] = {"timestamp": "soon"}
    described["events"].append("no event")
    assert (await send(served, export(described, bucket(1, id="")))).status_code == 200
    assert len(events_of(served, {"id": "unknown"})) == 1
    assert len(events_of(served, described)) == 2
    kept = [json.loads(r.value) for r in served.producer.records if r.topic == UNRECOGNIZED_RAW.name]
    assert len(kept) == 2
    assert "soon" in kept[0]["body"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "MALFORMED_JSON"),
        (b"{}", {}, 400, "MALFORMED_JSON"),
        (b"[]", {}, 400, "MALFORMED_JSON"),
        (b'{"buckets": []}', {}, 400, "MALFORMED_JSON"),
        (b'{"buckets": {"a": {"events": [{}]}', {}, 400, "MALFORMED_JSON"),
        (b'{"buckets": {"a": {"type": tru}}}', {}, 400, "MALFORMED_JSON"),
        (b'{"buckets": {}} {}', {}, 400, "MALFORMED_JSON"),
        (b'{"buckets": {"a": {"events": {}}}}', {}, 400, "MALFORMED_JSON"),
        (b"x" * (LIMIT + 1), {}, 413, "PAYLOAD_TOO_LARGE"),
        (gzip.compress(b" " * (LIMIT + 1), mtime=0), {"Content-Encoding": "gzip"}, 413, "PAYLOAD_TOO_LARGE"),
        (zstandard.compress(b" " * (LIMIT + 1)), {"Content-Encoding": "zstd"}, 413, "PAYLOAD_TOO_LARGE"),
        (gzip.compress(b"{}" * 100, mtime=0)[:-9], {"Content-Encoding": "gzip"}, 400, "MALFORMED_ENCODING"),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, "MALFORMED_ENCODING"),
        (b"{}", {"Content-Encoding": "br"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "MALFORMED_FORM"),
        (b"--x--", {"Content-Type": "multipart/form-data"}, 400, "MALFORMED_FORM"),
    ],
)
async def test_what_is_no_import_is_refused_whole(body: bytes, headers: dict[str, str], status: int, code: str) -> None:
    producer = MemoryProducer()
    transport = httpx.ASGITransport(create_app(Settings(max_activitywatch_import_bytes=LIMIT), producer))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        named = {"Content-Type": "application/json"} | headers
        answer = await http.post("/api/0/import", content=body, headers=named)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert producer.records == []


async def test_memory_does_not_grow_with_an_import(database_url: str) -> None:
    """40 MB of events: the process grows by less, what is remembered of them included."""
    described = bucket(1)
    event = described["events"][0] | {"data": {"title": "x" * 8_000}}
    text = json.dumps(described | {"events": ["HERE"]})
    head, _, tail = text.partition('"HERE"')

    async def body() -> AsyncIterator[bytes]:
        yield f'{{"buckets": {{"b": {head}'.encode()
        for n in range(5_000):
            moment = (START + timedelta(seconds=n)).isoformat()
            yield (b"," if n else b"") + json.dumps(event | {"timestamp": moment}).encode()
        yield f"{tail}}}}}".encode()

    async with serving(database_url, require_api_keys=False) as served:
        count = 0

        async def counted(_: object) -> None:
            nonlocal count
            count += 1

        assert (await send(served, export(bucket(2_000)))).status_code == 200
        served.producer.send = counted  # type: ignore[assignment]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await served.http.post("/api/0/import", content=body(), headers={"Content-Type": "application/json"})
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert answer.status_code == 200
    assert count == 5_000
    assert grown_kib < 32 * 1024


async def test_each_device_has_buckets_of_its_own(database_url: str) -> None:
    keys = {name: await make(database_url, "ingest", "read", devices=[name]) for name in ("laptop-a", "laptop-b")}
    person = await make(database_url, "ingest", "read")
    async with serving(database_url) as served:

        async def call(key: str, method: str, path: str, **body: Any) -> httpx.Response:
            bearer = {"Authorization": f"Bearer {key}"}
            return await served.http.request(method, f"/api/0/buckets/{path}", headers=bearer, **body)

        said = {"client": "aw-client-web", "type": "web.tab.current", "hostname": "unknown"}
        for name, key in keys.items():
            assert (await call(key, "POST", "aw-watcher-web-firefox", json=said)).status_code == 200
            assert (await call(key, "POST", "aw-watcher-web-firefox", json=said)).status_code == 304
            beat = {"timestamp": START.isoformat(), "data": {"url": name}}
            assert (
                await call(key, "POST", "aw-watcher-web-firefox/heartbeat?pulsetime=9", json=beat)
            ).status_code == 200
        for name, key in keys.items():
            (event,) = (await call(key, "GET", "aw-watcher-web-firefox/events")).json()
            assert event["data"] == {"url": name}
        only = {"client": "c", "type": "t", "hostname": "laptop-b"}
        assert (await call(person, "POST", "only-b", json=only)).status_code == 200
        assert (await call(keys["laptop-a"], "GET", "only-b")).status_code == 404
        assert (await call(keys["laptop-a"], "DELETE", "only-b?force=1")).status_code == 404
        assert (await call(keys["laptop-b"], "GET", "only-b")).status_code == 200
        assert list((await call(keys["laptop-a"], "GET", "")).json()) == ["aw-watcher-web-firefox"]
    devices = {json.loads(r.value)["device_id"] for r in served.producer.records}
    assert devices == set(keys)


async def test_workers_extend_each_others_events(database_url: str) -> None:
    """Two processes of one service, each with its own memory: a client's next heartbeat may come to either."""
    settings = {"require_api_keys": False, "workers": 2}
    async with serving(database_url, **settings) as one, serving(database_url, **settings) as two:
        said = {"client": "c", "type": "t", "hostname": "laptop"}
        assert (await one.http.post("/api/0/buckets/b", json=said)).status_code == 200
        for second in range(6):
            beat = {"timestamp": (START + timedelta(seconds=second)).isoformat(), "data": {"app": "a"}}
            path = "/api/0/buckets/b/heartbeat?pulsetime=2"
            answer = await (one, two)[second % 2].http.post(path, json=beat)
            assert answer.json()["duration"] == second
        assert (await two.http.delete("/api/0/buckets/b?force=1")).status_code == 200
        assert (await one.http.get("/api/0/buckets/b/events")).status_code == 404
    states = [json.loads(r.value) for served in (one, two) for r in served.producer.records]
    assert len({s["event_id"] for s in states}) == 1
    assert len({s["message_id"] for s in states}) == 6


async def test_what_postgresql_cannot_hold_stops_nothing(served: Served) -> None:
    """NaN and NUL, which Python's own JSON writes and reads."""
    said = {"client": "c\x00", "type": "t", "hostname": "laptop"}
    assert (await served.http.post("/api/0/buckets/b", json=said)).status_code == 200
    refused = await served.http.put("/api/0/buckets/b", json={"data": {"a": "\x00"}})
    assert refused.status_code == 422
    beats = [
        b'{"timestamp": "2024-03-01T12:00:00Z", "data": {"n": NaN}}',
        b'{"timestamp": "2024-03-01T12:00:00Z", "data": {"n": "\\u0000"}}',
    ]
    for beat in beats:
        headers = {"Content-Type": "application/json"}
        answer = await served.http.post("/api/0/buckets/b/heartbeat?pulsetime=5", content=beat, headers=headers)
        assert answer.status_code == 200, answer.text
    assert (await served.http.put("/api/0/buckets/b", json={"type": "u"})).status_code == 200
    listed = (await served.http.get("/api/0/buckets/")).json()
    assert (listed["b"]["type"], listed["b"]["client"]) == ("u", "c")
    assert not served.app.state.activitywatch.away
    assert (await served.http.get("/api/0/buckets/a%00b/events")).status_code == 404


async def test_a_link_holds_for_buckets_that_are_there(served: Served) -> None:
    said = {"client": "c", "type": "t", "hostname": "vm"}
    assert (await served.http.post("/api/0/buckets/b", json=said)).status_code == 200
    for second, device_id in enumerate(["vm-", "my-laptop", "my-laptop"]):
        if second == 1:
            served.app.state.services.identities._links["activitywatch", "vm"] = "my-laptop"
        beat = {"timestamp": (START + timedelta(seconds=second)).isoformat(), "data": {"app": "a"}}
        assert (await served.http.post("/api/0/buckets/b/heartbeat?pulsetime=5", json=beat)).status_code == 200
        assert json.loads(served.producer.records[-1].value)["device_id"].startswith(device_id)
    (event,) = (await served.http.get("/api/0/buckets/b/events")).json()
    assert event["duration"] == 1
