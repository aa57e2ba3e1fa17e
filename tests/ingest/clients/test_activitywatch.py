"""ActivityWatch's own client library against the service, the suite's broker and database."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from aw_client import ActivityWatchClient
from aw_core.models import Event
from aw_transform.heartbeats import heartbeat_reduce

from loom_contracts.topics.activity import ACTIVITYWATCH_RAW
from loom_contracts.topics.device_system import UNRECOGNIZED_RAW
from loom_platform.topics import create_topics
from tests.conftest import fresh_database
from tests.ingest.access.harness import make
from tests.ingest.clients.watchers import (
    CLIENTS,
    HOSTNAME,
    START,
    Place,
    at,
    client_of,
    new_bucket,
    number,
    plain,
    queued,
    status_of,
)
from tests.ingest.server import LiveServer, live_server, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def place(bootstrap_servers: str, server_url: str, template_database: str) -> Iterator[Place]:
    prefix = f"w{uuid.uuid4().hex[:10]}"
    create_topics(bootstrap_servers, prefix=prefix, topics=[ACTIVITYWATCH_RAW, UNRECOGNIZED_RAW], partitions=1)
    with fresh_database(server_url, f"loom_test_{uuid.uuid4().hex[:12]}", template_database) as url:
        yield Place(bootstrap_servers, prefix, url)


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[LiveServer]:
    with place.serve() as server:
        yield server


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client keeps its configuration, its lock and its queue in the person's directories."""
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    while CLIENTS:
        client = CLIENTS.pop()
        client.instance.fp.close()
        client.request_queue._persistqueue.close()


@pytest.fixture
def watcher(server: LiveServer) -> ActivityWatchClient:
    return client_of(server.port)


def test_buckets_are_made_listed_changed_and_deleted(server: LiveServer, watcher: ActivityWatchClient) -> None:
    bucket = new_bucket()
    assert httpx.get(f"{server.url}/api/0/info").json()["hostname"] == HOSTNAME
    watcher.create_bucket(bucket, "currentwindow")
    watcher.create_bucket(bucket, "currentwindow")
    url = f"{server.url}/api/0/buckets/{bucket}"
    assert httpx.post(url, json={"client": "x", "type": "y", "hostname": "z"}).status_code == 304
    described = httpx.get(url).json()
    assert described == watcher.get_buckets()[bucket]
    assert {k: described[k] for k in ("id", "type", "client", "hostname", "data")} == {
        "id": bucket, "type": "currentwindow", "client": "aw-watcher-test", "hostname": HOSTNAME, "data": {},
    }  # fmt: skip
    assert httpx.put(url, json={"type": "other", "data": {"a": 1}}).status_code == 200
    assert status_of(lambda: watcher.delete_bucket(bucket)) == 401
    watcher.delete_bucket(bucket, force=True)
    assert status_of(lambda: watcher.delete_bucket(bucket, force=True)) == 404
    assert bucket not in watcher.get_buckets()
    assert status_of(lambda: watcher.get_events(bucket)) == 404
    watcher.heartbeat(bucket, at(0), pulsetime=2.0)
    assert plain(watcher.get_events(bucket)) == plain([at(0)]), "a watcher that goes on is followed"
    assert httpx.get(f"{server.url}/api/0/buckets", follow_redirects=True).json() == watcher.get_buckets()


