"""Stream runs and recomputes as Dagster runs, on the real broker and databases."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from loom_contracts.message import Message
from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topic import Topic
from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.flows import FLOWS, STAGES, Flow
from loom_models.landing import landing_stage
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_platform.orchestration.assets import BESIDE_TAG, STREAM_TAG
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.groups import groups_of
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.sensors import live_runs, request_for
from loom_platform.orchestration.specs import DAYS, asset_key
from loom_platform.topics import create_topics, topics_with_errors

pytestmark = pytest.mark.integration

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
YESTERDAY, BEFORE = NOON.date(), NOON.date() - timedelta(days=1)


class World:
    """One test's topics, database and Dagster."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance, flows: tuple[Flow, ...] = FLOWS) -> None:
        self.platform, self.instance = platform, instance
        self.settings = platform.settings()
        self.defs = build_defs(flows=flows, platform=platform)
        self._producer = Producer(
            {"bootstrap.servers": self.settings.kafka_bootstrap_servers, "acks": "all", "log_level": 0}
        )

    def send(self, topic: Topic, *messages: Message | bytes) -> None:
        for message in messages:
            body = message if isinstance(message, bytes) else message.model_dump_json().encode()
            self._producer.produce(topic.on_broker(self.settings.kafka_topic_prefix), body, b"phone")
        assert self._producer.flush(20) == 0

    def run(
        self,
        *topics: Topic,
        tags: dict[str, str] | None = None,
        fails: bool = False,
        config: dict[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def("stream_sensors").execute_in_process(
            {"ops": {"sensors_stages": {"config": config}}} if config else None,
            instance=self.instance,
            asset_selection=[asset_key(t) for t in topics],
            tags=tags,
            raise_on_error=not fails,
        )

    def recompute(self, first: date, last: date, *topics: Topic, **config: object) -> dg.ExecuteInProcessResult:
        tags = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        }
        return self.run(*topics, tags=tags, config=config)

    def partitions(self, topic: Topic) -> tuple[set[str], set[str]]:
        """The materialized and the failed days, as the UI shows them."""
        value = get_and_update_asset_status_cache_value(self.instance, asset_key(topic), DAYS)
        if value is None:
            return set(), set()
        done = value.deserialize_materialized_partition_subsets(DAYS)
        failed = value.deserialize_failed_partition_subsets(DAYS)
        return set(done.get_partition_keys()), set(failed.get_partition_keys())

    def count(self, table: str) -> int:
        with psycopg.connect(self.settings.database_url) as connection:
            row = connection.execute(f"SELECT count(*)::int FROM {table}").fetchone()
        assert row is not None
        return int(row[0])

    def events(self, topic: Topic) -> list[dg.EventLogEntry]:
        records = self.instance.fetch_materializations(asset_key(topic), limit=100, ascending=True).records
        return [r.event_log_entry for r in records]


@pytest.fixture
def topics(platform: Platform) -> Iterator[None]:
    settings = platform.settings()
    stages = [s.name for s in STAGES if s.source is GPS_RAW]
    wanted = topics_with_errors(stages, (GPS_RAW, POWER_RAW, GEOREGION_DETECTED))
    create_topics(settings.kafka_bootstrap_servers, prefix=settings.kafka_topic_prefix, partitions=1, topics=wanted)
    yield
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for future in admin.delete_topics([t.on_broker(settings.kafka_topic_prefix) for t in wanted]).values():
        future.result(timeout=20)


@pytest.fixture
def world(platform: Platform, instance: dg.DagsterInstance, topics: None) -> World:
    return World(platform, instance)


def fix(when: datetime) -> GpsFix:
    return GpsFix.model_validate({"device_id": "phone", "timestamp": when, "latitude": 47.0, "longitude": 8.0})


def test_a_stream_run_marks_the_days_it_touched_and_plots_what_it_did(world: World) -> None:
    world.send(GPS_RAW, *(fix(NOON + timedelta(seconds=n)) for n in range(10)), fix(NOON - timedelta(days=1)), b"?")

    assert world.run(GPS_RAW, GEOREGION_DETECTED, tags={STREAM_TAG: "sensors"}).success

    assert world.count("device_sensor_gps_raw") == 11
    assert world.count("location_georegion_detected") == 11
    days = {YESTERDAY.isoformat(), BEFORE.isoformat()}
    assert world.partitions(GPS_RAW) == (days, set())
    assert world.partitions(GEOREGION_DETECTED) == (days, set())
    assert world.partitions(POWER_RAW) == (set(), set())
    told = [e.asset_materialization for e in world.events(GPS_RAW)]
    rows = [m.metadata["rows"].value for m in told if m is not None and m.partition == YESTERDAY.isoformat()]
    assert sum(r for r in rows if isinstance(r, int)) == 10
    last = told[-1]
    assert last is not None
    assert (last.metadata["next_offset"].value, last.metadata["version"].value) == (12, "1")
    assert {"latency_p50_seconds", "latency_p95_seconds", "dead_letters"} <= last.metadata.keys()


def test_a_stage_can_have_a_run_without_the_one_that_fills_its_source(world: World) -> None:
    """Such as at a timer, or when the other one has gone on in a run of its own."""
    world.send(GPS_RAW, fix(NOON))
    assert world.run(GPS_RAW, tags={STREAM_TAG: "sensors"}).success
    assert world.count("location_georegion_detected") == 0
    (group,) = (g for g in groups_of(FLOWS) if g.name == "sensors")
    request = request_for(group, [GEOREGION_DETECTOR.name], [], [GEOREGION_DETECTOR.name])
    assert request is not None
    assert request.asset_selection == [asset_key(GPS_RAW), asset_key(GEOREGION_DETECTED)]
    assert request.tags[BESIDE_TAG] == landing_stage(GPS_RAW).name
    assert world.run(GPS_RAW, GEOREGION_DETECTED, tags=dict(request.tags)).success
    assert world.count("location_georegion_detected") == 1
    # What it left to another run is free as soon as that one ends.
    world.instance.create_run_for_job(
        world.defs.resolve_job_def("stream_sensors"),
        asset_selection=frozenset(request.asset_selection),
        tags=dict(request.tags),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert [run.stages for run in live_runs(world.instance, group)] == [{GEOREGION_DETECTOR.name}]


def test_a_recompute_of_days_gives_the_same_rows_and_marks_just_those_days(world: World) -> None:
    world.send(GPS_RAW, *(fix(NOON + timedelta(seconds=n)) for n in range(5)))
    world.run(GPS_RAW, GEOREGION_DETECTED)
    rows = world.count("location_georegion_detected")

    result = world.recompute(BEFORE, YESTERDAY, GPS_RAW, GEOREGION_DETECTED)

    assert result.success
    assert world.count("location_georegion_detected") == rows
    assert world.partitions(GEOREGION_DETECTED)[0] == {YESTERDAY.isoformat(), BEFORE.isoformat()}
    last = {m.partition: m.metadata["rows"].value for e in world.events(GPS_RAW) if (m := e.asset_materialization)}
    assert last == {YESTERDAY.isoformat(): 5, BEFORE.isoformat(): 0}
    outputs = [
        e.step_output_data.output_name for e in result.events_for_node("sensors_stages") if e.is_successful_output
    ]
    assert outputs == ["device__sensor__gps__raw", "location__georegion__detected"]


def test_a_recompute_of_one_device_says_so(world: World) -> None:
    fixes = [fix(NOON + timedelta(seconds=n)) for n in range(5)]
    world.send(GPS_RAW, *(f.model_copy(update={"device_id": f"phone-00{n % 2}"}) for n, f in enumerate(fixes)))
    world.run(GPS_RAW, GEOREGION_DETECTED)
    assert world.recompute(YESTERDAY, YESTERDAY, GEOREGION_DETECTED, devices=["phone-001"], anew=True).success
    event = world.events(GEOREGION_DETECTED)[-1].asset_materialization
    assert event is not None
    told = {name: event.metadata[name].value for name in ("rows", "records", "devices")}
    assert told == {"rows": 2, "records": 2, "devices": "phone-001"}
    assert str(event.metadata["explain"].value).endswith(
        f"/lineage/latest?topic=location.georegion.detected&day={YESTERDAY}"
    )


def test_a_stage_that_cannot_go_on_fails_the_run(world: World) -> None:
    world.send(GPS_RAW, fix(NOON))
    assert world.run(GPS_RAW).success
    with psycopg.connect(world.settings.database_url) as connection:
        connection.execute("UPDATE stream_offsets SET next_offset = 10000")

    result = world.run(GPS_RAW, GEOREGION_DETECTED, fails=True)

    assert not result.success
    assert "offsets reset" in str(result.failure_data_for_node("sensors_stages"))
    # The failure is the run's, not a day's: what is there is as good as before.
    assert world.partitions(GPS_RAW) == ({YESTERDAY.isoformat()}, set())


def test_a_termination_ends_a_run_between_batches_successfully(
    platform: Platform, instance: dg.DagsterInstance, topics: None
) -> None:
    settings = platform.settings().model_copy(update={"stream_idle_timeout_seconds": 60.0})
    world = World(Platform(lambda: settings), instance)
    world.send(GPS_RAW, fix(NOON))
    with when(lambda: bool(world.events(GPS_RAW)), lambda: os.kill(os.getpid(), signal.SIGINT)):
        result = world.run(GPS_RAW)
    assert result.success
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert world.count("device_sensor_gps_raw") == 1


class when:  # noqa: N801
    """Do something from another thread once a condition is true."""

    def __init__(self, condition: Callable[[], bool], action: Callable[[], None]) -> None:
        self._done = threading.Event()

        def watch() -> None:
            for _ in range(600):
                if self._done.wait(0.1) or condition():
                    break
            if not self._done.is_set():
                action()

        self._thread = threading.Thread(target=watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
