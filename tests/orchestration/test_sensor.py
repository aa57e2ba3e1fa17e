"""The Kafka sensor's tick against the real broker and database."""

import dagster as dg
import psycopg
import pytest
from confluent_kafka import Producer

from loom_contracts.topic import Topic
from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW, POWER_RAW
from loom_contracts.topics.registry import LANDED
from loom_models.flows import STAGES
from loom_platform.orchestration import sensors
from loom_platform.orchestration.assets import STREAM_TAG
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key
from loom_platform.topics import create_topics

pytestmark = pytest.mark.integration


def assets_of(source: Topic) -> set[dg.AssetKey]:
    """The assets of the stages that read `source`."""
    return {asset_key(sink) for stage in STAGES if stage.source is source for sink in stage.sinks}


GPS_ASSETS = assets_of(GPS_RAW)


class Tick:
    """One sensor over all its ticks, as a code server has it."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance) -> None:
        self.platform, self.instance = platform, instance
        self.defs = build_defs(platform=platform)
        self.sensor = self.defs.get_repository_def().get_sensor_def("kafka")
        settings = platform.settings()
        self.prefix = settings.kafka_topic_prefix
        self._producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0})

    def send(self, *names: str) -> None:
        for name in names:
            self._producer.produce(f"{self.prefix}.{name}", b"{}", b"phone")
        assert self._producer.flush(20) == 0

    def evaluate(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self.instance, resources={"platform": self.platform}, definitions=self.defs
        ) as context:
            return list(self.sensor.evaluate_tick(context).run_requests or [])


@pytest.fixture
def tick(platform: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Tick:
    settings = platform.settings()
    create_topics(
        settings.kafka_bootstrap_servers,
        prefix=settings.kafka_topic_prefix,
        partitions=1,
        topics=LANDED,
    )
    monkeypatch.setattr(sensors, "TICK_SECONDS", 1.0)
    return Tick(platform, instance)


def selected(request: dg.RunRequest) -> set[dg.AssetKey]:
    return set(request.asset_selection or [])


def test_the_stages_with_work_get_a_run_of_their_group(tick: Tick) -> None:
    assert tick.evaluate() == []
    tick.send(GPS_RAW.name)
    (request,) = tick.evaluate()
    assert selected(request) == GPS_ASSETS
    assert (request.job_name, request.tags[STREAM_TAG], request.run_key) == ("stream_sensors", "sensors", None)
    assert request.partition_key is None
    assert request.asset_check_keys == []


def test_two_groups_get_a_run_each(tick: Tick) -> None:
    tick.send(GPS_RAW.name, AUDIO_RAW.name)
    asked: set[str | None] = set()
    for _ in range(5):  # a broker on a busy machine shows the two records one after the other
        asked |= {r.job_name for r in tick.evaluate()}
        if len(asked) == 2:
            break
    assert asked == {"stream_sensors", "stream_audio"}


def test_no_second_run_while_one_starts_or_holds_the_stage(tick: Tick) -> None:
    tick.send(GPS_RAW.name)
    job = tick.defs.resolve_job_def("stream_sensors")
    run = tick.instance.create_run_for_job(
        job_def=job,
        asset_selection=frozenset(GPS_ASSETS),
        tags={STREAM_TAG: "sensors"},
        status=dg.DagsterRunStatus.STARTING,
    )
    assert tick.evaluate() == []
    tick.instance.report_run_canceled(run)
    with psycopg.connect(tick.platform.settings().database_url, autocommit=True) as holder:
        for stage in (s for s in STAGES if s.source is GPS_RAW):
            holder.execute(
                """INSERT INTO stream_leases (stage, shard, holder, run_id, backend_pid, backend_start, expires_at)
                SELECT %s, 0, 'r', 'r', pid, backend_start, now() + interval '1 minute' FROM pg_stat_activity
                WHERE pid = pg_backend_pid()""",
                (stage.name,),
            )
        assert tick.evaluate() == []
        tick.send(POWER_RAW.name)
        (request,) = tick.evaluate()
        assert selected(request) == assets_of(POWER_RAW)
    # The holder's session is gone, and with it the leases.
    (request,) = tick.evaluate()
    assert selected(request) >= GPS_ASSETS


def test_a_group_whose_run_just_failed_waits(tick: Tick) -> None:
    tick.send(GPS_RAW.name, AUDIO_RAW.name)
    job = tick.defs.resolve_job_def("stream_sensors")
    run = tick.instance.create_run_for_job(
        job_def=job, tags={STREAM_TAG: "sensors"}, status=dg.DagsterRunStatus.STARTED
    )
    tick.instance.report_run_failed(run)
    assert [r.job_name for r in tick.evaluate()] == ["stream_audio"]


def test_a_broker_that_is_away_is_a_skip_and_not_a_failure(platform: Platform, instance: dg.DagsterInstance) -> None:
    settings = platform.settings().model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    away = Platform(lambda: settings)
    defs = build_defs(platform=away)
    sensor = defs.get_repository_def().get_sensor_def("kafka")
    with dg.build_sensor_context(instance=instance, resources={"platform": away}, definitions=defs) as context:
        data = sensor.evaluate_tick(context)
    assert not data.run_requests
    assert "waiting for" in (data.skip_message or "")