def test_events_are_inserted_read_replaced_and_deleted(
    server: LiveServer, place: Place, watcher: ActivityWatchClient
) -> None:
    bucket = new_bucket()
    watcher.create_bucket(bucket, "currentwindow")
    events = [at(n * 10, {"app": "a", "n": n}, duration=10) for n in range(10)]
    watcher.insert_events(bucket, events)
    watcher.insert_event(bucket, events[0])
    watcher.insert_event(bucket, events[0])
    for _ in range(2):
        # At once, and when it is in the tables.
        found = watcher.get_events(bucket)
        assert plain(found) == plain(list(reversed(events)))
        assert watcher.get_eventcount(bucket) == 10
        assert plain(watcher.get_events(bucket, limit=3)) == plain(events[:6:-1])
        assert watcher.get_events(bucket, limit=0) == []
        start, end = START + timedelta(seconds=25), START + timedelta(seconds=45)
        within = watcher.get_events(bucket, start=start, end=end)
        assert [e.data["n"] for e in within] == [4, 3, 2]
        assert within[-1].timestamp == start
        assert within[-1].duration == timedelta(seconds=5)
        assert watcher.get_eventcount(bucket, start=start, end=end) == 3
        place.land()
    third, second_last = found[7], number(found[1])
    assert watcher.get_event(bucket, number(third)) == third
    longer = third.to_json_dict() | {"duration": 5.0, "data": {"app": "changed"}}
    moved = found[0].to_json_dict() | {"timestamp": at(200).timestamp.isoformat()}
    assert httpx.post(f"{server.url}/api/0/buckets/{bucket}/events", json=[longer, moved]).status_code == 200
    watcher.delete_event(bucket, second_last)
    watcher.delete_event(bucket, second_last)
    for _ in range(2):
        now = watcher.get_events(bucket)
        assert len(now) == watcher.get_eventcount(bucket) == 9
        assert now[0] == Event(**moved)
        assert now[0].id == found[0].id
        assert watcher.get_event(bucket, number(third)) == Event(**longer)
        assert status_of(lambda: watcher.get_event(bucket, second_last)) == 404
        place.land()
    watcher.insert_event(bucket, events[8])
    place.land()
    assert watcher.get_eventcount(bucket) == 10
    shown = place.rows("SELECT count(*) AS n FROM digital_activitywatch_events WHERE bucket_id = %s", bucket)
    assert shown == [{"n": 10}]


def test_a_watcher_is_followed_as_by_activitywatch(place: Place, server: LiveServer) -> None:
    """The calls of aw-watcher-afk and aw-watcher-window, through the client's queue."""
    client = client_of(server.port, "aw-watcher-window")
    bucket, sent = new_bucket(), []
    client.wait_for_start()
    client.create_bucket(bucket, "currentwindow", queued=True)
    apps = ["a"] * 30 + ["b"] * 3 + ["a"] * 40 + ["c"]
    with client:
        for second, app in enumerate(apps):
            event = at(second + (100 if second > 50 else 0), {"app": app, "title": "t"})
            sent.append(Event(**event.to_json_dict()))
            client.heartbeat(bucket, event, pulsetime=2.0, queued=True)
        # What the client holds back it would send with the next window.
        client.heartbeat(bucket, at(900, {"app": "last"}), pulsetime=2.0, queued=True)
        wait_for(lambda: queued(client) == 0 and client.request_queue._current is None, "the queue", 20)
        expected = heartbeat_reduce(sent, 2.0)
        assert plain(client.get_events(bucket)) == plain(expected[::-1])
    place.land()
    assert plain(client.get_events(bucket)) == plain(expected[::-1])
    rows = place.rows(
        "SELECT device_id, bucket_type, client, duration_seconds, data FROM digital_activitywatch_events "
        "WHERE bucket_id = %s ORDER BY timestamp",
        bucket,
    )
    assert [(r["duration_seconds"], r["data"]) for r in rows] == [
        (e.duration.total_seconds(), e.data) for e in expected
    ]
    assert {(r["device_id"], r["bucket_type"], r["client"]) for r in rows} == {
        (rows[0]["device_id"], "currentwindow", "aw-watcher-window")
    }


def test_afk_and_back(server: LiveServer) -> None:
    """The pings of aw-watcher-afk: one that ends a state, one that begins the next a millisecond later."""
    client = client_of(server.port, "aw-watcher-afk")
    bucket = new_bucket("aw-watcher-afk")
    client.create_bucket(bucket, "afkstatus")
    pings = [(0, "not-afk", 0.0), (5, "not-afk", 0), (5.001, "afk", 180), (5.001, "afk", 600.5), (700, "afk", 0),
             (700.001, "not-afk", 0), (705, "not-afk", 0)]  # fmt: skip
    for second, status, duration in pings:
        client.heartbeat(bucket, at(second, {"status": status}, duration), pulsetime=185.0)
    expected = heartbeat_reduce([at(s, {"status": status}, d) for s, status, d in pings], 185.0)
    assert plain(client.get_events(bucket)) == plain(expected[::-1])
    assert len(expected) == 3


