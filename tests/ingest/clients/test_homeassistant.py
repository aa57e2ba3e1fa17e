"""The companion app of Home Assistant: registration and webhook, as its developer documentation has them."""

import base64
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.secret import SecretBox

from loom_ingest.app import create_app
from loom_ingest.clients import homeassistant_store
from loom_ingest.errors import BrokerUnavailableError
from loom_ingest.settings import Settings
from tests.conftest import fresh_database
from tests.ingest.memory import MemoryProducer

pytestmark = pytest.mark.integration

GPS = "device.sensor.gps.raw"
POWER = "device.state.power.raw"
WIFI = "device.network.wifi.raw"
STATE = "device.sensor.state.raw"
STEPS = "device.health.steps.raw"
MOTION = "device.motion.activity.raw"
REPORT = "device.location.report.raw"
KEPT = "device.unrecognized.raw"
REGISTRATION: dict[str, Any] = {
    "device_id": "ABCDEFGH",
    "app_id": "awesome_home",
    "app_name": "Awesome Home",
    "app_version": "1.2.0",
    "device_name": "Robbies iPhone",
    "manufacturer": "Apple, Inc.",
    "model": "iPhone X",
    "os_name": "iOS",
    "os_version": "iOS 10.12",
    "supports_encryption": False,
    "app_data": {"push_notification_key": "abcdef"},
}


class App:
    """A service with its database, and one phone that is registered there."""

    def __init__(self, http: httpx.AsyncClient, producer: MemoryProducer) -> None:
        self.http = http
        self.producer = producer
        self.path = ""
        self.secret: str | None = None

    async def register(self, device_id: str, **changes: Any) -> dict[str, Any]:
        response = await self.http.post(
            "/api/mobile_app/registrations", json=REGISTRATION | {"device_id": device_id} | changes
        )
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        self.path, self.secret = f"/api/webhook/{answer['webhook_id']}", answer["secret"]
        return answer

    async def send(self, kind: str, data: Any = None) -> httpx.Response:
        body = {"type": kind} if data is None else {"type": kind, "data": data}
        return await self.http.post(self.path, json=body)

    async def sensor(self, sensor_id: str, state: Any, **changes: Any) -> None:
        sensor = {"type": "sensor", "name": sensor_id, "unique_id": sensor_id, "state": state} | changes
        response = await self.send("register_sensor", sensor)
        assert (response.status_code, response.json()) == (201, {"success": True})

    def sent(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.producer.records if record.topic == topic]


@asynccontextmanager
async def serving(database_url: str, **changes: Any) -> AsyncIterator[App]:
    producer = MemoryProducer()
    app = create_app(Settings(database_url=database_url, **changes), producer)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http,
    ):
        yield App(http, producer)


@pytest.fixture(scope="module")
def database_url(server_url: str, template_database: str) -> Iterator[str]:
    """One database for all tests here: each has a phone of its own."""
    with fresh_database(server_url, f"loom_phones_{uuid.uuid4().hex[:12]}", template_database) as url:
        yield url


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with serving(database_url) as app:
        yield app


async def test_a_phone_registers_and_is_a_device(app: App, database_url: str) -> None:
    answer = await app.register("ha-phone-1")
    assert (answer["cloudhook_url"], answer["remote_ui_url"], answer["secret"]) == (None, None, None)
    assert len(answer["webhook_id"]) == 64
    device = (await app.http.get("/devices/ha-phone-1")).json()
    assert (device["name"], device["model"], device["app_version"]) == ("Robbies iPhone", "iPhone X", "1.2.0")
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT * FROM homeassistant_registrations WHERE device_id = 'ha-phone-1'").fetchone()
        logged = connection.execute("SELECT action FROM audit_log WHERE subject = 'ha-phone-1'").fetchall()
    assert answer["webhook_id"] not in str(row)
    odd = {"app_data": {"a\0": ["\0", 1e400, {}]}, "more": "\0", "device_name": "Jan\u2019s \U0001f4f1"}
    response = await app.http.post(
        "/api/mobile_app/registrations?device_id=ha%00", content=json.dumps(REGISTRATION | odd)
    )
    assert response.status_code == 201, response.text
    assert ("homeassistant.register",) in logged


@pytest.mark.parametrize(
    "changes", [{"app_id": None}, {"supports_encryption": "yes"}, {"device_name": ""}, {"model": "a\0b"}]
)
async def test_a_registration_of_another_shape_is_refused(app: App, changes: dict[str, Any]) -> None:
    response = await app.http.post("/api/mobile_app/registrations", json=REGISTRATION | changes)
    assert response.status_code == 422
    assert next(iter(changes)) in response.json()["details"]


