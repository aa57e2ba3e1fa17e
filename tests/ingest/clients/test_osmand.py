"""Traccar Client and the OsmAnd protocol, as the server's decoder and its tests have it."""

import json
from functools import cache
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_ingest.app import create_app
from loom_ingest.errors import OverloadedError
from loom_ingest.settings import Settings
from tests.ingest.memory import MemoryProducer

GPS = "device.sensor.gps.raw"
POWER = "device.state.power.raw"
MOTION = "device.motion.activity.raw"
REPORT = "device.location.report.raw"
KEPT = "device.unrecognized.raw"

# ProtocolFormatter.kt and .swift, until version 8.
OLD: dict[str, Any] = {
    "id": "123456", "timestamp": 1377177267, "lat": "60.25", "lon": "-30.5", "speed": "10.0", "bearing": "90.5",
    "altitude": "350.059479", "accuracy": "12.5", "batt": "87.0",
}  # fmt: skip
# OsmAndProtocolDecoderTest.java: version 9, on iOS and Android.
NESTED: dict[str, Any] = {
    "location": {
        "event": "motionchange", "is_moving": False, "uuid": "0e9a2473-a9a7-4c00-997b-fb97d2154e75",
        "timestamp": "2021-07-21T08:06:34.444Z", "odometer": 0,
        "coords": {
            "latitude": -6.1148096, "longitude": 106.6837015, "accuracy": 3.8, "speed": 18.67, "speed_accuracy": 0.26,
            "heading": 63, "heading_accuracy": 0.28, "altitude": 35.7, "altitude_accuracy": 3.8,
        },
        "activity": {"type": "still", "confidence": 100}, "battery": {"is_charging": False, "level": 0.79},
        "extras": {},
    },
    "device_id": "8737767034",
}  # fmt: skip


def sent(producer: MemoryProducer, topic: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in producer.records if record.topic == topic]


def taken(response: httpx.Response) -> None:
    assert (response.status_code, response.content) == (200, b""), response.text


