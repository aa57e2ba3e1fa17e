"""Lag, dead letters and silence: the verdicts, when they are told, and what they are made of."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from confluent_kafka import Producer
from dagster._core.loader import LoadingContextForTest

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.flows import STAGES
from loom_platform.orchestration.checks import (
    TELL_AGAIN_AFTER,
    _tell,
    check_specs,
    last_writers,
    name_of,
    outcome_of,
    to_tell,
)
from loom_platform.orchestration.health import (
    DEAD_LETTERS,
    FRESHNESS,
    LAG,
    StageHealth,
    Verdict,
    dead_letter_verdict,
    freshness_verdict,
    lag_verdict,
    measure,
    verdicts,
)
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key
from loom_platform.stream.api import Lag, run_stream
from loom_platform.topics import create_topics, topics_with_errors

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LANDING = next(s for s in STAGES if s.sinks == (GPS_RAW,))
DETECTOR = next(s for s in STAGES if s.sinks == (GEOREGION_DETECTED,))


def health(**changes: Any) -> StageHealth:
    lag = Lag(LANDING.name, 0, {0: (10, 10)}, changes.pop("has_live_run", False), 0, None, changes.pop("halted", None))
    values: dict[str, Any] = {
        "stage": LANDING,
        "lag": lag,
        "oldest_accepted_at": None,
        "records_last_hour": 1000,
        "dead_letters_last_hour": 0,
        "last_accepted_at": NOW,
    }
    return StageHealth(**values | changes)


def test_lag_is_measured_against_the_sla_and_the_time_to_open_a_run() -> None:
    assert lag_verdict(health(), NOW).passed
    assert lag_verdict(health(oldest_accepted_at=NOW - timedelta(seconds=8)), NOW).passed
    late = lag_verdict(health(oldest_accepted_at=NOW - timedelta(seconds=20)), NOW)
    assert (late.passed, late.severe, late.numbers["lag_seconds"]) == (False, False, 20.0)
    assert lag_verdict(health(oldest_accepted_at=NOW - timedelta(minutes=10)), NOW).severe
    assert not lag_verdict(health(oldest_accepted_at=NOW - timedelta(minutes=10), has_live_run=True), NOW).severe


def test_a_halted_stage_says_why() -> None:
    verdict = lag_verdict(health(halted="the topic was made again"), NOW)
    assert (verdict.passed, verdict.severe, verdict.description) == (False, True, "the topic was made again")


def test_dead_letters_are_a_share_of_the_last_hour() -> None:
    assert dead_letter_verdict(health()).passed
    assert dead_letter_verdict(health(dead_letters_last_hour=10)).passed
    bad = dead_letter_verdict(health(dead_letters_last_hour=11))
    assert (bad.passed, bad.severe) == (False, False)
    assert "processing_errors" in bad.description
    assert dead_letter_verdict(health(dead_letters_last_hour=501)).severe
    assert dead_letter_verdict(health(records_last_hour=5, dead_letters_last_hour=1)).passed
    assert not dead_letter_verdict(health(records_last_hour=5, dead_letters_last_hour=5)).passed


@pytest.mark.parametrize(
    ("silent", "passed"),
    [(timedelta(hours=5), True), (timedelta(hours=7), False), (timedelta(days=13), False), (timedelta(days=15), True)],
)
def test_a_phone_that_is_silent_for_six_hours_is_told_until_it_is_put_away(silent: timedelta, passed: bool) -> None:
    assert freshness_verdict(health(last_accepted_at=NOW - silent), NOW).passed is passed


def test_a_topic_that_was_never_used_is_not_silent() -> None:
    assert freshness_verdict(health(last_accepted_at=None), NOW).passed


def test_every_asset_has_its_checks() -> None:
    specs = {(s.asset_key, s.name) for s in check_specs(STAGES)}
    assert {n for k, n in specs if k == asset_key(GPS_RAW)} == {LAG, DEAD_LETTERS, FRESHNESS}
    assert {n for k, n in specs if k == asset_key(GEOREGION_DETECTED)} == {LAG, DEAD_LETTERS}
    assert [v.check for v in verdicts(health(), NOW)] == [LAG, DEAD_LETTERS, FRESHNESS]


def test_only_changes_are_told_and_all_once_a_day() -> None:
    key, other = (asset_key(GPS_RAW), LAG), (asset_key(GPS_RAW), FRESHNESS)
    good, bad = Verdict(LAG, True, False, "", {}), Verdict(LAG, False, False, "", {})
    writers = {asset_key(GPS_RAW): "run-1"}
    told = {name_of(key): (outcome_of(good), "run-1", NOW.timestamp())}
    assert to_tell({key: good}, told, writers, NOW) == {}
    assert to_tell({key: bad, other: good}, told, writers, NOW) == {key: bad, other: good}
    worse = {name_of(key): (outcome_of(bad), "run-1", NOW.timestamp())}
    assert to_tell({key: Verdict(LAG, False, True, "", {})}, worse, writers, NOW)
    assert to_tell({key: good}, told, writers, NOW + TELL_AGAIN_AFTER) == {key: good}
    assert to_tell({key: good}, told, {asset_key(GPS_RAW): "run-2"}, NOW) == {key: good}
    # As the cursor keeps it: JSON has lists for tuples.
    assert to_tell({key: good}, json.loads(json.dumps(told)), writers, NOW) == {}


@pytest.mark.integration
def test_the_ui_shows_a_check_that_was_told_with_the_run_that_wrote_the_asset(instance: dg.DagsterInstance) -> None:
    key = asset_key(GPS_RAW)

    @dg.asset(key=key)
    def landed(context: dg.AssetExecutionContext) -> None:
        # Written before and after the check is told, as in a live run.
        _tell(context.instance, key, LAG, Verdict(LAG, False, False, "late", {"lag_seconds": 20.0}), context.run.run_id)
        _tell(context.instance, key, LAG, Verdict(LAG, True, False, "fine", {"lag_seconds": 0.0}), context.run.run_id)

    job = dg.Definitions(assets=[landed]).resolve_implicit_global_asset_job_def()
    run_id = job.execute_in_process(instance=instance).run_id
    assert last_writers(instance, [key]) == {key: run_id}
    history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, LAG), limit=5)
    assert [(r.status.value, r.run_id) for r in history] == [("SUCCEEDED", run_id)]
    assert asyncio.run(history[0].targets_latest_materialization(LoadingContextForTest(instance)))


@pytest.mark.integration
def test_health_is_measured_on_the_broker_and_in_the_tables(platform: Platform) -> None:
    settings, config = platform.settings(), platform.stream_config("test")
    topics = topics_with_errors([LANDING.name], (GPS_RAW, GEOREGION_DETECTED))
    create_topics(config.bootstrap_servers, prefix=config.topic_prefix, partitions=2, topics=topics)
    started = datetime.now(UTC)
    producer = Producer({"bootstrap.servers": config.bootstrap_servers, "log_level": 0})
    for n in range(20):
        fix = {"device_id": f"phone-{n}", "timestamp": started, "latitude": 47.0, "longitude": 8.0}
        body = GpsFix.model_validate(fix).model_dump_json().encode()
        producer.produce(GPS_RAW.on_broker(config.topic_prefix), body, f"phone-{n}")
    producer.produce(GPS_RAW.on_broker(config.topic_prefix), b"?", "phone-1")
    assert producer.flush(20) == 0
    run_stream([LANDING], config, on_report=lambda _: None, stop=threading.Event())
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        found = measure([LANDING, DETECTOR], config, connection, datetime.now(UTC))

    landed, behind = found[LANDING.name], found[DETECTOR.name]
    assert (landed.records_last_hour, landed.dead_letters_last_hour, landed.oldest_accepted_at) == (21, 1, None)
    assert landed.last_accepted_at is not None
    assert abs(landed.last_accepted_at - started) < timedelta(seconds=30)
    assert (behind.lag.messages, behind.records_last_hour) == (21, 0)
    assert behind.oldest_accepted_at is not None
    assert abs(behind.oldest_accepted_at - started) < timedelta(seconds=30)
