"""Overland's batches, as its README and its GLManager.m have them; odd ones included."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_ingest.app import create_app
from loom_ingest.errors import BrokerUnavailableError
from loom_ingest.settings import Settings
from tests.ingest.conftest import Service
from tests.ingest.memory import MemoryProducer

GPS = "device.sensor.gps.raw"
POWER = "device.state.power.raw"
WIFI = "device.network.wifi.raw"
MOTION = "device.motion.activity.raw"
REPORT = "device.location.report.raw"
VISIT = "device.location.visit.raw"
TRIP = "device.location.trip.raw"
KEPT = "device.unrecognized.raw"


def point(device_id: str, timestamp: str = "2015-10-01T08:00:00-0700", **changes: Any) -> dict[str, Any]:
    """A position with the README's values."""
    properties: dict[str, Any] = {
        "timestamp": timestamp,
        "altitude": 12,
        "speed": 4,
        "course": 90,
        "horizontal_accuracy": 30,
        "vertical_accuracy": 5,
        "speed_accuracy": 0.5,
        "course_accuracy": 12.5,
        "motion": ["driving", "stationary"],
        "battery_state": "charging",
        "battery_level": 0.8,
        "device_id": device_id,
        "wifi": "home",
    }
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [-122.030581, 37.331800]},
        "properties": properties | changes,
    }


def sent(service: Service, topic: str, device_id: str) -> list[dict[str, Any]]:
    """The messages of a device on a topic, by their time."""
    messages = [json.loads(record.value) for record in service.records(topic, device_id)]
    return sorted(messages, key=lambda message: message["timestamp"])


async def post(service: Service, batch: Any, query: str = "", **headers: str) -> None:
    response = await service.post(f"/overland{query}", batch, **headers)
    assert (response.status_code, response.content) == (200, b'{"result":"ok"}'), response.text
    assert response.headers["content-type"] == "application/json"


@pytest.fixture
def phone(client: httpx.AsyncClient, producer: MemoryProducer) -> Service:
    """The service in memory: a topic of the broker takes a second to read."""
    return Service(client, producer, "", "")


async def test_a_position_goes_to_the_topics_of_its_parts(phone: Service) -> None:
    await post(phone, {"locations": [point("over-1")]})
    (fix,) = sent(phone, GPS, "over-1")
    assert fix["timestamp"] == "2015-10-01T15:00:00Z"
    assert (fix["latitude"], fix["longitude"], fix["altitude"]) == (37.3318, -122.030581, 12.0)
    assert (fix["accuracy"], fix["heading"], fix["speed"]) == (30.0, 90.0, 4.0)
    (power,) = sent(phone, POWER, "over-1")
    assert (power["battery_level"], power["is_charging"], power["power_source"]) == (80.0, True, "charging")
    (wifi,) = sent(phone, WIFI, "over-1")
    assert (wifi["connected"], wifi["ssid"]) == (True, "home")
    (motion,) = sent(phone, MOTION, "over-1")
    assert motion["activities"] == ["driving", "stationary"]
    (report,) = sent(phone, REPORT, "over-1")
    assert (report["vertical_accuracy"], report["speed_accuracy"], report["heading_accuracy"]) == (5.0, 0.5, 12.5)
    assert sent(phone, KEPT, "over-1") == []


async def test_what_is_below_zero_is_not_valid(phone: Service) -> None:
    changes: dict[str, Any] = {
        "speed": -1, "course": -1, "horizontal_accuracy": -1, "vertical_accuracy": -1, "speed_accuracy": -1,
        "course_accuracy": -1, "battery_level": -1, "battery_state": "unknown", "wifi": "", "motion": [],
    }  # fmt: skip
    await post(phone, {"locations": [point("over-2", altitude=0, **changes)]})
    (fix,) = sent(phone, GPS, "over-2")
    assert {fix[name] for name in ("altitude", "accuracy", "heading", "speed")} == {None}
    assert fix["latitude"] == 37.3318
    assert sent(phone, POWER, "over-2") == []
    assert sent(phone, MOTION, "over-2") == []
    assert [message["connected"] for message in sent(phone, WIFI, "over-2")] == [False]
    assert sent(phone, KEPT, "over-2") == []


async def test_settings_of_the_tracking_and_what_is_out_of_range_are_in_the_report(phone: Service) -> None:
    stats: dict[str, Any] = {
        "pauses": False, "activity": "other_navigation", "desired_accuracy": 100, "deferred": 1000,
        "significant_change": "disabled", "locations_in_payload": 1, "trip_id": "2015-10-01T14:00:00Z",
    }  # fmt: skip
    await post(phone, {"locations": [point("over-3", **stats, horizontal_accuracy=65_000, future={"a": [1]})]})
    assert sent(phone, GPS, "over-3")[0]["accuracy"] is None
    details = sent(phone, REPORT, "over-3")[0]["details"]
    assert details == stats | {"horizontal_accuracy": 65_000, "future": {"a": [1]}}


