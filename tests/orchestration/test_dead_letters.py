"""Dead letters as a job: its config says which, and what becomes of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from loom_contracts.topics.device import GPS_RAW
from loom_models.landing import landing_stage
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.platform import Platform

pytestmark = pytest.mark.integration

STAGE = landing_stage(GPS_RAW).name
LETTER = """INSERT INTO processing_errors (stage, topic, partition, "offset", stage_version, error_type, reason,
            device_id, value, received_at, occurred_at)
            VALUES (%s, %s, 0, %s, '1', %s, %s, 'phone-001', %s, now(), %s)"""


@pytest.fixture
def database(platform: Platform) -> str:
    url = platform.settings().database_url
    now = datetime.now(UTC)
    fix = json.dumps({"device_id": "phone-001", "timestamp": now.isoformat(), "latitude": 52.5, "longitude": 13.4})
    with psycopg.connect(url, autocommit=True) as connection:
        for offset, kind, reason, value, age in (
            (7, "PoisonError", "a fault that was mended", fix, 1),
            (8, "invalid", "latitude: Field required", "{}", 1),
            (9, "PoisonError", "a fault that was mended", fix, 72),
        ):
            connection.execute(
                LETTER, (STAGE, GPS_RAW.name, offset, kind, reason, value.encode(), now - timedelta(hours=age))
            )
    return url


def launch(
    platform: Platform, instance: dg.DagsterInstance, *, fails: bool = False, **config: Any
) -> dg.ExecuteInProcessResult:
    job = build_defs(platform=platform).resolve_job_def("dead_letters")
    ops = {"ops": {"settle_dead_letters": {"config": config}}}
    return job.execute_in_process(ops, instance=instance, raise_on_error=not fails)


def resolutions(url: str) -> dict[int, str | None]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute('SELECT "offset", resolution FROM processing_errors').fetchall())


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [e for e in result.all_node_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_counted_then_replayed_then_put_aside(platform: Platform, instance: dg.DagsterInstance, database: str) -> None:
    assert told(launch(platform, instance)) == {f"{STAGE}: open": 3}
    assert resolutions(database) == {7: None, 8: None, 9: None}, "counting changes nothing"

    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    replayed = launch(platform, instance, action="REPLAY", stage=STAGE, since=since)
    assert told(replayed) == {f"{STAGE}: replayed": 1, f"{STAGE}: failed again": 1}
    assert resolutions(database) == {7: "replayed", 8: None, 9: None}

    assert told(launch(platform, instance, action="DISCARD", reason="FIELD required")) == {"discarded": 1}
    assert resolutions(database) == {7: "replayed", 8: "discarded", 9: None}
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT kafka_offset FROM device_sensor_gps_raw").fetchall() == [(7,)]


@pytest.mark.parametrize(
    ("config", "says"),
    [({"stage": "nonsense"}, "there is no stage 'nonsense'"), ({"since": "yesterday"}, "'yesterday' is not a time")],
)
def test_what_is_wrong_is_named(
    platform: Platform, instance: dg.DagsterInstance, database: str, config: dict[str, Any], says: str
) -> None:
    result = launch(platform, instance, fails=True, action="DISCARD", **config)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert says in str(failure.event_specific_data)
    assert set(resolutions(database).values()) == {None}
