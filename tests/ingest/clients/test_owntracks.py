"""OwnTracks in HTTP mode, as its booklet and the sources of its apps have it; odd messages included."""

import base64
import json
from typing import Any

import httpx
import pytest

from loom_ingest.app import create_app
from loom_ingest.clients.identities import derived_device_id
from loom_ingest.errors import BrokerUnavailableError, OverloadedError
from loom_ingest.settings import Settings
from tests.ingest.access.harness import bearer, make, serving
from tests.ingest.clients.owntracks import GPS, KEPT, LOCATION, PNG, post, sent
from tests.ingest.conftest import Service
from tests.ingest.memory import MemoryProducer

POWER = "device.state.power.raw"
WIFI = "device.network.wifi.raw"
AIR = "device.sensor.barometer.raw"
MOTION = "device.motion.activity.raw"
REPORT = "device.location.report.raw"
TRANSITION = "device.region.transition.raw"
WAYPOINT = "device.region.waypoint.raw"
METADATA = "device.metadata.raw"
STEPS = "device.health.steps.raw"
PHOTO = "device.image.camera.raw"


@pytest.fixture
def phone(producer: MemoryProducer) -> Service:
    """The service in memory: a topic of the broker takes a second to read."""
    app = create_app(Settings(), producer)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")
    return Service(http, producer, "", "")


# Where it is stored


@pytest.mark.parametrize("failure", [BrokerUnavailableError("away"), OverloadedError("full")])
async def test_what_is_stored_nowhere_is_sent_again(
    phone: Service, producer: MemoryProducer, failure: OverloadedError
) -> None:
    """One of its records fails: a 503, on which the app keeps the point; and the retry has the same identities."""
    producer.failing, producer.failure = {POWER}, failure
    response = await phone.post("/pub", LOCATION)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    producer.failure = None
    await post(phone, LOCATION)
    assert len(sent(phone, GPS)) == 2
    assert len({m["message_id"] for m in sent(phone, GPS)}) == 1