async def test_a_location(app: App) -> None:
    await app.register("ha-phone-2")
    data = {"gps": [12.34, 56.78], "gps_accuracy": 120, "battery": 45, "speed": 3, "altitude": 20, "course": 181,
            "vertical_accuracy": 7, "location_name": "home", "in_zones": ["zone.home"]}  # fmt: skip
    response = await app.send("update_location", data)
    assert (response.status_code, response.content) == (200, b"{}")
    (fix,) = app.sent(GPS)
    assert (fix["device_id"], fix["latitude"], fix["longitude"], fix["accuracy"]) == ("ha-phone-2", 12.34, 56.78, 120.0)
    assert (fix["speed"], fix["altitude"], fix["heading"]) == (3.0, 20.0, 181.0)
    assert [m["battery_level"] for m in app.sent(POWER)] == [45.0]
    (report,) = app.sent(REPORT)
    assert (report["vertical_accuracy"], report["place"], report["details"]) == (
        7.0,
        "home",
        {"in_zones": ["zone.home"]},
    )
    await app.send(
        "update_location", {"gps": [1.0, 2.0], "gps_accuracy": 5, "speed": -1, "course": -1, "vertical_accuracy": -1}
    )
    assert (app.sent(GPS)[1]["speed"], app.sent(GPS)[1]["heading"]) == (None, None)
    await app.send("update_location", {"location_name": "not_home", "gps": None})
    assert [(m["event"], m["place"]) for m in app.sent(REPORT)[1:]] == [("location", "not_home")]


async def test_a_location_of_the_past(app: App) -> None:
    await app.register("ha-phone-3")
    await app.send("update_location", {"gps": [1.0, 2.0], "gps_accuracy": 5, "timestamp": "2021-05-04T10:00:00+02:00"})
    assert [m["timestamp"] for m in app.sent(GPS)] == ["2021-05-04T08:00:00Z"]


async def test_sensors_are_told_apart(app: App) -> None:
    await app.register("ha-phone-4")
    await app.sensor(
        "storage", 42.5, unit_of_measurement="% available", device_class="storage", attributes={"Total": 1}
    )
    await app.sensor("off", 1, disabled=True)
    updates = [
        {"type": "sensor", "unique_id": "storage", "state": 41, "icon": "mdi:database", "attributes": {"Total": 2}},
        {"type": "sensor", "unique_id": "off", "state": True},
        {"type": "binary_sensor", "unique_id": "unheard", "state": True},
        {"type": "sensor", "unique_id": "storage", "state": [1]},
        {"type": "sensor"},
    ]
    response = await app.send("update_sensor_states", updates)
    assert response.status_code == 200
    answers = response.json()
    assert answers["off"] == {"success": True, "is_disabled": True}
    assert answers["unheard"]["error"]["code"] == "not_registered"
    assert answers["storage"]["error"]["code"] == "invalid_format"
    states = app.sent(STATE)
    assert [(m["sensor_id"], m["state"], m["value"]) for m in states] == [
        ("storage", "42.5", 42.5), ("storage", "41", 41.0), ("off", "on", None),
    ]  # fmt: skip
    assert (states[1]["unit"], states[1]["attributes"], states[1]["kind"]) == ("% available", {"Total": 2}, "sensor")
    assert len(app.sent(KEPT)) == 3
    config = (await app.send("get_config")).json()
    assert config["entities"] == {"storage": {"disabled": False}, "off": {"disabled": True}}


async def test_known_sensors_are_on_the_topics_of_other_devices(app: App) -> None:
    await app.register("ha-phone-5")
    values = {
        "battery_level": 81, "battery_state": "Charging", "connectivity_ssid": "home",
        "connectivity_bssid": "2:0:5e:10:0:1", "pedometer_steps": 5123, "activity": "Walking",
        "health_heart_rate": 61.4, "geocoded_location": "1 Main St\nBerlin",
    }  # fmt: skip
    for sensor_id in values:
        await app.sensor(sensor_id, None)
    app.producer.records.clear()
    updates = [{"type": "sensor", "unique_id": name, "state": value} for name, value in values.items()]
    updates[5]["attributes"] = {"Confidence": "High", "Types": ["Walking"]}
    assert (await app.send("update_sensor_states", updates)).status_code == 200
    assert {m["sensor_id"] for m in app.sent(STATE)} == set(values)
    (power,) = app.sent(POWER)
    assert (power["battery_level"], power["is_charging"], power["power_source"]) == (81.0, True, "Charging")
    (wifi,) = app.sent(WIFI)
    assert (wifi["connected"], wifi["ssid"], wifi["bssid"]) == (True, "home", "2:0:5e:10:0:1")
    assert [m["steps"] for m in app.sent(STEPS)] == [5123]
    (motion,) = app.sent(MOTION)
    assert (motion["activities"], motion["confidence"]) == (["walking"], "High")
    assert [m["bpm"] for m in app.sent("device.health.heartrate.raw")] == [61]
    await app.send("update_sensor_states", [{"type": "sensor", "unique_id": "battery_state", "state": "Not Charging"}])
    assert [(m["battery_level"], m["is_charging"]) for m in app.sent(POWER)[1:]] == [(81.0, False)]
    await app.send(
        "update_sensor_states", {"type": "sensor", "unique_id": "connectivity_ssid", "state": "Not Connected"}
    )
    assert [(m["connected"], m["ssid"]) for m in app.sent(WIFI)[1:]] == [(False, None)]


