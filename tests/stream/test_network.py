"""The network flow through the engine: late records amend, fixes wake, a recompute agrees."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from loom_contracts.payloads.network import BluetoothScan, WifiState
from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW, WIFI_RAW
from loom_models.landing import landing_stage
from loom_models.stages.bluetooth_enriched import BLUETOOTH_ENRICHER
from loom_models.stages.bluetooth_presence import BLUETOOTH_PRESENCE
from loom_models.stages.network_stays import NETWORK_STAYS
from loom_models.stages.wifi_enriched import WIFI_ENRICHER
from loom_platform.lineage.explain import explain
from loom_platform.stream.api import recompute
from tests.stream.bench import NOW, Bench

pytestmark = pytest.mark.integration
STAGES = (landing_stage(GPS_RAW), landing_stage(WIFI_RAW), landing_stage(BLUETOOTH_RAW))
ENRICHING = (WIFI_ENRICHER, NETWORK_STAYS, BLUETOOTH_ENRICHER, BLUETOOTH_PRESENCE)
_WIFI = "SELECT event, network, latitude FROM device_network_wifi_enriched_current ORDER BY timestamp"
_STAYS = "SELECT network, duration_seconds / 60 FROM location_network_detected_current ORDER BY timestamp"
_NEAR = "SELECT address, duration_seconds / 60 FROM device_network_bluetooth_detected_current ORDER BY timestamp"


def envelope(minutes: float) -> dict[str, Any]:
    return {
        "message_id": UUID(int=int(minutes * 100) + 10**9),
        "device_id": "phone-001",
        "timestamp": NOW - timedelta(hours=3) + timedelta(minutes=minutes),
    }


def state(minutes: float, network: str | None) -> WifiState:
    return WifiState(**envelope(minutes), connected=network is not None, ssid=network)


def test_the_flow(bench: Bench) -> None:
    bench.prepare(*STAGES, *ENRICHING)
    bench.send(WIFI_RAW, state(0, "home"), state(5, "home"), state(60, None))
    watch = {"address": "aa:01", "name": "watch", "paired": True}
    bench.send(BLUETOOTH_RAW, *(BluetoothScan.model_validate(envelope(m) | {"devices": [watch]}) for m in (0, 10, 20)))
    bench.drain(*STAGES, *ENRICHING)
    assert bench.rows(_WIFI) == [("connected", "home", None), ("stays", "home", None), ("disconnected", None, None)]
    assert bench.rows(_STAYS) == [("home", 60.0)]
    assert bench.rows(_NEAR) == [("aa:01", 20.0)]
    assert bench.rows("SELECT arrived_count, connected_names FROM device_network_bluetooth_enriched_current") == [
        (1, []),
        (0, []),
        (0, []),
    ]

    bench.send(WIFI_RAW, state(30, "cafe"))
    bench.send(GPS_RAW, GpsFix(**envelope(29), latitude=47.0, longitude=8.0, accuracy=5.0))
    bench.drain(*STAGES, *ENRICHING)
    bench.run(*STAGES, *ENRICHING)
    assert bench.rows(_STAYS) == [("home", 30.0), ("cafe", 30.0)]
    assert bench.rows(_WIFI)[2:] == [("switched", "cafe", 47.0), ("disconnected", None, None)]
    assert bench.rows("SELECT count(*) FROM location_network_detected WHERE superseded_at IS NOT NULL") == [(1,)]

    with psycopg.connect(bench.owner_url, autocommit=True) as connection:
        for stage in ENRICHING:
            for (message_id,) in bench.rows(f"SELECT message_id FROM {stage.sinks[0].table.name}_current"):
                made_from = explain(connection, message_id).up.children
                assert len(made_from) == 1
                down = explain(connection, made_from[0].message_id, topic=stage.source).down
                assert message_id in {child.message_id for child in down.children}

    before = standing(bench)
    day = (NOW - timedelta(hours=3)).date()
    for stage in ENRICHING:
        recompute(stage, day, day, bench.config, on_report=lambda _: None, stop=threading.Event(), anew=True)
    assert standing(bench) == before


def standing(bench: Bench) -> list[tuple[Any, ...]]:
    tables = [sink.table.name for stage in ENRICHING for sink in stage.sinks]
    return [row for table in tables for row in bench.rows(f"SELECT message_id FROM {table}_current ORDER BY 1")]