async def test_a_rate_limit_is_no_4xx(producer: MemoryProducer) -> None:
    app = create_app(Settings(rate_limit_enabled=True, rate_limit_burst_size=1), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answers = [await http.post("/pub", json=LOCATION) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 503]
    assert answers[1].json()["code"] == "RATE_LIMITED"
    assert int(answers[1].headers["retry-after"]) >= 1


@pytest.mark.integration
async def test_nor_is_that_of_a_key(database_url: str) -> None:
    """It is refused before the request is read."""
    key, one = (
        await make(database_url, "ingest"),
        {"rate_limit_key_burst_size": 1, "rate_limit_key_requests_per_minute": 1},
    )
    async with serving(database_url, rate_limit_enabled=True, **one) as served:
        answers = [await served.http.post("/pub", json=LOCATION, headers=bearer(key)) for _ in range(2)]
        others = await served.http.post("/overland", json={"locations": []}, headers=bearer(key))
        stranger = await served.http.post("/pub", json=LOCATION)
    assert [a.status_code for a in answers] == [200, 503]
    assert (answers[1].json()["code"], others.status_code, stranger.status_code) == ("RATE_LIMITED", 429, 401)
    assert "Basic" in stranger.headers["www-authenticate"]


@pytest.mark.integration
async def test_a_device_that_has_to_be_registered_first_keeps_its_points(database_url: str) -> None:
    """No 4xx: the app would delete them."""
    async with serving(database_url, require_api_keys=False, require_registered_devices=True) as served:
        response = await served.http.post("/pub", json=LOCATION)
    assert (response.status_code, response.json()["code"]) == (503, "DEVICE_NOT_REGISTERED")
    assert response.headers["retry-after"] == "60"


async def test_a_body_that_can_never_be_kept_does_not_block_those_behind_it(producer: MemoryProducer) -> None:
    app = create_app(Settings(max_audio_body_bytes=1_024), producer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        response = await http.post("/pub", content=b" " * 1_025)
    assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


# What is in a message


async def test_a_location_goes_to_the_topics_of_its_parts(phone: Service) -> None:
    await post(phone, LOCATION)
    (fix,) = sent(phone, GPS)
    assert {name: fix[name] for name in ("altitude", "accuracy", "heading", "speed")} == {
        "altitude": 35.0, "accuracy": 8.0, "heading": 180.0, "speed": 10.0,
    }  # fmt: skip
    (power,) = sent(phone, POWER)
    assert (power["battery_level"], power["is_charging"], power["power_source"]) == (57.0, True, "charging")
    (wifi,) = sent(phone, WIFI)
    assert (wifi["connected"], wifi["ssid"], wifi["bssid"]) == (True, "home", "02:00:5e:10:00:01")
    (air,) = sent(phone, AIR)
    assert (air["value"], air["unit"]) == ({"pressure": 1013.25}, "hPa")
    assert [m["activities"] for m in sent(phone, MOTION)] == [["cycling"]]
    (report,) = sent(phone, REPORT)
    assert report["vertical_accuracy"] == 3.0
    kept = ("t", "m", "tid", "tag", "inregions", "inrids", "conn", "_id")
    assert report["details"] == {name: LOCATION[name] for name in kept}
    assert {m["timestamp"] for m in (fix, power, wifi, air, report)} == {"2015-11-26T09:34:20Z"}
    assert sent(phone, KEPT) == []


async def test_an_old_position_has_its_own_time_and_the_battery_that_of_the_message(phone: Service) -> None:
    await post(phone, LOCATION | {"created_at": 1448534060})
    assert [m["timestamp"] for m in sent(phone, GPS)] == ["2015-11-26T09:34:20Z"]
    assert [m["timestamp"] for m in sent(phone, POWER)] == ["2015-11-26T10:34:20Z"]


@pytest.mark.parametrize(
    ("changes", "field", "details"),
    [
        ({"vel": -1}, "speed", {"vel": -1}),
        ({"vel": 900}, "speed", {"vel": 900}),
        ({"cog": -1}, "heading", {"cog": -1}),
        ({"acc": 65_000}, "accuracy", {"acc": 65_000}),
        ({"alt": 30_000}, "altitude", {"alt": 30_000}),
        ({"alt": "high"}, "altitude", {"alt": "high"}),
    ],
)
async def test_what_is_not_valid_is_in_the_report(
    phone: Service, changes: dict[str, Any], field: str, details: dict[str, Any]
) -> None:
    await post(phone, LOCATION | changes)
    (fix,) = sent(phone, GPS)
    assert fix[field] is None
    assert details.items() <= sent(phone, REPORT)[0]["details"].items()
    assert sent(phone, KEPT) == []


@pytest.mark.parametrize(
    ("batt", "bs", "wanted"),
    [
        (80, 0, (80.0, False, "unknown")),
        (80, 1, (80.0, False, "unplugged")),
        (100, 3, (100.0, True, "full")),
        ("42", None, (42.0, False, "unknown")),
        (-100, 0, None),
    ],
)
async def test_the_battery(phone: Service, batt: Any, bs: int | None, wanted: tuple[Any, ...] | None) -> None:
    await post(phone, LOCATION | {"batt": batt, "bs": bs})
    found = [(m["battery_level"], m["is_charging"], m["power_source"]) for m in sent(phone, POWER)]
    assert found == ([] if wanted is None else [wanted])


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        ({"conn": "m"}, (False, None)),
        ({"conn": "o"}, (False, None)),
        ({"conn": "w", "ssid": "iOS writes it so"}, (True, "iOS writes it so")),
        ({"ssid": "home"}, (True, "home")),
        ({"conn": "w", "SSID": "<unknown ssid>", "BSSID": "02:00:00:00:00:00"}, (True, None)),
        ({}, None),
    ],
)
async def test_the_network(phone: Service, network: dict[str, str], wanted: tuple[bool, str | None] | None) -> None:
    message = {name: value for name, value in LOCATION.items() if name not in ("conn", "SSID", "BSSID")}
    await post(phone, message | network)
    assert [(m["connected"], m["ssid"]) for m in sent(phone, WIFI)] == ([] if wanted is None else [wanted])


