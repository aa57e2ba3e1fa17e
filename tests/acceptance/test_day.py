"""A person's first minutes: up, a day from their phone, rows explained in Dagster, yesterday again, down.

Only public interfaces are used: the `loom` command, the HTTP API, the tables, and the Dagster webserver's GraphQL,
which is what its pages call.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]
LOOM = str(Path(__file__).parents[2] / ".venv/bin/loom")

BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename ... on PartitionBackfill { status } } }
"""
PARTITIONS = """
query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename ... on AssetNode {
  assetPartitionStatuses { __typename ... on TimePartitionStatuses { ranges { status startKey endKey } } }
  latestMaterialization: assetMaterializations(limit: 20) { partition metadataEntries { label } } } } }
"""


@dataclass
class Installation:
    """A running platform of this test's own."""

    environment: dict[str, str]
    status: dict[str, Any]

    def loom(self, *words: str, timeout: float = 180) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [LOOM, *words], env=self.environment, check=False, capture_output=True, text=True, timeout=timeout
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.status["database_url"], autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def graphql(self, query: str, **variables: object) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.status['dagster_url']}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    directory = Path(tempfile.mkdtemp(prefix="loom-acceptance-"))
    directory.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOOM_", "DAGSTER_"))}
    environment |= {"LOOM_DATA_DIR": str(directory / "data"), "LOOM_STREAM_IDLE_TIMEOUT_SECONDS": "20", "NO_COLOR": "1"}
    before = set(psutil.pids())
    try:
        up = subprocess.run([LOOM, "up"], env=environment, check=False, capture_output=True, text=True, timeout=240)
        assert up.returncode == 0, up.stdout + up.stderr
        status = subprocess.run([LOOM, "status", "--json"], env=environment, check=True, capture_output=True, text=True)
        yield Installation(environment, json.loads(status.stdout))
    finally:
        down = subprocess.run([LOOM, "down"], env=environment, check=False, capture_output=True, text=True, timeout=120)
        left = [
            p.cmdline() for p in psutil.process_iter() if p.pid not in before and str(directory) in " ".join(_words(p))
        ]
        shutil.rmtree(directory, ignore_errors=True)
    assert down.returncode == 0, down.stdout + down.stderr
    assert left == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def eventually(what: str, condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.5)


def test_a_day_becomes_rows_with_their_lineage_and_yesterday_can_be_computed_again(
    installation: Installation, tmp_path: Path
) -> None:
    assert installation.status["ready"]
    assert {s["state"] for s in installation.status["services"]} == {"ready"}

    # A place, so that there is something to be in.
    added = installation.loom(
        "georegions",
        "add",
        "everywhere",
        "--kind",
        "custom",
        "--latitude",
        "46.0",
        "--longitude",
        "11.0",
        "--radius",
        "100000",
    )
    assert added.returncode == 0, added.stdout + added.stderr

    log = tmp_path / "accepted.jsonl"
    demo = installation.loom("demo", "--speed", "0", "--hours", "1", "--rate", "0.02", "--log", str(log), "--json")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    accepted = [json.loads(line) for line in log.read_text().splitlines()]
    assert accepted

    eventually("every stage has caught up", lambda: _caught_up(installation), 120)

    # Acknowledged is stored, each once.
    stored = {
        table: {str(r[0]) for r in installation.rows(f"SELECT message_id FROM {table}")}
        for table in {a["topic"].replace(".", "_") for a in accepted}
    }
    for table, ids in stored.items():
        assert {a["message_id"] for a in accepted if a["topic"].replace(".", "_") == table} == ids, table
    assert installation.rows("SELECT count(*) FROM processing_errors") == [(0,)]

    # Every derived row leads back to a raw one.
    for derived, raw in (
        ("location_georegion_detected", "device_sensor_gps_raw"),
        ("device_sensor_accelerometer_windowed", "device_sensor_accelerometer_raw"),
    ):
        ((count, orphans),) = installation.rows(
            f"SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM {raw} r WHERE r.message_id = "
            f"d.source_message_id)) FROM {derived} d"
        )
        assert count > 0, derived
        assert orphans == 0, derived

    # Dagster shows it: materialized days, with numbers.
    key = {"path": ["location", "georegion", "detected"]}
    eventually("days are materialized", lambda: _materialized(installation, key), 60)
    events = installation.graphql(PARTITIONS, key=key)["assetNodeOrError"]["latestMaterialization"]
    assert {"rows", "version"} <= {entry["label"] for entry in events[0]["metadataEntries"]}

    # Yesterday again, as the button of the page does it.
    day = str(installation.rows("SELECT min((timestamp AT TIME ZONE 'UTC')::date) FROM device_sensor_gps_raw")[0][0])
    answers = "SELECT message_id FROM location_georegion_detected_current ORDER BY 1"
    before = installation.rows(answers)
    config = {"ops": {"sensors_stages": {"config": {"anew": True}}}}
    params = {"assetSelection": [key], "partitionNames": [day], "runConfigData": config}
    launched = installation.graphql(BACKFILL, params=params)
    assert launched["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", launched
    backfill = launched["launchPartitionBackfill"]["backfillId"]

    def status() -> str:
        return str(installation.graphql(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    eventually("the backfill has ended", lambda: status() not in ("REQUESTED", "COMPLETING"), 120)
    assert status() in ("COMPLETED", "COMPLETED_SUCCESS")
    assert installation.rows(answers) == before

    lag = installation.loom("lag", "--json")
    assert lag.returncode == 0, lag.stderr


def _caught_up(installation: Installation) -> bool:
    lag = installation.loom("lag", "--json")
    assert lag.returncode == 0, lag.stdout + lag.stderr
    body = json.loads(lag.stdout)
    stages = body["stages"] if isinstance(body, dict) and "stages" in body else body
    return all(s["messages"] == 0 for s in stages)


def _materialized(installation: Installation, key: dict[str, list[str]]) -> bool:
    node = installation.graphql(PARTITIONS, key=key)["assetNodeOrError"]
    return any(r["status"] == "MATERIALIZED" for r in node["assetPartitionStatuses"]["ranges"])