def test_an_export_is_imported(server: LiveServer, place: Place, watcher: ActivityWatchClient) -> None:
    bucket, copy = new_bucket(), new_bucket()
    watcher.create_bucket(bucket, "currentwindow")
    for second in range(5):
        watcher.heartbeat(bucket, at(second), pulsetime=2.0)
    watcher.insert_events(bucket, [at(100), at(100), at(200, {"title": 'a "quoted" \\ {[\n'}, 3)])
    place.land()
    exported = watcher.export_bucket(bucket)
    assert list(exported) == ["buckets"]
    described = exported["buckets"][bucket]
    assert len(described["events"]) == 4
    assert all(list(event) == ["timestamp", "duration", "data"] for event in described["events"])
    assert watcher.export_all()["buckets"][bucket] == described
    watcher.import_bucket(described)
    watcher.import_bucket(described | {"id": copy})
    for _ in range(2):
        assert watcher.get_eventcount(bucket) == 4
        assert watcher.export_bucket(copy)["buckets"][copy]["events"] == described["events"]
        place.land()
    # A deleted bucket that is imported is there again, and only with what was imported.
    watcher.insert_event(copy, at(500))
    watcher.delete_bucket(copy, force=True)
    place.land()
    files = {"buckets.json": ("export.json", json.dumps(exported | {"buckets": {copy: described | {"id": copy}}}))}
    assert httpx.post(f"{server.url}/api/0/import", files=files).status_code == 200
    for _ in range(2):
        assert watcher.export_bucket(copy)["buckets"][copy]["events"] == described["events"]
        place.land()
    kept = place.rows("SELECT count(*) AS n FROM digital_activitywatch_raw WHERE bucket_id = %s", copy)
    assert kept[0]["n"] > 8, "nothing is erased"


def test_a_restart_goes_on_where_it_was_and_the_queue_of_a_watcher_waits_for_it(place: Place) -> None:
    bucket, offline = new_bucket(), new_bucket()
    with place.serve() as first:
        client = client_of(first.port, "aw-watcher-window")
        client.create_bucket(bucket, "currentwindow")
        for second in range(3):
            client.heartbeat(bucket, at(second), pulsetime=2.0)
    client.create_bucket(offline, "currentwindow", queued=True)
    with client:
        for second in range(20):
            client.heartbeat(offline, at(second, {"n": second}), pulsetime=2.0, queued=True)
        assert queued(client) == 19
        with place.serve(port=first.port):
            wait_for(lambda: queued(client) == 0 and client.request_queue._current is None, "the queue", 20)
            assert [e.data["n"] for e in client.get_events(offline)] == list(range(18, -1, -1))
            client.heartbeat(bucket, at(3), pulsetime=2.0)
            assert plain(client.get_events(bucket)) == plain([at(0, duration=3)])