async def test_a_point_of_interest_and_its_picture(phone: Service) -> None:
    await post(phone, LOCATION | {"poi": "A bench", "image": PNG, "imagename": "bench.png"})
    assert sent(phone, REPORT)[0]["place"] == "A bench"
    (photo,) = sent(phone, PHOTO)
    assert (photo["image_data"], photo["format"], photo["file_name"]) == (PNG, "png", "bench.png")
    assert (photo["latitude"], photo["longitude"]) == (52.5163, 13.3777)


async def test_a_location_without_coordinates_is_kept_with_its_battery(phone: Service) -> None:
    await post(phone, {"_type": "location", "tst": 1448530460, "batt": 57, "lat": 95, "lon": 13.4})
    assert sent(phone, GPS) == []
    assert [m["battery_level"] for m in sent(phone, POWER)] == [57.0]
    (kept,) = sent(phone, KEPT)
    assert json.loads(kept["body"])["lat"] == 95


async def test_transitions(phone: Service) -> None:
    message = {
        "_type": "transition", "tst": 1448530460, "wtst": 1438530460, "event": "leave", "desc": "Home", "rid": "6da9cf",
        "t": "b", "lat": 52.5, "lon": 13.4, "acc": 70_000, "tid": "JA", "topic": "owntracks/jane/phone/event",
    }  # fmt: skip
    await post(phone, message)
    (transition,) = sent(phone, TRANSITION)
    wanted = {
        "timestamp": "2015-11-26T09:34:20Z", "event": "leave", "region_name": "Home", "region_id": "6da9cf",
        "region_created_at": "2015-08-02T15:47:40Z", "trigger": "b", "latitude": 52.5, "longitude": 13.4,
        "accuracy": 70_000.0, "details": {"tid": "JA"},
    }  # fmt: skip
    assert wanted.items() <= transition.items()


async def test_waypoints_one_and_many(phone: Service) -> None:
    circle = {"_type": "waypoint", "tst": 1438530460, "desc": "Home", "lat": 52.5, "lon": 13.4, "rad": 150, "rid": "a"}
    uuid = "CCA7DC7A-5D0B-4B3A-9D5B-3F1C8E6F2A10"
    beacon = {"_type": "waypoint", "tst": 1438530461, "desc": "Door", "uuid": uuid, "major": 1, "minor": 7}
    of_ios = {"_type": "waypoint", "tst": 1438530462, "desc": f"Car:{uuid}:2:9", "rad": -1, "lat": -1_000_000}
    await post(phone, circle)
    await post(phone, {"_type": "waypoints", "_creator": "test", "waypoints": [beacon, of_ios, 17]})
    home, door, car = sent(phone, WAYPOINT)
    assert (home["timestamp"], home["name"], home["radius_m"]) == ("2015-08-02T15:47:40Z", "Home", 150.0)
    assert (door["beacon_uuid"], door["beacon_major"], door["beacon_minor"]) == (uuid, 1, 7)
    assert (car["name"], car["beacon_uuid"], car["beacon_major"], car["beacon_minor"]) == ("Car", uuid, 2, 9)
    assert (car["radius_m"], car["details"]) == (None, {"rad": -1, "lat": -1_000_000})
    assert [m["body"] for m in sent(phone, KEPT)] == ["17"]


async def test_steps_and_the_phones_that_do_not_count_them(phone: Service) -> None:
    steps = {"_type": "steps", "tst": 1448530460, "from": 1448523260, "to": 1448530460, "steps": 812, "distance": 600}
    await post(phone, [steps, steps | {"steps": -1}])
    (counted,) = sent(phone, STEPS)
    assert (counted["steps"], counted["interval_seconds"], counted["distance_m"]) == (812, 7200.0, 600.0)
    assert json.loads(sent(phone, KEPT)[0]["body"])["steps"] == -1


