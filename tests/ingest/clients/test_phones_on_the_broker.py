"""Overland, Health Auto Export and the companion app against a running service, its broker and its database."""

import json
from typing import Any

import httpx
import pytest

from tests.ingest.clients.test_health_export import RUN_V2, metrics
from tests.ingest.clients.test_homeassistant import REGISTRATION
from tests.ingest.clients.test_overland import point
from tests.ingest.conftest import read_topic
from tests.ingest.server import live_server

pytestmark = pytest.mark.integration


def post(url: str, body: Any) -> httpx.Response:
    return httpx.post(url, json=body, timeout=30)


def test_what_phones_send_is_stored_once_each(bootstrap_servers: str, ingest_prefix: str, database_url: str) -> None:
    points = [point("broker-1", f"2026-01-15T08:{i // 60:02}:{i % 60:02}Z") for i in range(1_000)]
    batch = {"locations": [*points, point("broker-1", action="visit"), {"properties": 1}]}
    export = metrics("heart_rate", "bpm", {"date": "2026-01-15 08:30:00 +0100", "Avg": 70}, {"date": "never"})
    export["data"]["workouts"] = [RUN_V2]
    update = {"type": "update_location", "data": {"gps": [52.5, 13.4], "gps_accuracy": 8}}
    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix, database_url=database_url) as server:
        assert post(f"{server.url}/overland", batch).content == b'{"result":"ok"}'
        assert post(f"{server.url}/api/data?device_id=broker-2", export).json()["records"] == 8
        answer = post(f"{server.url}/api/mobile_app/registrations?device_id=broker-3", REGISTRATION).json()
        assert post(f"{server.url}/api/webhook/{answer['webhook_id']}", update).content == b"{}"
        log = server.log.read_text()
    assert answer["webhook_id"] not in log

    def sent(topic: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {f"broker-{n}": [] for n in (1, 2, 3)}
        for record in read_topic(bootstrap_servers, f"{ingest_prefix}.{topic}"):
            found[record.key.decode()].append(json.loads(record.value))
        return found

    fixes = sent("device.sensor.gps.raw")
    assert {device: len({m["message_id"] for m in fixes[device]}) for device in fixes} == {
        "broker-1": 1_000, "broker-2": 2, "broker-3": 1,
    }  # fmt: skip
    assert [m["latitude"] for m in sent("device.location.visit.raw")["broker-1"]] == [37.3318]
    assert [m["client"] for m in sent("device.unrecognized.raw")["broker-2"]] == ["health_auto_export"]