async def test_what_a_home_automation_does_is_answered_and_not_done(app: App) -> None:
    await app.register("ha-phone-6")
    for kind in ("call_service", "stream_camera", "conversation_process"):
        response = await app.send(kind, {"domain": "light", "service": "turn_on", "camera_entity_id": "c", "text": "t"})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "not_supported")
    assert (await app.send("get_zones")).json() == []
    rendered = (await app.send("render_template", {"a": {"template": "{{ 1 }}"}})).json()
    assert rendered == {"a": {"error": "Loom renders no templates"}}
    config = (await app.send("get_config")).json()
    assert (config["location_name"], config["components"]) == ("Loom", ["mobile_app", "webhook"])
    changed = await app.send(
        "update_registration", {"app_version": "2.0.0", "device_name": "New", "app_data": {"x": 1}}
    )
    assert (changed.json()["app_version"], changed.json()["app_id"]) == ("2.0.0", "awesome_home")
    assert "webhook_id" not in changed.json()


async def test_events_and_tags_are_kept(app: App) -> None:
    await app.register("ha-phone-7")
    assert (await app.send("fire_event", {"event_type": "pressed", "event_data": {"n": 1}})).content == b"{}"
    assert (await app.send("scan_tag", {"tag_id": "front-door"})).content == b"{}"
    assert [(m["sensor_id"], m["kind"], m["state"]) for m in app.sent(STATE)] == [
        ("event", "event", "pressed"), ("tag", "event", "front-door"),
    ]  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
