"""What Kafka still holds: told exactly, until when, and removed at once when it is asked for."""

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from loom_contracts.message import Message
from loom_contracts.topics.device import GPS_RAW, HEARTRATE_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.errors import DependencyError
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_models.stages.vad_filtered import SILERO_VAD
from loom_platform.erasure import run
from loom_platform.erasure.kafka import Holding
from loom_platform.erasure.scope import Scope
from loom_platform.stream.api import reset_offsets
from loom_platform.stream.source import admin_client
from loom_platform.stream.topics import state
from tests.erasure.home import MINE, OTHER, Home, at, message

pytestmark = pytest.mark.integration


def held(home: Home, done: run.Erased) -> dict[str, Holding]:
    """By the contract's name of the topic."""
    return {h.topic.removeprefix(f"{home.config.topic_prefix}."): h for h in done.held}


def test_the_proof_says_which_offsets_and_until_when(home: Home) -> None:
    done = home.erase(Scope((MINE,)))
    found = held(home, done)
    assert found.keys() == {
        "device.sensor.gps.raw", "device.sensor.accelerometer.raw", "device.health.heartrate.raw", "device.audio.raw",
        "location.georegion.detected", "location.gps.cleaned", "location.address.geocoded",
        "location.business.identified", "device.sensor.accelerometer.windowed",
        "motion.classification.activity", "motion.events.significant",
        "processing.errors.landing-device-health-heartrate-raw",
    }  # fmt: skip
    gps = found["device.sensor.gps.raw"]
    assert (gps.first, gps.last, gps.records, gps.others, gps.waits) == (0, 4, 5, 0, {})
    # the suite's topics keep the broker's default: seven days, and segments of as much
    assert gps.until is not None
    assert timedelta(days=13) < gps.until - gps.at < timedelta(days=15)
    assert done.erasure.proof is not None
    assert len(done.erasure.proof["kafka"]) == len(found)
    assert done.erasure.proof["remaining"] == 0


def test_of_a_part_only_its_own_records_are_told(home: Home) -> None:
    found = held(home, home.erase(Scope((MINE,), at(30), at(90))))
    gps, derived, heart = (found[t.name] for t in (GPS_RAW, GEOREGION_DETECTED, HEARTRATE_RAW))
    assert (gps.first, gps.last, gps.records) == (1, 1, 1)
    # the answer for it, and the one after it
    assert derived.records == 2
    assert heart.records == 2
    assert "processing.errors.landing-device-health-heartrate-raw" not in found


def test_now_waits_for_every_stage_and_says_what_goes_with_it(own_home: Home) -> None:
    home = own_home
    reset_offsets(SILERO_VAD, home.config, "latest")
    reset_offsets(GEOREGION_DETECTOR, home.config, "earliest")
    with run.connect(home.settings.database_url) as connection:
        done = run.erase(connection, Scope((OTHER,)), home.place(), "test")
        left = run.remove_now(connection, done, home.place(), timedelta(0))
        topic = GPS_RAW.on_broker(home.config.topic_prefix)
        assert [(h.topic, h.waits) for h in left] == [(topic, {GEOREGION_DETECTOR.name: 0})]
        proof = run.again(connection, done.erasure).proof
        assert proof is not None
        assert [h["topic"] for h in proof["kafka"]] == [topic]
    home.drain()
    with run.connect(home.settings.database_url) as connection:
        done = run.erase(connection, Scope((OTHER,)), home.place(), "test")
        assert [(h.topic, h.records, h.others) for h in done.held] == [(topic, 5, 5)]
        assert run.remove_now(connection, done, home.place(), timedelta(seconds=20)) == []
        proof = run.again(connection, done.erasure).proof
    assert proof is not None
    assert proof["kafka"] == []
    assert [(h["first"], h["last"], h["others_before"]) for h in proof["removed_from_kafka"]] == [(5, 9, 5)]
    assert state(admin_client(home.config.bootstrap_servers), topic).ranges == {0: (10, 10)}
    # the stages go on behind it
    new: Message = message(GPS_RAW, MINE, 2_000)
    home.send(GPS_RAW, new)
    home.drain()
    query = "SELECT count(*) FROM location_georegion_detected WHERE source_message_id = %s"
    assert home.rows(query, new.message_id) == [(1,)]


def test_a_broker_that_is_away_leaves_the_erasure_unfinished_and_the_rows_gone(home: Home) -> None:
    away = replace(home.config, bootstrap_servers="127.0.0.1:1")
    with run.connect(home.settings.database_url) as connection:
        place = replace(home.place(), config=away)
        with pytest.raises(DependencyError, match="broker"):
            run.erase(connection, Scope((MINE,)), place, "test")
    assert home.rows("SELECT count(*) FROM device_sensor_gps_raw WHERE device_id = %s", MINE) == [(0,)]
    assert home.rows("SELECT count(*) FROM erasures WHERE finished_at IS NULL") == [(1,)]
    done = home.erase(Scope((MINE,)))
    assert done.erasure.counts["device_sensor_gps_raw"] == 5
    with psycopg.connect(home.settings.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM erasures").fetchone() == (1,)
