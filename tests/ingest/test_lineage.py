"""`GET /lineage` over a real database: trees, the newest row, whose rows, what is wrong, and as the ingest role."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from loom_contracts.lineage import explained
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_ingest.lineage import reading
from tests.ingest.access.harness import OTHER, OWN, bearer, make
from tests.ingest.access.harness import serving as serving_with_keys
from tests.ingest.test_devices import serving

pytestmark = pytest.mark.integration

# not a random one: the tests' names must be the same in every worker
UNKNOWN = UUID("00000000-0000-4000-8000-000000000000")

AT = datetime(2026, 11, 19, 12, tzinfo=UTC)
_SAMPLE = """
INSERT INTO device_sensor_accelerometer_raw (timestamp, message_id, device_id, schema_version, trace_id, x, y, z,
    kafka_partition, kafka_offset, received_at) VALUES (%s, %s, %s, '1.0', 'trace-1', 0, 0, 9.81, 2, %s, %s)
"""
_NUMBERS = (
    "rate_hz",
    *(f"{n}_{what}_mps2" for what in ("mean", "std", "min", "max") for n in ("x", "y", "z", "magnitude")),
)
_WINDOW = f"""
INSERT INTO device_sensor_accelerometer_windowed (timestamp, message_id, device_id, schema_version, source_message_id,
    stage, stage_version, window_end, window_ms, sample_count, dynamic_rms_mps2, run_id, {", ".join(_NUMBERS)})
VALUES (%s, %s, %s, '1.0', %s, 'accelerometer-window', '1', %s, 5000, 30, 0, 'run-7',
    {", ".join("0" for _ in _NUMBERS)})
"""


def filled(database_url: str, device: str = OWN) -> tuple[UUID, list[UUID]]:
    """A window of thirty samples: its identity and theirs."""
    window, samples = uuid4(), [uuid4() for _ in range(30)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in ("device_sensor_accelerometer_raw", "device_sensor_accelerometer_windowed"):
            connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table, AT.date(), AT.date()))
        for n, sample in enumerate(samples):
            moment = AT + timedelta(milliseconds=100 * n)
            connection.execute(_SAMPLE, (moment, sample, device, n, moment))
        connection.execute(_WINDOW.encode(), (AT, window, device, samples[-1], AT + timedelta(seconds=5)))
    return window, samples


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database_url) as client:
        yield client


async def test_up_to_the_raw_events_and_down_again(client: httpx.AsyncClient, database_url: str) -> None:
    window, samples = filled(database_url)
    answer = (await client.get(f"/lineage/{window}")).json()
    up = answer["from"]
    told = {k: up[k] for k in ("topic", "device_id", "stage", "stage_version", "run_id", "shown")}
    assert told == {
        "topic": "device.sensor.accelerometer.windowed",
        "device_id": OWN,
        "stage": "accelerometer-window",
        "stage_version": "1",
        "run_id": "run-7",
        "shown": True,
    }
    assert [row["message_id"] for row in up["from"]] == [str(s) for s in samples[:20]]
    assert up["more"] == {"device.sensor.accelerometer.raw": 10}
    first = up["from"][0]
    assert (first["kafka_partition"], first["kafka_offset"], first["trace_id"]) == (2, 0, "trace-1")
    assert "x" not in first, "where it came from, not what it says"
    assert answer["to"]["to"] == []

    where = {"topic": "device.sensor.accelerometer.raw", "day": "2026-11-19"}
    answer = (await client.get(f"/lineage/{samples[7]}", params=where)).json()
    assert [row["message_id"] for row in answer["to"]["to"]] == [str(window)]
    assert answer["from"]["from"] == []


async def test_the_newest_of_a_topic_and_day(client: httpx.AsyncClient, database_url: str) -> None:
    window, samples = filled(database_url)
    raw, windowed = "device.sensor.accelerometer.raw", "device.sensor.accelerometer.windowed"
    found = [
        (await client.get("/lineage/latest", params=where)).json()["from"]["message_id"]
        for where in ({"topic": windowed}, {"topic": raw}, {"topic": raw, "day": "2026-11-19"})
    ]
    assert found == [str(window), str(samples[-1]), str(samples[-1])]
    nothing = await client.get("/lineage/latest", params={"topic": raw, "day": "2026-11-18"})
    assert (nothing.status_code, nothing.json()["code"]) == (404, "ROW_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "status", "code", "named"),
    [
        (f"/lineage/{UNKNOWN}", 404, "ROW_NOT_FOUND", "it may not be landed yet"),
        ("/lineage/thing", 422, "INVALID_VALUE", "message_id"),
        (f"/lineage/{UNKNOWN}?topic=device.gps", 422, "INVALID_VALUE", "there is no topic 'device.gps'"),
        (f"/lineage/{UNKNOWN}?day=yesterday", 422, "INVALID_VALUE", "day"),
        (f"/lineage/{UNKNOWN}?topic=device.sensor.gps.raw&day=9999-12-31", 404, "ROW_NOT_FOUND", "on 9999-12-31"),
        (f"/lineage/{UNKNOWN}?topic=device.sensor.gps.raw&day=0001-01-01", 404, "ROW_NOT_FOUND", "on 0001-01-01"),
        ("/lineage/latest", 422, "MISSING_FIELD", "topic"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, path: str, status: int, code: str, named: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert named in answer.text


async def test_a_search_ends_and_says_how_it_is_shorter(
    client: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST_SECONDS", 0.2)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "SELECT loom_ensure_partitions('location_georegion_detected', current_date, current_date)"
        )
        await connection.commit()
        await connection.execute("LOCK TABLE location_georegion_detected")
        answer = await client.get(f"/lineage/{uuid4()}")
    assert answer.status_code == 422
    assert "?topic=" in answer.json()["message"]
    assert (await client.get(f"/lineage/{uuid4()}?topic=media.audio.vad_filtered")).status_code == 404, "it goes on"


async def test_whose_rows_a_key_may_see(database_url: str) -> None:
    window, _ = filled(database_url, OWN)
    async with serving_with_keys(database_url) as served:
        read, own, other = [await make(database_url, "read", devices=devices) for devices in (None, [OWN], [OTHER])]
        answers = [await served.http.get(f"/lineage/{window}", headers=bearer(key)) for key in (read, own, other, None)]
        assert [a.status_code for a in answers] == [200, 200, 403, 401]
        newest = "/lineage/latest?topic=device.sensor.accelerometer.windowed"
        answers = [await served.http.get(newest, headers=bearer(key)) for key in (own, other)]
        assert [a.status_code for a in answers] == [200, 404], "nothing is told of another device"
        ingest = await make(database_url, "ingest")
        assert (await served.http.get(f"/lineage/{window}", headers=bearer(ingest))).status_code == 403


def test_the_ingest_role_may_read_what_explains_and_no_more(database_url: str) -> None:
    may = "SELECT has_column_privilege('loom_ingest', %s, %s, 'SELECT')"
    with psycopg.connect(database_url, autocommit=True) as connection:
        for topic in (*DERIVED, *LANDED):
            table = topic.table
            lacking = [c for c in explained(topic) if connection.execute(may, (table.name, c)).fetchone() != (True,)]
            assert lacking == [], table.name
        assert connection.execute(may, ("device_sensor_gps_raw", "latitude")).fetchone() == (False,)


async def test_many_at_once_take_turns(client: httpx.AsyncClient, database_url: str) -> None:
    window, _ = filled(database_url)
    answers: list[Any] = await asyncio.gather(*(client.get(f"/lineage/{window}") for _ in range(20)))
    assert {a.status_code for a in answers} == {200}