async def test_states_that_do_not_change_are_told_once_a_minute(phone: Service) -> None:
    points = [point("over-4", f"2026-01-15T08:{i // 60:02}:{i % 60:02}Z") for i in range(180)]
    for late in points[90:]:
        late["properties"]["wifi"] = "office"
    await post(phone, {"locations": points})
    assert len(sent(phone, GPS, "over-4")) == 180
    assert [m["timestamp"][14:19] for m in sent(phone, POWER, "over-4")] == ["00:00", "01:00", "02:00"]
    assert [m["ssid"] for m in sent(phone, WIFI, "over-4")] == ["home", "home", "office", "office"]


async def test_visits(phone: Service) -> None:
    visit = point("over-5", "2026-01-15T10:00:00Z", action="visit", horizontal_accuracy=35)
    here = visit["properties"] | {"arrival_date": "2026-01-15T08:00:00Z", "departure_date": "4001-01-01T00:00:00Z"}
    gone = visit["properties"] | {"arrival_date": None, "departure_date": "2026-01-15T11:00:00Z", "type": "visit"}
    gone |= {"timestamp": "2026-01-15T11:00:00Z", "arrival_date": "0001-01-01T00:00:00Z"}
    await post(phone, {"locations": [visit | {"properties": here}, visit | {"properties": gone}]})
    first, second = sent(phone, VISIT, "over-5")
    assert (first["arrived_at"], first["departed_at"]) == ("2026-01-15T08:00:00Z", None)
    assert (second["arrived_at"], second["departed_at"]) == (None, "2026-01-15T11:00:00Z")
    assert (first["accuracy"], first["latitude"]) == (35.0, 37.3318)
    assert sent(phone, GPS, "over-5") == []
    assert len(sent(phone, POWER, "over-5")) == 2


async def test_trips_that_go_on_and_that_ended(phone: Service) -> None:
    start, end = point("over-6", "2026-01-15T08:00:00Z"), point("over-6", "2026-01-15T08:20:00Z")
    finished = point(
        "over-6", "2026-01-15T08:21:00Z", type="trip", mode="bicycle", start="2026-01-15T08:00:00Z",
        end="2026-01-15T08:21:00Z", start_location=start, end_location=None, duration=1260.5, distance=5210.25,
        stopped_automatically=False, steps=12,
    )  # fmt: skip
    active = {
        "mode": "walk", "start": "2026-01-15T09:00:00Z", "distance": 12.5, "start_location": None,
        "current_location": end,
    }  # fmt: skip
    await post(phone, {"locations": [finished], "trip": active})
    on, off = sent(phone, TRIP, "over-6")
    assert (on["state"], on["mode"], on["distance_m"], on["timestamp"]) == (
        "active",
        "walk",
        12.5,
        "2026-01-15T08:20:00Z",
    )
    assert (on["end_latitude"], on["start_latitude"], on["ended_at"]) == (37.3318, None, None)
    assert (off["state"], off["steps"], off["duration_seconds"]) == ("finished", 12, 1260.5)
    assert (off["ended_at"], off["stopped_automatically"]) == ("2026-01-15T08:21:00Z", False)
    assert off["details"]["start_location"] == start
    assert (off["end_latitude"], off["end_longitude"]) == (37.3318, -122.030581)


async def test_the_current_position_and_events(phone: Service) -> None:
    event = {k: point("over-7")["properties"][k] for k in ("battery_state", "battery_level", "wifi", "device_id")}
    event |= {"timestamp": "2026-01-15T08:30:00Z", "action": "paused_location_updates"}
    feature = {"type": "Feature", "geometry": point("x")["geometry"], "properties": event}
    await post(phone, {"locations": [feature], "current": point("over-7", "2026-01-15T09:00:00Z")})
    assert [m["timestamp"] for m in sent(phone, GPS, "over-7")] == ["2026-01-15T09:00:00Z"]
    report = sent(phone, REPORT, "over-7")[0]
    assert (report["event"], report["latitude"]) == ("paused_location_updates", 37.3318)


async def test_who_it_is_from(phone: Service) -> None:
    by_address, by_unique_id = point(""), point("", unique_id="5D4A8C1E-91A4-4D6C-8F0E-1B2C3D4E5F60")
    await post(phone, {"locations": [by_address]}, "?device_id=over-8&token=anything")
    assert len(sent(phone, GPS, "over-8")) == 1
    await post(phone, {"locations": [by_unique_id]})
    assert len(sent(phone, GPS, "5D4A8C1E-91A4-4D6C-8F0E-1B2C3D4E5F60")) == 1
    await post(phone, {"locations": [point("over-9a"), point("over-9b")]})
    assert (len(sent(phone, GPS, "over-9a")), len(sent(phone, GPS, "over-9b"))) == (1, 1)