async def test_encrypted_payloads(app: App, legacy: bool) -> None:
    answer = await app.register("ha-phone-8", supports_encryption=True)
    secret = answer["secret"]
    box = SecretBox(secret.encode()[:32] if legacy else bytes.fromhex(secret))

    async def send(kind: str, data: Any) -> httpx.Response:
        # Without padding, as the documentation asks for.
        text = base64.b64encode(box.encrypt(json.dumps(data).encode())).decode().rstrip("=")
        return await app.http.post(app.path, json={"type": kind, "encrypted": True, "encrypted_data": text})

    assert (await send("update_location", {"gps": [5.5, 6.5], "gps_accuracy": 5})).content == b"{}"
    assert [m["latitude"] for m in app.sent(GPS)] == [5.5]
    response = await send("register_sensor", {"type": "sensor", "name": "n", "unique_id": "s", "state": 1})
    assert (response.status_code, response.json()["encrypted"]) == (201, True)
    assert json.loads(box.decrypt(base64.b64decode(response.json()["encrypted_data"]))) == {"success": True}
    refused = await app.send("update_location", {"gps": [1, 2], "gps_accuracy": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "encryption_required")
    box = SecretBox(bytes(32))
    assert (await send("update_location", {})).content == b"{}"
    assert "decrypted" in app.sent(KEPT)[0]["reason"]


async def test_encryption_begins_later(app: App) -> None:
    await app.register("ha-phone-9")
    response = await app.send("enable_encryption")
    box = SecretBox(bytes.fromhex(response.json()["secret"]))
    refused = await app.send("enable_encryption")
    assert refused.status_code == 400
    data = base64.b64encode(box.encrypt(b"{}")).decode()
    again = await app.http.post(app.path, json={"type": "enable_encryption", "encrypted": True, "encrypted_data": data})
    assert again.json()["error"]["code"] == "encryption_already_enabled"


async def test_what_cannot_be_read_is_kept(app: App) -> None:
    await app.register("ha-phone-10")
    for body, status in ((b"{no", 400), (b"[1]", 200), (b'{"type": "future", "data": {"a": 1}}', 200)):
        response = await app.http.post(app.path, content=body)
        assert (response.status_code, response.content) == (status, b"{}")
    for kind, data in (
        ("update_location", []),
        ("register_sensor", {"name": "x"}),
        ("fire_event", {}),
        ("scan_tag", 5),
    ):
        assert (await app.send(kind, data)).content == b"{}"
    assert [m["device_id"] for m in app.sent(KEPT)] == ["ha-phone-10"] * 7


async def test_unknown_and_deleted_phones(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homeassistant_store, "FRESH_SECONDS", 0.0)
    for webhook_id in ("0" * 64, "nonsense"):
        response = await app.http.post(f"/api/webhook/{webhook_id}", json={"type": "get_zones"})
        assert (response.status_code, response.content) == (200, b"")
    await app.register("ha-phone-11")
    first = app.path
    assert (await app.send("get_zones")).status_code == 200
    assert (await app.http.delete("/devices/ha-phone-11")).status_code == 200
    response = await app.send("update_location", {"gps": [1, 2], "gps_accuracy": 5})
    assert (response.status_code, response.content) == (410, b"")
    assert app.sent(GPS) == []
    await app.register("ha-phone-11")
    assert (await app.send("get_zones")).status_code == 200
    app.path = first
    assert (await app.send("get_zones")).status_code == 410


async def test_a_phone_that_registers_again_has_one_webhook(app: App) -> None:
    await app.register("ha-phone-12")
    first = app.path
    await app.register("ha-phone-12", app_id="another_app")
    another = app.path
    await app.register("ha-phone-12")
    statuses = [
        (await app.http.post(path, json={"type": "get_zones"})).status_code for path in (first, another, app.path)
    ]
    assert statuses == [410, 200, 200]


async def test_who_may_register_and_that_a_webhook_needs_no_key(database_url: str) -> None:
    async with serving(database_url, require_api_keys=True) as app:
        refused = await app.http.post("/api/mobile_app/registrations", json=REGISTRATION)
        assert refused.status_code == 401
    async with serving(database_url) as app:
        await app.register("ha-phone-13")
        path = app.path
    async with serving(database_url, require_api_keys=True) as app:
        response = await app.http.post(
            path, json={"type": "update_location", "data": {"gps": [1, 2], "gps_accuracy": 1}}
        )
        assert response.status_code == 200
        assert [m["device_id"] for m in app.sent(GPS)] == ["ha-phone-13"]


async def test_without_a_broker_and_without_a_database(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await app.register("ha-phone-14")
    app.producer.failure = BrokerUnavailableError("away")
    assert (await app.send("update_location", {"gps": [1, 2], "gps_accuracy": 1})).status_code == 503
    app.producer.failure = None
    monkeypatch.setattr(homeassistant_store, "FRESH_SECONDS", 0.0)
    assert (await app.send("get_zones")).status_code == 200
    path = app.path
    async with serving("postgresql://nobody@127.0.0.1:1/none") as other:
        response = await other.http.post(path, json={"type": "get_zones"})
    assert (response.status_code, response.json()["code"]) == (503, "DATABASE_UNAVAILABLE")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
LOCATION = ["gps", "gps_accuracy", "battery", "speed", "altitude", "course", "vertical_accuracy", "location_name"]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    location=st.dictionaries(st.sampled_from([*LOCATION, "timestamp", "more"]), values),
    sensor=st.dictionaries(st.sampled_from(["state", "attributes", "icon", "more", "type"]), values),
    sensor_id=st.sampled_from(["battery_level", "activity", "wifi_connection", "pedometer_steps", "health_heart_rate"]),
    whole=st.one_of(st.just(None), values),
)
async def test_any_message_is_stored(
    app: App, location: dict[str, Any], sensor: dict[str, Any], sensor_id: str, whole: Any
) -> None:
    """Whatever comes in place of whatever value: an answer of Home Assistant's, and the value is in some record."""
    if not app.path:
        await app.register("ha-phone-15")
        await app.sensor(sensor_id, 5)
    app.producer.records.clear()
    await app.sensor(sensor_id, 5)
    sensor = {"type": "sensor", "unique_id": sensor_id, "state": 1} | sensor
    for kind, data in (("update_location", location), ("update_sensor_states", [sensor]), ("fire_event", whole)):
        response = await app.http.post(app.path, content=json.dumps({"type": kind, "data": data}))
        assert response.status_code == 200, response.text
        assert isinstance(response.json(), dict)
    stored = " ".join(json.dumps(message, ensure_ascii=False) for message in app.producer.messages)
    changed = [*location.values(), *(v for k, v in sensor.items() if k not in ("icon", "type"))]
    texts = {value for value in changed if isinstance(value, str) and value.isalpha()}
    assert {text for text in texts if text not in stored} == set()