@pytest.mark.parametrize(
    "message",
    [
        {"_type": "card", "tid": "JA", "name": "Jane", "face": PNG},
        {"_type": "lwt", "tst": 1448530460},
        {"_type": "status", "_id": "7f", "android": {"hib": 0, "bo": 1, "loc": 2}},
        {"_type": "request", "request": "tour", "tour": {"label": "Trip"}},
    ],
)
async def test_what_seldom_changes_is_metadata(phone: Service, message: dict[str, Any]) -> None:
    await post(phone, message)
    (metadata,) = sent(phone, METADATA)
    assert metadata["metadata_type"] == f"owntracks.{message['_type']}"
    assert metadata["metadata"] == {name: value for name, value in message.items() if name != "_type"}


async def test_settings_of_the_app_are_kept_without_their_passwords(phone: Service) -> None:
    configuration = {
        "_type": "configuration", "username": "jane", "password": "hidden-1", "encryptionKey": "hidden-2",
        "url": "https://jane:hidden-3@loom.example:8443/pub", "waypoints": [{"passphrase": "hidden-4"}],
    }  # fmt: skip
    await post(phone, {"_type": "dump", "configuration": configuration})
    (metadata,) = sent(phone, METADATA)
    kept = metadata["metadata"]["configuration"]
    assert (kept["username"], kept["url"]) == ("jane", "https://loom.example:8443/pub")
    assert "hidden" not in json.dumps(metadata)


async def test_a_beacon_that_is_near(phone: Service) -> None:
    beacon = {"_type": "beacon", "tst": 1448530460, "uuid": "u-1", "major": 1, "minor": 7, "rssi": -60, "prox": 2}
    await post(phone, beacon)
    (scan,) = sent(phone, "device.network.bluetooth.raw")
    assert scan["devices"][0]["address"] == "u-1:1:7"
    assert scan["devices"][0]["signal_dbm"] == -60.0
    assert sent(phone, REPORT)[0]["details"]["prox"] == 2


# Who it is from


@pytest.mark.parametrize(
    ("query", "headers", "body", "wanted"),
    [
        ("?u=q&d=r", {"X_Limit_U": "jane", "X_Limit_D": "phone"}, {}, "jane/phone"),
        ("?u=q&d=r", {"X_Limit_U": "jane"}, {}, "jane/r"),
        ("?u=q&d=r", {"Authorization": "Basic " + base64.b64encode(b"login:key").decode()}, {}, "q/r"),
        ("?d=r", {"Authorization": "Basic " + base64.b64encode(b"login:key").decode()}, {}, "login/r"),
        ("", {}, {"topic": "owntracks/jane/phone/event"}, "jane/phone"),
        ("", {}, {"topic": "owntracks/http/JA"}, "owntracks/phone"),
        ("", {}, {}, "owntracks/phone"),
        ("", {"Authorization": "Basic !"}, {"topic": 17}, "owntracks/phone"),
    ],
)
async def test_who_it_is_from(
    phone: Service, query: str, headers: dict[str, str], body: dict[str, Any], wanted: str
) -> None:
    message = {name: value for name, value in LOCATION.items() if name != "topic"}
    await post(phone, message | body, query, **headers)
    assert [m["device_id"] for m in sent(phone, GPS)] == [derived_device_id("owntracks", wanted)]


async def test_a_name_may_have_any_letters(phone: Service) -> None:
    headers = {b"X-Limit-U": "Jürgen".encode(), b"X-Limit-D": b"phone"}
    assert (await phone.http.post("/pub", json=LOCATION, headers=headers)).status_code == 200
    assert [m["device_id"] for m in sent(phone, GPS)] == [derived_device_id("owntracks", "Jürgen/phone")]
