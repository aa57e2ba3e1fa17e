"""`loom up` and `down` through the command, with the real services: crashes, restarts and leftovers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from loom_platform.embedded.process import free_port
from loom_platform.supervise import instance
from loom_platform.supervise.config import fingerprint
from loom_platform.supervise.endpoints import PORTS
from loom_platform.supervise.services import REPOSITORY

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

SERVICES = {"postgres", "kafka", "ingest", "code-server", "dagster-webserver", "dagster-daemon"}


@dataclass(frozen=True)
class Loom:
    """The `loom` command on a data directory of its own."""

    data_dir: Path
    environment: dict[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "loom_platform.cli.main", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=200, check=False)
        assert result.returncode == 0 or not check, result.stdout + result.stderr
        return result

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run("status", "--json", check=False).stdout)
        return told

    def pids(self) -> dict[str, int]:
        return {s["name"]: s["pid"] for s in self.status()["services"]}

    def processes(self) -> list[psutil.Process]:
        return instance.find(self.data_dir)


@pytest.fixture
def loom(server_dir: Path, request: pytest.FixtureRequest) -> Iterator[Loom]:
    data_dir = server_dir / request.node.name
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOOM_")}
    cache = {"LOOM_CACHE_DIR": os.environ["LOOM_CACHE_DIR"]} if "LOOM_CACHE_DIR" in os.environ else {}
    # not the defaults, which another platform on this machine may be about to take
    ports = {f"LOOM_{name.upper()}": str(free_port()) for name in PORTS}
    loom = Loom(data_dir, environment | cache | ports | {"LOOM_DATA_DIR": str(data_dir)})
    yield loom
    loom.run("down", check=False)
    instance.end(loom.processes())


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def send_fix(loom: Loom) -> None:
    body = {"device_id": "acceptance-phone", "latitude": 47.4, "longitude": 8.5, "accuracy": 5.0}
    answer = httpx.post(loom.status()["ingest_url"] + "/sensor/gps", json=body, trust_env=False)
    assert answer.status_code == 201, answer.text


def fixes(loom: Loom) -> int:
    with psycopg.connect(loom.status()["database_url"]) as connection:
        row = connection.execute("select count(*) from device_sensor_gps_raw").fetchone()
    assert row is not None
    return int(row[0])


def test_up_survives_crashes_and_down_leaves_nothing(loom: Loom) -> None:
    assert "Loom is ready" in loom.run("up").stdout

    status = loom.status()
    assert status["ready"] is True
    assert set(status) == {
        *("ready", "services", "ingest_url", "dagster_url", "database_url", "kafka_bootstrap_servers"),
    }
    assert {s["name"] for s in status["services"]} == SERVICES
    assert all(set(s) == {"name", "state", "pid", "url"} for s in status["services"])
    assert {s["state"] for s in status["services"]} == {"ready"}
    assert httpx.get(status["dagster_url"] + "/server_info", trust_env=False).status_code == 200

    private = ("run", "logs", "dagster", "kafka", "blobs", "spool", "postgres/data")
    assert [n for n in private if (loom.data_dir / n).stat().st_mode & 0o077] == []

    # a record goes all the way
    send_fix(loom)
    eventually(lambda: fixes(loom) == 1)

    # up again changes nothing
    pids, code = loom.pids(), fingerprint(REPOSITORY)
    loom.run("up")
    if fingerprint(REPOSITORY) == code:  # someone who edits while this runs has the services started anew
        assert loom.pids() == pids
    pids = loom.pids()

    # a child that dies comes back
    os.kill(pids["ingest"], signal.SIGKILL)
    eventually(lambda: loom.status()["ready"] and loom.pids()["ingest"] != pids["ingest"])
    assert {n: p for n, p in loom.pids().items() if n != "ingest"} == {n: p for n, p in pids.items() if n != "ingest"}

    # without its supervisor the platform is not ready, and up mends it
    supervisor = int((loom.data_dir / "run/supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(supervisor))
    assert loom.run("status", check=False).returncode == 1
    assert loom.processes()
    loom.run("up")
    assert loom.status()["ready"] is True
    assert not set(pids.values()) & set(loom.pids().values())
    assert fixes(loom) == 1
    send_fix(loom)
    # a run that was killed holds its stages until its lease is found to be gone
    eventually(lambda: fixes(loom) == 2, 120)

    loom.run("down")
    assert loom.processes() == []
    assert {s["state"] for s in loom.status()["services"]} == {"stopped"}
    assert "was not running" in loom.run("down").stdout
    assert "Started server process" in loom.run("logs", "ingest").stdout
    loom.run("clean", "--yes")
    assert not (loom.data_dir / "postgres").exists()


def test_foreground_with_external_servers_ends_at_ctrl_c(
    loom: Loom, server_url: str, bootstrap_servers: str, topic_prefix: str
) -> None:
    url = server_url.rpartition("/")[0]
    external = {
        "LOOM_DATABASE_URL": f"{url}/{topic_prefix}",
        "LOOM_DAGSTER_DATABASE_URL": f"{url}/{topic_prefix}_dagster",
        "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "LOOM_KAFKA_TOPIC_PREFIX": topic_prefix,
    }
    loom = Loom(loom.data_dir, loom.environment | external)
    command = [sys.executable, "-m", "loom_platform.cli.main", "up", "--foreground"]
    with subprocess.Popen(command, env=loom.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: loom.status()["ready"], 120)
            names = {p.name() for p in loom.processes()}
            assert not names & {"java", "postgres"}
            assert {s["name"] for s in loom.status()["services"] if s["pid"] is None} == {"postgres", "kafka"}
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert loom.processes() == []
    assert not (loom.data_dir / "postgres").exists()


def test_an_explicit_port_that_is_taken_stops_up_before_it_starts(loom: Loom) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = Loom(loom.data_dir, loom.environment | {"LOOM_PORT": port}).run("up", check=False)
    assert result.returncode == 1
    assert f"LOOM_PORT={port}: something else listens there" in result.stderr
    assert loom.processes() == []


def test_an_external_broker_that_is_away_is_named(loom: Loom, server_url: str, topic_prefix: str) -> None:
    url = f"{server_url.rpartition('/')[0]}/{topic_prefix}"
    settings = {"LOOM_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "LOOM_DATABASE_URL": url}
    result = Loom(loom.data_dir, loom.environment | settings).run("up", check=False)
    assert result.returncode == 1
    assert "nothing answers at LOOM_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1" in result.stderr
    assert "loom down" in result.stderr


def test_doctor_names_a_variable_that_is_none(loom: Loom) -> None:
    result = Loom(loom.data_dir, loom.environment | {"LOOM_PROT": "8001"}).run("doctor", check=False)
    assert "LOOM_PROT" in result.stdout
