"""Exports of Health Auto Export, in the shapes of its wiki, both versions of workouts; odd ones included."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
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

METRIC = "device.health.metric.raw"
PULSE = "device.health.heartrate.raw"
STEPS = "device.health.steps.raw"
WORKOUT = "device.health.workout.raw"
GPS = "device.sensor.gps.raw"
REPORT = "device.location.report.raw"
KEPT = "device.unrecognized.raw"

RUN_V2: dict[str, Any] = {
    "id": "6F0C1D1E-8A7B-4F7E-9D6A-0B1C2D3E4F50",
    "name": "Outdoor Run",
    "start": "2026-01-15 09:30:00 +0100",
    "end": "2026-01-15 10:02:00 +0100",
    "duration": 1892.4,
    "location": "Outdoor",
    "activeEnergyBurned": {"qty": 1623.4, "units": "kJ"},
    "distance": {"qty": 3.25, "units": "mi"},
    "humidity": {"qty": 61, "units": "%"},
    "activeEnergy": [{"date": "2026-01-15 09:30:00 +0100", "qty": 12.1, "units": "kcal", "source": "Jan's Watch"}],
    "stepCount": [
        {"date": "2026-01-15 09:30:00 +0100", "qty": 160.5, "units": "steps", "source": "Jan's Watch"},
        {"date": "2026-01-15 09:31:00 +0100", "qty": 165.25, "units": "steps", "source": "Jan's Watch"},
    ],
    "heartRateData": [
        {"date": "2026-01-15 09:30:00 +0100", "Min": 120, "Avg": 130, "Max": 141, "units": "bpm"},
        {"date": "2026-01-15 09:31:00 +0100", "Min": 138, "Avg": 146.5, "Max": 158, "units": "bpm"},
    ],
    "route": [
        {
            "latitude": 52.5163, "longitude": 13.3777, "altitude": 34.2, "course": 181.5, "courseAccuracy": 4.5,
            "horizontalAccuracy": 3.2, "verticalAccuracy": 2.1, "timestamp": "2026-01-15 09:30:01 +0100",
            "speed": 2.9, "speedAccuracy": 0.3,
        },
        {
            "latitude": 52.5164, "longitude": 13.3778, "altitude": 34.3, "course": -1, "courseAccuracy": -1,
            "horizontalAccuracy": 3.1, "verticalAccuracy": 2.0, "timestamp": "2026-01-15 09:30:02 +0100",
            "speed": -1, "speedAccuracy": -1,
        },
    ],
}  # fmt: skip
WALK_V1: dict[str, Any] = {
    "name": "Walking",
    "start": "2026-01-14 18:00:00 +0100",
    "end": "2026-01-14 18:30:00 +0100",
    "heartRateData": [{"date": "2026-01-14 18:00:00 +0100", "qty": 95, "units": "count"}],
    "route": [{"lat": 52.5, "lon": 13.4, "altitude": 40.0, "timestamp": "2026-01-14 18:00:05 +0100"}],
    "activeEnergy": {"units": "kcal", "qty": 120.5},
    "maxHeartRate": {"qty": 121, "units": "bpm"},
    "avgHeartRate": {"qty": 101, "units": "bpm"},
    "stepCount": {"qty": 3100, "units": "steps"},
    "distance": {"qty": 2.4, "units": "km"},
    "elevation": {"ascent": 12, "descent": 9, "units": "m"},
}


def metrics(name: str, units: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"metrics": [{"name": name, "units": units, "data": list(entries)}]}}


def sent(service: Service, topic: str, device_id: str) -> list[dict[str, Any]]:
    """The messages of a device on a topic, by their time."""
    messages = [json.loads(record.value) for record in service.records(topic, device_id)]
    return sorted(messages, key=lambda message: message["timestamp"])


async def post(service: Service, export: Any, device_id: str, **headers: str) -> int:
    response = await service.post(f"/api/data?device_id={device_id}", export, **headers)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "success"
    return int(response.json()["records"])


@pytest.fixture
def phone(client: httpx.AsyncClient, producer: MemoryProducer) -> Service:
    """The service in memory: a topic of the broker takes a second to read."""
    return Service(client, producer, "", "")


async def test_the_pulse_goes_to_its_topic_with_its_extremes_beside(phone: Service) -> None:
    entry = {"date": "2026-01-15 08:30:00 +0100", "Min": 64, "Avg": 72.5, "Max": 88, "source": "Jan's Watch|iPhone"}
    dead = {"date": "2026-01-15 08:31:00 +0100", "Min": 0, "Avg": 0.5, "Max": 1}
    export = metrics("heart_rate", "count/min", entry, dead)
    assert await post(phone, export, "hae-1", automation_aggregation="Minutes") == 3
    (pulse,) = sent(phone, PULSE, "hae-1")
    assert (pulse["bpm"], pulse["timestamp"]) == (72, "2026-01-15T07:30:00Z")
    metric, _ = sent(phone, METRIC, "hae-1")
    expected = {"minimum": 64.0, "average": 72.5, "maximum": 88.0, "value": 72.5, "unit": "count/min"}
    assert {name: metric[name] for name in expected} == expected
    assert (metric["source"], metric["interval_seconds"]) == ("Jan's Watch|iPhone", 60.0)


@pytest.mark.parametrize(
    ("aggregation", "seconds", "end"),
    [("", None, "00:00"), ("Minutes", 60.0, "01:00"), ("hours", 3600.0, "00:00"), ("Day", 86400.0, "00:00")],
)
async def test_steps_have_the_stretch_that_they_are_of(
    client: httpx.AsyncClient, producer: MemoryProducer, aggregation: str, seconds: float | None, end: str
) -> None:
    export = metrics("step_count", "count", {"date": "2026-01-15 08:00:00 +0100", "qty": 412.6})
    headers = {"automation-aggregation": aggregation, "automation-name": "hae-2"}
    assert (await client.post("/api/data", json=export, headers=headers)).status_code == 200
    metric, steps = producer.messages
    assert (steps["device_id"], steps["steps"], steps["interval_seconds"]) == ("hae-2", 413, seconds)
    assert steps["timestamp"][14:19] == end
    assert (metric["value"], metric["timestamp"]) == (412.6, "2026-01-15T07:00:00Z")


async def test_steps_of_a_day_that_is_not_over_and_of_a_month_are_a_metric_only(phone: Service) -> None:
    today = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S +0000")
    week = {"date": "2026-01-01 00:00:00 +0100", "qty": 250_000}
    for entry, aggregation in (({"date": today, "qty": 9}, "Days"), (week, "Weeks")):
        await post(phone, metrics("step_count", "count", entry), "hae-3", automation_aggregation=aggregation)
    assert sent(phone, STEPS, "hae-3") == []
    assert [m["value"] for m in sent(phone, METRIC, "hae-3")] == [250_000.0, 9.0]


async def test_a_day_at_the_end_of_time_and_numbers_beyond_all_bounds(phone: Service) -> None:
    entries = [{"date": "9999-12-31 23:00:00 +0000", "qty": 5}, {"date": "2026-01-15", "qty": 10**400}]
    await post(phone, metrics("step_count", "count", *entries), "hae-11", automation_aggregation="Days")
    assert [m["attributes"] for m in sent(phone, METRIC, "hae-11")] == [{"qty": 10**400}]
    assert [m["reason"].partition(":")[0] for m in sent(phone, KEPT, "hae-11")] == [METRIC]
    assert sent(phone, STEPS, "hae-11") == []


async def test_other_metrics_with_all_that_is_said_of_them(phone: Service) -> None:
    at = {"date": "2026-01-15 08:30:00 +0100"}
    export = {
        "data": {
            "metrics": [
                {"name": "blood_pressure", "units": "mmHg", "data": [at | {"systolic": 121, "diastolic": 79}]},
                {"name": "blood_glucose", "units": "mg/dL", "data": [at | {"qty": 98.5, "mealTime": "Before Meal"}]},
                {"name": "body_mass", "units": "kg", "data": [at | {"qty": 71.3, "source": "Scale"}]},
                {"name": "sexual_activity", "units": "count", "data": [at | {"Protection Used": 1, "Unspecified": 0}]},
            ]
        }
    }
    assert await post(phone, export, "hae-4") == 5
    found = {m["metric"]: m for m in sent(phone, METRIC, "hae-4")}
    assert (found["blood_pressure_systolic"]["value"], found["blood_pressure_diastolic"]["value"]) == (121.0, 79.0)
    assert (found["blood_glucose"]["value"], found["blood_glucose"]["attributes"]) == (
        98.5,
        {"mealTime": "Before Meal"},
    )
    assert (found["body_mass"]["unit"], found["body_mass"]["source"]) == ("kg", "Scale")
    assert found["sexual_activity"]["attributes"] == {"Protection Used": 1, "Unspecified": 0}


async def test_sleep_as_a_night_and_as_its_phases(phone: Service) -> None:
    night = {
        "date": "2026-01-15", "totalSleep": 7.2, "asleep": 0, "core": 4.1, "deep": 1.2, "rem": 1.9,
        "sleepStart": "2026-01-14 23:10:00 +0100", "sleepEnd": "2026-01-15 06:40:00 +0100", "inBed": 0,
        "inBedStart": "2026-01-14 23:00:00 +0100", "inBedEnd": "2026-01-15 06:45:00 +0100", "source": "Jan's Watch",
    }  # fmt: skip
    phase = {
        "startDate": "2026-01-15 23:10:00 +0100", "endDate": "2026-01-15 23:40:00 +0100", "qty": 0.5, "value": "Core",
    }  # fmt: skip
    await post(phone, metrics("sleep_analysis", "hr", night, phase), "hae-5")
    whole, core = sent(phone, METRIC, "hae-5")
    assert (whole["timestamp"], whole["interval_seconds"]) == ("2026-01-14T22:10:00Z", 27_000.0)
    assert whole["attributes"] == {name: value for name, value in night.items() if name != "source"}
    assert (core["value"], core["interval_seconds"], core["attributes"]["value"]) == (0.5, 1_800.0, "Core")


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-01-31 08:30:00 +0100", "2026-01-31T07:30:00Z"),
        ("2026-01-31 08:30:00 -0930", "2026-01-31T18:00:00Z"),
        ("2026-01-31T08:30:00Z", "2026-01-31T08:30:00Z"),
        ("2026-01-31 08:30:00", "2026-01-31T08:30:00Z"),
        ("2026-01-31 8:30:00\u202fPM +0100", "2026-01-31T19:30:00Z"),
        ("2026-01-31 12:05:00 a.m. +0000", "2026-01-31T00:05:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("1999-12-31 23:59:59 +0000", "1999-12-31T23:59:59Z"),
        (1_769_848_200, "2026-01-31T08:30:00Z"),
    ],
)
async def test_dates(client: httpx.AsyncClient, producer: MemoryProducer, written: Any, utc: str) -> None:
    await client.post("/api/data", json=metrics("body_mass", "kg", {"date": written, "qty": 71}))
    assert [message["timestamp"] for message in producer.messages] == [utc]
    assert producer.messages[0]["device_id"] == "health_auto_export"


async def test_workouts_of_version_2(phone: Service) -> None:
    assert await post(phone, {"data": {"workouts": [RUN_V2]}}, "hae-6") == 5
    (run,) = sent(phone, WORKOUT, "hae-6")
    assert (run["name"], run["workout_id"], run["location"]) == ("Outdoor Run", RUN_V2["id"], "Outdoor")
    assert (run["timestamp"], run["ended_at"]) == ("2026-01-15T08:30:00Z", "2026-01-15T09:02:00Z")
    assert (run["duration_seconds"], run["distance_m"]) == (1892.4, 5230.368)
    assert (run["active_energy_kcal"], run["steps"], run["route_points"]) == (388.001912, 326, 2)
    assert (run["average_heart_rate_bpm"], run["maximum_heart_rate_bpm"]) == (138.25, 158.0)
    assert run["details"] == {name: value for name, value in RUN_V2.items() if name != "route"}
    first, second = sent(phone, GPS, "hae-6")
    assert (first["latitude"], first["accuracy"], first["heading"], first["speed"]) == (52.5163, 3.2, 181.5, 2.9)
    assert (second["heading"], second["speed"], second["altitude"]) == (None, None, 34.3)
    reports = sent(phone, REPORT, "hae-6")
    assert [(r["vertical_accuracy"], r["speed_accuracy"]) for r in reports] == [(2.1, 0.3), (2.0, None)]


async def test_workouts_of_version_1(phone: Service) -> None:
    assert await post(phone, {"data": {"workouts": [WALK_V1]}}, "hae-7") == 2
    (walk,) = sent(phone, WORKOUT, "hae-7")
    assert (walk["duration_seconds"], walk["distance_m"], walk["steps"]) == (1_800.0, 2_400.0, 3_100)
    assert (walk["average_heart_rate_bpm"], walk["active_energy_kcal"]) == (101.0, 120.5)
    assert walk["details"]["elevation"] == WALK_V1["elevation"]
    assert [(m["latitude"], m["altitude"]) for m in sent(phone, GPS, "hae-7")] == [(52.5, 40.0)]


async def test_other_sections(phone: Service) -> None:
    at = {"start": "2026-01-15 08:30:00 +0100", "end": "2026-01-15 08:31:00 +0100"}
    data = {
        "stateOfMind": [at | {"kind": "momentaryEmotion", "labels": ["calm"], "valence": 0.4}],
        "ecg": [
            at | {"classification": "Sinus Rhythm", "averageHeartRate": 61, "voltageMeasurements": [{"voltage": 1}]}
        ],
        "symptoms": [at | {"name": "Headache", "severity": "Mild", "source": "Health"}],
        "medications": [{"displayText": "Aspirin", "start": at["start"], "dosage": 1, "isArchived": False}],
    }
    assert await post(phone, {"data": data}, "hae-8") == 4
    found = {m["metric"]: m for m in sent(phone, METRIC, "hae-8")}
    assert set(found) == {"state_of_mind", "ecg", "symptoms", "medications"}
    assert (found["ecg"]["value"], found["ecg"]["interval_seconds"]) == (61.0, 60.0)
    assert found["state_of_mind"]["attributes"]["labels"] == ["calm"]


async def test_the_same_export_again_has_the_same_identities(phone: Service) -> None:
    export = metrics("heart_rate", "count/min", {"date": "2026-01-15 08:30:00 +0100", "Avg": 70})
    export["data"]["workouts"] = [RUN_V2]
    for session in ("a", "b"):
        await post(phone, export, "hae-9", session_id=session, automation_id="x")
    for topic in (METRIC, PULSE, WORKOUT, GPS, REPORT):
        messages = sent(phone, topic, "hae-9")
        assert len({(m["timestamp"], m["message_id"]) for m in messages}) == len(messages) / 2


async def test_a_large_export(phone: Service) -> None:
    begin = datetime(2026, 1, 15, tzinfo=UTC)
    entries = [
        {"date": f"{begin + timedelta(seconds=i):%Y-%m-%d %H:%M:%S} +0000", "Min": 60, "Avg": 60 + i % 40, "Max": 99}
        for i in range(2_000)
    ]
    assert await post(phone, metrics("heart_rate", "bpm", *entries), "hae-10") == 4_000
    assert len({m["message_id"] for m in sent(phone, METRIC, "hae-10")}) == 2_000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"metrics,of,csv", "not JSON"),
        (b"[]", "no data"),
        (b'{"data": [1]}', "no data"),
        (b'{"data": {"metrics": {"a": 1}}}', "no list"),
        (b'{"data": {"metrics": [5]}}', "no object"),
        (b'{"data": {"metrics": [{"name": "x", "data": 7}]}}', "another shape"),
        (b'{"data": {"metrics": [{"name": "x", "data": [{"qty": 1}]}]}}', "without a time"),
        (b'{"data": {"workouts": [{"name": "Run"}]}}', "without a start"),
        (b'{"data": {"ecg": [{"classification": "x"}]}}', "without a time"),
        (b'{"data": {}, "more": 1}', "no part"),
        (b'{"data": {"metrics": [{"name": "x", "data": [{"date": "2999-01-01", "qty": 1}]}]}}', "must be within"),
    ],
)
async def test_what_cannot_be_read_is_kept(
    client: httpx.AsyncClient, producer: MemoryProducer, body: bytes, says: str
) -> None:
    response = await client.post("/api/data", content=body)
    assert response.json() == {"status": "success", "records": 1}
    (kept,) = producer.messages
    assert says in kept["reason"]


async def test_what_is_no_json_by_its_own_account_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/data", files={"file": ("export.csv", b"a,b")})
    assert (response.status_code, response.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_an_export_that_is_stored_nowhere_is_no_success(
    client: httpx.AsyncClient, producer: MemoryProducer
) -> None:
    producer.failure = BrokerUnavailableError("away")
    response = await client.post("/api/data", json={"data": {"workouts": [WALK_V1]}})
    assert (response.status_code, response.json()["code"]) == (503, "KAFKA_UNAVAILABLE")


async def test_a_record_too_large_for_the_broker_is_kept_in_pieces(producer: MemoryProducer) -> None:
    app = create_app(Settings(max_import_body_bytes=32 * 1024 * 1024), producer)
    ecg = {"start": "2026-01-15 08:30:00 +0100", "notes": "x" * (9 * 1024 * 1024)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http:
        assert (await http.post("/api/data", json={"data": {"ecg": [ecg]}})).status_code == 200
    assert "piece 1 of 10" in producer.messages[0]["reason"]
    assert json.loads("".join(message["body"] for message in producer.messages)) == {"ecg": [ecg]}


@cache
def any_app() -> tuple[MemoryProducer, Any]:
    """One app for all examples: to build one takes longer than to ask it."""
    producer = MemoryProducer()
    return producer, create_app(Settings(), producer)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = ["date", "qty", "Avg", "Min", "source", "systolic", "diastolic", "startDate", "endDate", "value", "extra"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["heart_rate", "step_count", "blood_pressure", "sleep_analysis"]) | values,
    entry=st.dictionaries(st.sampled_from(names), values),
    workout=st.dictionaries(st.sampled_from([*RUN_V2, "heartRate", "metadata"]), values),
    point=st.dictionaries(st.sampled_from([*RUN_V2["route"][0], "lat"]), values),
    section=st.dictionaries(st.sampled_from(["metrics", "symptoms", "other"]), values, max_size=1),
)
async def test_any_export_is_stored(
    name: Any, entry: dict[str, Any], workout: dict[str, Any], point: dict[str, Any], section: dict[str, Any]
) -> None:
    """Whatever comes in place of whatever value: success, and the value is in some record."""
    producer, app = any_app()
    producer.records.clear()
    whole = {"date": "2026-01-15 08:30:00 +0100", "qty": 5} | entry
    route = [RUN_V2["route"][0] | point]
    data: dict[str, Any] = {"metrics": [{"name": name, "units": "count/min", "data": [whole]}]}
    data |= {"workouts": [RUN_V2 | {"route": route} | workout]} | section
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as http:
        response = await http.post("/api/data", content=json.dumps({"data": data}))
    assert response.status_code == 200, response.text
    stored = " ".join(json.dumps(message, ensure_ascii=False) for message in producer.messages)
    changed = [*workout.values(), *section.values()]
    changed += [name, *entry.values()] if "metrics" not in section else []
    changed += point.values() if "route" not in workout else []
    texts = {value for value in changed if isinstance(value, str) and value.isalpha()}
    assert {text for text in texts if text not in stored} == set()
