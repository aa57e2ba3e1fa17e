"""What Dagster sees of Loom, and that seeing it takes nothing but Python."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED, AUDIO_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.flows import FLOWS, STAGES
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.groups import groups_of, topological
from loom_platform.orchestration.specs import asset_key

ROOT = Path(__file__).parents[2]

_FRESH = """
import socket, sys

def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
socket.socket.connect = socket.create_connection = lambda *a, **k: refuse("socket.connect", a)
from loom_platform.orchestration.definitions import defs
from dagster import Definitions
Definitions.validate_loadable(defs)
print(len(list(defs.get_repository_def().get_all_jobs())))
assert not any(name.startswith(("torch", "onnxruntime_", "psycopg_pool")) for name in sys.modules)
"""


def test_loads_in_a_fresh_interpreter_without_network_or_settings() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOOM_", "DAGSTER_"))}
    # Values that no setting can have: whoever read them would fail.
    environment |= {"LOOM_DATABASE_URL": "not a url", "LOOM_KAFKA_BOOTSTRAP_SERVERS": "!", "LOOM_PORT": "none"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FRESH], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs()


def test_every_sink_of_every_stage_is_an_asset_told_in_full(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for flow in FLOWS:
        for stage in flow.stages:
            for sink in stage.sinks:
                node = graph.get(asset_key(sink))
                assert node.key.path == list(sink.parts)
                assert node.group_name == flow.name.replace("-", "_")
                assert node.owners == ["team:loom"]
                assert node.kinds >= {"postgres"}
                assert sink.description in (node.description or "")
                assert node.code_version == stage.version
                schema = node.metadata["dagster/column_schema"]
                assert [c.name for c in schema.columns] == [c.name for c in sink.table.columns]
                references = node.metadata["dagster/code_references"].code_references
                assert references
                assert all(Path(r.file_path).is_file() for r in references)
                partitions = node.partitions_def
                assert isinstance(partitions, dg.DailyPartitionsDefinition)
                assert partitions.timezone == "UTC"


def test_today_is_a_partition_and_lineage_follows_the_stages(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    windows = graph.get(asset_key(ACCELEROMETER_WINDOWED))
    assert windows.parent_keys == {asset_key(ACCELEROMETER_RAW)}
    assert graph.get(dg.AssetKey("places_visited")).parent_keys == {asset_key(GEOREGION_DETECTED)}


def test_everything_that_keeps_the_platform_going_is_on_by_default(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    sensors = {s.name: s.default_status for s in repository.sensor_defs}
    assert set(sensors) == {"kafka", "datasets", "health", "lookups"}
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}
    schedules = {s.name: s.default_status for s in repository.schedule_defs}
    assert {"keeper_nightly", "rollups"} <= set(schedules)
    assert set(schedules.values()) == {dg.DefaultScheduleStatus.RUNNING}


def test_groups_part_the_stages_and_keep_their_order() -> None:
    sensors, audio = groups_of(FLOWS)
    assert {s.name for s in (*sensors.stages, *audio.stages)} == {s.name for s in STAGES}
    assert not {s.name for s in sensors.stages} & {s.name for s in audio.stages}
    assert audio.sinks[0] is AUDIO_RAW
    for group in (sensors, audio):
        seen = set()
        for stage in group.stages:
            seen |= set(stage.sinks)
            assert stage.source in seen


def test_stages_come_after_what_fills_their_source() -> None:
    derived = next(s for s in STAGES if s.sinks == (ACCELEROMETER_WINDOWED,))
    landing = next(s for s in STAGES if s.sinks == (ACCELEROMETER_RAW,))
    assert topological([derived, landing]) == (landing, derived)
    assert topological([derived]) == (derived,)


def test_the_stream_jobs_run_no_checks(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("stream_sensors")
    assert [n.name for n in job.nodes] == ["sensors_stages"]
