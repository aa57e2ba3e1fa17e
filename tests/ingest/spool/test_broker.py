"""With the real broker: it is killed, stopped and started under load, the service too; none is lost or stored twice."""

import json
import signal
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.registry import LANDED
from loom_models.landing import landing_stage
from loom_platform.stream.api import StreamConfig, run_stream
from loom_platform.topics import create_topics
from tests.ingest.conftest import read_topic
from tests.ingest.own_broker import OwnBroker
from tests.ingest.server import LiveServer, live_server, wait_for
from tests.ingest.spool.load import Load

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(300)]

GPS = {"device_id": "phone-001", "latitude": 1.5, "longitude": 2.5}


def state(server: LiveServer) -> tuple[int, str]:
    answer = httpx.get(f"{server.url}/readyz", timeout=20)
    return answer.status_code, answer.json()["state"]


def test_acknowledged_is_a_subset_of_stored(own_broker: OwnBroker, tmp_path: Path, database_url: str) -> None:
    own_broker.start()
    servers = own_broker.kafka.bootstrap_servers
    create_topics(servers, topics=LANDED)
    settings: dict[str, Any] = {
        "spool_dir": tmp_path / "spool",
        "kafka_delivery_timeout_ms": 2000,
        "database_url": database_url,
    }
    with ExitStack() as stack:
        server = stack.enter_context(live_server(servers, **settings))
        wait_for(lambda: state(server) == (200, "direct"), "the broker", 30)
        load = stack.enter_context(Load(server.url, devices=8))

        def goes_on(more: int) -> None:
            target = load.acknowledged + more
            wait_for(lambda: load.acknowledged >= target, f"{more} acknowledgements", 30)

        goes_on(100)
        # The broker is killed: the load goes on.
        own_broker.kill()
        goes_on(100)
        wait_for(lambda: state(server) == (200, "spooling"), "the service to notice", 30)
        goes_on(300)
        # The service is killed too, and started again.
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)
        server = stack.enter_context(live_server(servers, **settings))
        load.url = server.url
        goes_on(200)
        assert state(server) == (200, "spooling")
        own_broker.start()
        wait_for(lambda: state(server) == (200, "direct"), "the spool to be drained", 60)
        goes_on(100)
        # The broker is stopped: its connections stay open and nothing answers.
        own_broker.signal(signal.SIGSTOP)
        wait_for(lambda: state(server) == (200, "spooling"), "the service to notice", 30)
        goes_on(200)
        own_broker.signal(signal.SIGCONT)
        wait_for(lambda: state(server) == (200, "direct"), "the spool to be drained", 60)
        goes_on(100)
        load.end()
        wait_for(lambda: state(server) == (200, "direct"), "the spool to be drained", 30)
        assert "Traceback" not in server.log.read_text()
    assert load.refused == {}
    assert load.told == load.sent

    records = read_topic(servers, GPS_RAW.name)
    once: dict[bytes, dict[str, None]] = {}
    for record in records:
        once.setdefault(record.key, {})[json.loads(record.value)["message_id"]] = None
    # In the order of each device.
    assert {key.decode(): list(ids) for key, ids in once.items()} == load.sent

    config = StreamConfig(database_url, servers, idle_timeout=timedelta(seconds=2))
    run_stream([landing_stage(GPS_RAW)], config, on_report=lambda _: None, stop=threading.Event())
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT device_id, message_id::text FROM device_sensor_gps_raw").fetchall()
    assert sorted(rows) == sorted((device, each) for device, ids in load.sent.items() for each in ids)


def test_full_and_drained_by_the_next_process(own_broker: OwnBroker, tmp_path: Path, database_url: str) -> None:
    own_broker.start()
    servers = own_broker.kafka.bootstrap_servers
    create_topics(servers, topics=LANDED)
    own_broker.kill()
    settings: dict[str, Any] = {
        "spool_dir": tmp_path / "spool",
        "spool_max_bytes": 40_000,
        "database_url": database_url,
    }
    told = []
    with live_server(servers, **settings) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        while (answer := client.post("/sensor/gps", json=GPS)).status_code == 201:
            told.append(answer.json()["message_id"])
        assert len(told) > 20
        assert (answer.status_code, answer.json()["code"]) == (503, "KAFKA_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) > 0
        assert state(server) == (503, "full")
        assert client.get("/healthz").status_code == 200
    # It ends with the spool as it is, and the next one drains it.
    assert server.process.returncode == 0
    own_broker.start()
    with live_server(servers, **settings) as server:
        wait_for(lambda: state(server) == (200, "direct"), "the spool to be drained", 60)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert f"spool_drained_total {len(told)}.0" in metrics
        assert "spool_records 0.0" in metrics
    assert [json.loads(r.value)["message_id"] for r in read_topic(servers, GPS_RAW.name)] == told


def test_a_service_whose_spool_cannot_be_used_says_so_and_ends() -> None:
    with (
        pytest.raises(RuntimeError, match="LOOM_SPOOL_DIR=/proc/nowhere cannot be used"),
        live_server("127.0.0.1:1", spool_dir="/proc/nowhere"),
    ):
        pass