async def test_a_flat_position(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    more = {"charge": "true", "mock": "true", "driverUniqueId": "D1", "hdop": "1.5", "rpm": "933"}
    taken(await client.post("/osmand", params=OLD | more))
    (fix,) = sent(producer, GPS)
    wanted = {
        "device_id": "123456", "timestamp": "2013-08-22T13:14:27Z", "latitude": 60.25, "longitude": -30.5,
        "altitude": 350.059479, "accuracy": 12.5, "heading": 90.5, "speed": 5.1444,
    }  # fmt: skip
    assert wanted.items() <= fix.items()
    (power,) = sent(producer, POWER)
    assert (power["battery_level"], power["is_charging"]) == (87.0, True)
    (report,) = sent(producer, REPORT)
    assert report["details"] == {name: more[name] for name in ("mock", "driverUniqueId", "hdop", "rpm")}
    assert report["event"] is None


async def test_a_nested_position(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    taken(await client.post("/osmand", json=NESTED))
    (fix,) = sent(producer, GPS)
    wanted = {
        "device_id": "8737767034", "timestamp": "2021-07-21T08:06:34.444000Z", "latitude": -6.1148096,
        "longitude": 106.6837015, "altitude": 35.7, "accuracy": 3.8, "heading": 63.0, "speed": 18.67,
    }  # fmt: skip
    assert wanted.items() <= fix.items()
    assert [m["battery_level"] for m in sent(producer, POWER)] == [79.0]
    assert [(m["activities"], m["confidence"]) for m in sent(producer, MOTION)] == [(["still"], "100")]
    (report,) = sent(producer, REPORT)
    assert (report["vertical_accuracy"], report["speed_accuracy"], report["heading_accuracy"]) == (3.8, 0.26, 0.28)
    assert report["details"] == {name: NESTED["location"][name] for name in ("event", "is_moving", "uuid", "odometer")}


async def test_what_ios_does_not_know_is_below_zero(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    location = NESTED["location"] | {
        "coords": {
            "speed_accuracy": -1, "speed": -1, "longitude": -122.406417, "floor": None, "heading_accuracy": -1,
            "latitude": 37.785834, "accuracy": 5, "altitude_accuracy": -1, "altitude": 0, "heading": -1,
        },
        "battery": {"level": -1, "is_charging": False}, "activity": {"type": "unknown", "confidence": 100},
    }  # fmt: skip
    taken(await client.post("/osmand", json={"location": location, "device_id": "658765"}))
    (fix,) = sent(producer, GPS)
    assert (fix["speed"], fix["heading"], fix["altitude"]) == (None, None, 0.0)
    assert (sent(producer, POWER), sent(producer, MOTION), sent(producer, KEPT)) == ([], [], [])
    assert sent(producer, REPORT)[0]["speed_accuracy"] is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1377177267", "2013-08-22T13:14:27Z"),
        ("1442068686579", "2015-09-12T14:38:06.579000Z"),
        ("1377177267.5", "2013-08-22T13:14:27.500000Z"),
        ("2016-01-27T18:55:47Z", "2016-01-27T18:55:47Z"),
        ("2016-01-27T18:55:47.123+01:00", "2016-01-27T17:55:47.123000Z"),
        ("2014-06-04 09:10:11", "2014-06-04T09:10:11Z"),
    ],
)
async def test_times(client: httpx.AsyncClient, producer: MemoryProducer, text: str, wanted: str) -> None:
    taken(await client.get("/osmand", params=OLD | {"timestamp": text}))
    assert [m["timestamp"] for m in sent(producer, GPS)] == [wanted]


async def test_two_positions_without_a_time_are_two(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    parameters = {"deviceid": "123456", "location": "60.25,-30.5", "heading": "0.0"}
    taken(await client.get("/osmand", params=parameters))
    taken(await client.get("/osmand", params=parameters))
    first, second = sent(producer, GPS)
    assert (first["latitude"], first["longitude"], first["heading"]) == (60.25, -30.5, 0.0)
    assert first["message_id"] != second["message_id"]


async def test_a_position_that_comes_again_has_the_same_identity(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    producer.failing, producer.failure = {POWER}, OverloadedError("full")
    response = await client.post("/osmand", params=OLD)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    producer.failure = None
    taken(await client.post("/osmand", params=OLD))
    assert len({m["message_id"] for m in sent(producer, GPS)}) == 1


async def test_alarms_heartbeats_and_fixes_that_are_none(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    taken(await client.post("/osmand", params=OLD | {"alarm": "sos"}))
    taken(await client.post("/osmand", params=OLD | {"valid": "false"}))
    taken(await client.post("/osmand", data={"id": "123456", "timestamp": 1377177267, "batt": "-100.0"}))
    taken(await client.post("/osmand", data={"id": "123456", "timestamp": 1377177267}))
    assert len(sent(producer, GPS)) == 1
    events = [(m["event"], m["latitude"]) for m in sent(producer, REPORT)]
    assert events == [("sos", 60.25), ("invalid", 60.25), (None, None), ("heartbeat", None)]


async def test_many_positions_at_once(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    """As traccar-client-sdk can send them, and as version 9 does with `batchSync`."""
    flat = {
        "id": 123456,
        "lat": 60.25,
        "lon": -30.5,
        "timestamp": 1377177267,
        "speed": 19.44,
        "batt": 80,
        "charge": True,
    }
    taken(await client.post("/osmand", json=[flat, flat | {"timestamp": 1377177268}, 17], params={"id": "123456"}))
    assert [m["speed"] for m in sent(producer, GPS)] == [10.0008, 10.0008]
    assert [m["is_charging"] for m in sent(producer, POWER)] == [True, True]
    assert [m["body"] for m in sent(producer, KEPT)] == ["17"]
    taken(await client.post("/osmand", json={"location": [NESTED["location"]] * 2, "device_id": "8737767034"}))
    assert len(sent(producer, GPS)) == 4


async def test_cells_and_networks_around_it(client: httpx.AsyncClient, producer: MemoryProducer) -> None:
    query = "id=123456&timestamp=1377177267&cell=257,02,16,2224&cell=257,02,16,2223,-90&wifi=00-14-22-01-23-45,-80"
    taken(await client.get(f"/osmand?{query}"))
    (report,) = sent(producer, REPORT)
    assert report["details"] == {"cell": ["257,02,16,2224", "257,02,16,2223,-90"], "wifi": ["00-14-22-01-23-45,-80"]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/osmand?timestamp=1377177267&lat=60.0&lon=30.0", b""),
        ("POST", "/osmand", b""),
        ("POST", "/osmand?id=", b"{}"),
        ("POST", "/osmand", b'{"location": {"timestamp": "2021-07-21T08:06:34Z"}}'),
    ],
)
async def test_who_names_no_device_gets_a_400(
    client: httpx.AsyncClient, producer: MemoryProducer, method: str, path: str, body: bytes
) -> None:
    response = await client.request(method, path, content=body)
    assert (response.status_code, response.json()["code"]) == (400, "MISSING_FIELD")
    assert producer.records == []


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/osmand?id=123456", b"{not json", "not JSON"),
        ("/osmand?id=123456&lat=95&lon=13", b"", "without coordinates"),
        ("/osmand?id=123456&lat=&lon=", b"", "without coordinates"),
        ("/osmand?id=123456&location=somewhere", b"", "without coordinates"),
        ("/osmand?id=123456&lat=0", b"", "without coordinates"),
        ("/osmand?id=123456&lat=1&lon=2&timestamp=late", b"", "not a time"),
        ("/osmand?id=123456&lat=1&lon=2&timestamp=2999-01-01T00:00:00Z", b"", "Field 'timestamp' is 2999"),
        ("/osmand", b'{"device_id": "123456", "location": {"coords": {}}}', "without a time"),
        ("/osmand", b'{"device_id": "123456", "location": 17}', "a location is an object"),
    ],
)
async def test_what_cannot_be_read_does_not_block_what_follows(
    client: httpx.AsyncClient, producer: MemoryProducer, path: str, body: bytes, says: str
) -> None:
    taken(await client.post(path, content=body))
    assert says in sent(producer, KEPT)[0]["reason"]
    assert sent(producer, GPS) == []


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = (
    TEXT | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["true", "false", "1e999", "60.25,-30.5"])
)
NAMES = st.sampled_from([*OLD, "location", "charge", "alarm", "activity", "valid", "cell", "hdop"]).filter(
    lambda name: name != "id"
)


@cache
def any_app() -> tuple[MemoryProducer, Any]:
    """One app for all examples: to build one takes longer than to ask it."""
    producer = MemoryProducer()
    return producer, create_app(Settings(), producer)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(NAMES | TEXT.filter(lambda t: t not in ("id", "deviceid", "device_id", "token")), VALUES)
)
async def test_any_parameters_are_stored(changes: dict[str, str]) -> None:
    """Whatever comes in place of whatever value: the app gets its 200, and the value is in some record."""
    producer, app = any_app()
    producer.records.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http:
        taken(await http.post(f"/osmand?{urlencode(OLD | changes)}"))
    stored = " ".join(json.dumps(m, ensure_ascii=False) for m in producer.messages)
    texts = {v for v in changes.values() if v.isalpha() and v not in ("true", "false")}
    assert {text for text in texts if text not in stored} == set()