def test_nothing_is_lost_with_broker_and_database_away(place: Place, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    bucket, unknown = new_bucket(), new_bucket("aw-watcher-afk")
    with live_server("127.0.0.1:1", kafka_topic_prefix=place.prefix, spool_dir=spool) as alone:
        client = client_of(alone.port)
        client.create_bucket(bucket, "currentwindow")
        for second in range(4):
            client.heartbeat(bucket, at(second), pulsetime=2.0)
            client.heartbeat(unknown, at(second), pulsetime=2.0)
        client.insert_events(bucket, [at(100)])
        assert status_of(lambda: client.get_events(bucket)) == 503
        assert status_of(client.get_buckets) == 503
    with place.serve(spool_dir=spool) as server:
        wait_for(lambda: httpx.get(f"{server.url}/readyz").json()["state"] == "direct", "the spool to drain", 20)
        place.land()
        client = client_of(server.port)
        assert plain(client.get_events(bucket)) == plain([at(100), at(0, duration=3)])
        assert plain(client.get_events(unknown)) == plain([at(0, duration=3)])
        described = httpx.get(f"{server.url}/api/0/buckets/{unknown}").json()
        assert (described["type"], described["client"]) == ("afkstatus", "aw-watcher-afk")
        client.delete_bucket(unknown, force=True)
        shown = place.rows("SELECT count(*) AS n FROM digital_activitywatch_events WHERE bucket_id = %s", unknown)
        assert shown == [{"n": 0}]


def test_what_is_no_event_is_kept(place: Place, server: LiveServer, watcher: ActivityWatchClient) -> None:
    bucket = new_bucket()
    watcher.create_bucket(bucket, "currentwindow")
    url = f"{server.url}/api/0/buckets/{bucket}"
    wrong = [{"timestamp": "soon"}, {"timestamp": START.isoformat(), "data": {"title": "a\x00b"}}]
    for item in wrong:
        assert httpx.post(f"{url}/heartbeat?pulsetime=5", json=item).status_code == 200
    assert httpx.post(f"{url}/events", json=[at(1).to_json_dict(), 5, *wrong]).status_code == 200
    assert httpx.post(f"{url}/heartbeat", json=wrong[0]).status_code == 400
    assert httpx.post(f"{url}/heartbeat?pulsetime=x", json=wrong[0]).status_code == 400
    assert watcher.get_eventcount(bucket) == 1
    place.land()
    kept = place.rows("SELECT body FROM device_unrecognized_raw WHERE body LIKE %s", f"%{bucket}%")
    assert {json.dumps(json.loads(row["body"])["event"]) for row in kept} >= {json.dumps(i) for i in (5, *wrong[:1])}
    assert sum("\\u0000" in row["body"] or "title" in row["body"] for row in kept) >= 1


def test_what_loom_does_not_do_is_said(server: LiveServer, watcher: ActivityWatchClient) -> None:
    period = [(START, START + timedelta(days=1))]
    assert status_of(lambda: watcher.query("RETURN = 1;", period)) == 404
    assert watcher.get_setting() == {}
    assert watcher.get_setting("classes") is None
    assert status_of(lambda: watcher.set_setting("classes", "x")) == 404
    refused = httpx.post(f"{server.url}/api/0/query/", json={"query": ["RETURN = 1;"], "timeperiods": []})
    assert "SQL" in refused.json()["message"]


def test_a_browser_may_ask_from_its_extension(server: LiveServer) -> None:
    bucket, origin = new_bucket("aw-watcher-web-firefox"), f"moz-extension://{uuid.uuid4()}"
    url = f"{server.url}/api/0/buckets/{bucket}"
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = httpx.options(f"{url}/heartbeat", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] in ("*", origin)
    made = httpx.post(
        url,
        json={"client": "aw-client-web", "type": "web.tab.current", "hostname": "!local"},
        headers={"Origin": origin},
    )
    assert made.status_code == 200
    assert made.headers["access-control-allow-origin"] in ("*", origin)
    assert httpx.get(url).json()["hostname"] == HOSTNAME
    beat = {
        "timestamp": "2026-01-15T08:30:00.123Z",
        "duration": 0,
        "data": {"url": "https://example.org/", "title": "x"},
    }
    answer = httpx.post(f"{url}/heartbeat?pulsetime=80", json=beat, headers={"Origin": origin})
    assert answer.json()["data"] == beat["data"]


def test_a_watcher_sends_its_key(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the name of the host as the client's own configuration has it, or in `~/.netrc`; only for its device."""
    key = asyncio.run(make(place.database_url, "ingest", "read", devices=["laptop"]))
    reader = asyncio.run(make(place.database_url, "read"))
    bucket = new_bucket()
    with place.serve(require_api_keys=True) as server:
        stranger = client_of(server.port)
        assert status_of(lambda: stranger.create_bucket(bucket, "currentwindow")) == 401
        config = tmp_path / "config" / "activitywatch" / "aw-client" / "aw-client.toml"
        config.write_text(f'[server]\nhostname = "aw:{key}@127.0.0.1"\nport = "{server.port}"\n')
        configured = ActivityWatchClient("aw-watcher-window")
        CLIENTS.append(configured)
        configured.create_bucket(bucket, "currentwindow")
        configured.heartbeat(bucket, at(0), pulsetime=2.0)
        netrc = tmp_path / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login aw password {key}\n")
        netrc.chmod(0o600)
        stranger.heartbeat(bucket, at(1), pulsetime=2.0)
        assert plain(stranger.get_events(bucket)) == plain([at(0, duration=1)])
        assert list(stranger.get_buckets()) == [bucket]
        url = f"{server.url}/api/0/buckets/"
        bearer = {"Authorization": f"Bearer {reader}"}
        assert bucket in httpx.get(url, headers=bearer).json()
        beat = at(2).to_json_dict()
        refused = httpx.post(f"{url}{bucket}/heartbeat?pulsetime=2", headers=bearer, json=beat)
        assert (refused.status_code, refused.json()["code"]) == (403, "INSUFFICIENT_SCOPE")
    place.land()
    rows = place.rows("SELECT device_id FROM digital_activitywatch_events WHERE bucket_id = %s", bucket)
    assert rows == [{"device_id": "laptop"}]