async def test_a_batch_that_comes_again_has_the_same_identities(phone: Service) -> None:
    batch = {"locations": [point("over-10", f"2026-01-15T08:00:{i:02}Z") for i in range(5)]}
    await post(phone, batch)
    await post(phone, {"locations": [*batch["locations"], point("over-10", "2026-01-15T08:00:05Z")]})
    for topic, times in ((GPS, 6), (POWER, 1)):
        identities = [record["message_id"] for record in sent(phone, topic, "over-10")]
        assert len(set(identities)) == times


async def test_thousands_of_points(phone: Service) -> None:
    points = [point("over-11", f"2026-01-15T{8 + i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}Z") for i in range(3_000)]
    assert len(json.dumps({"locations": points})) > 1024 * 1024
    await post(phone, {"locations": points})
    assert len({m["message_id"] for m in sent(phone, GPS, "over-11")}) == 3_000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{not json", "not JSON"),
        (b"[1, 2]", "no part of a batch"),
        (b'{"_type": "location", "lat": 1.5, "lon": 2.5}', "no part of a batch"),
        (b'{"locations": {"a": 1}}', "no part of a batch"),
        (b'{"locations": [17]}', "without a time"),
        (b'{"locations": [{"properties": {"timestamp": "2026-01-15T08:00:00Z"}}]}', "without coordinates"),
        (b'{"locations": [{"properties": {"timestamp": "late"}, "geometry": null}]}', "without a time"),
    ],
)
async def test_what_cannot_be_read_is_kept(body: bytes, says: str) -> None:
    producer = MemoryProducer()
    transport = httpx.ASGITransport(create_app(Settings(), producer))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
        response = await http.post("/overland?device_id=over-12", content=body)
    assert response.json() == {"result": "ok"}
    (kept,) = producer.messages
    assert says in kept["reason"]
    assert kept["client"] == "overland"


async def test_nothing_is_kept_of_nothing(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    for body in (b"", b"{}", b'{"locations": []}'):
        assert (await client.post("/overland", content=body)).content == b'{"result":"ok"}'
    assert producer.records == []


async def test_a_batch_that_is_stored_nowhere_is_not_ok(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    producer.failing, producer.failure = {MOTION}, BrokerUnavailableError("away")
    response = await client.post("/overland", json={"locations": [point("over-13")]})
    assert response.status_code == 503
    assert response.headers["retry-after"]
    producer.failure = None
    assert (await client.post("/overland", json={"locations": [point("over-13")]})).status_code == 200


@pytest.mark.integration
async def test_a_batch_is_ok_as_soon_as_the_spool_has_it(tmp_path: Path, database_url: str) -> None:
    """And the same one once the spool is full is not: nothing of it is said to be stored."""
    batch = {"locations": [point("over-16", f"2026-01-15T08:{i // 60:02}:{i % 60:02}Z") for i in range(1_000)]}
    limits: dict[str, Any] = {"spool_dir": tmp_path, "spool_max_bytes": 1_500_000}
    app = create_app(Settings(kafka_bootstrap_servers="127.0.0.1:1", database_url=database_url, **limits))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http,
    ):
        statuses = [(await http.post("/overland", json=batch)).status_code for _ in range(2)]
        written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.segment"))
    assert statuses == [200, 503]
    assert all(f'"timestamp":"{p["properties"]["timestamp"]}"'.encode() in written for p in batch["locations"])
    assert len(written) <= 1_500_000


async def test_a_body_may_be_larger_than_others_and_has_a_limit() -> None:
    app = create_app(Settings(max_body_bytes=1_024, max_import_body_bytes=4_096), MemoryProducer())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http:
        three, twelve = ({"locations": [point("over-14")] * times} for times in (3, 12))
        assert (await http.post("/overland", json=three)).status_code == 200
        response = await http.post("/overland", json=twelve)
    assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@cache
def any_app() -> tuple[MemoryProducer, Any]:
    """One app for all examples: to build one takes longer than to ask it."""
    producer = MemoryProducer()
    return producer, create_app(Settings(), producer)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(
        st.sampled_from([*point("x")["properties"], "type", "action", "arrival_date", "trip_id", "unique_id"]), values
    ),
    feature=st.dictionaries(st.sampled_from(["type", "geometry", "id", "bbox"]), values, max_size=2),
    batch=st.dictionaries(st.sampled_from(["current", "trip", "other"]), values, max_size=2),
)
async def test_any_batch_is_stored(changes: dict[str, Any], feature: dict[str, Any], batch: dict[str, Any]) -> None:
    """Whatever comes in place of whatever value: the app gets its ok, and the value is in some record."""
    whole = point("over-15")
    whole["properties"] |= changes
    body = json.dumps({"locations": [whole | feature], **batch})
    producer, app = any_app()
    producer.records.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http:
        response = await http.post("/overland", content=body)
    assert response.content == b'{"result":"ok"}', response.text
    stored = " ".join(json.dumps(message, ensure_ascii=False) for message in producer.messages)
    texts = {v for v in (*changes.values(), *feature.values(), *batch.values()) if isinstance(v, str) and v.isalnum()}
    assert {text for text in texts if text not in stored} == set()
