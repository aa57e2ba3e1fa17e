"""A simulated hour through the real ingest service, broker, stages and database, held against what is true of it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loom_models.flows import STAGES
from loom_platform import georegions
from loom_platform.blobs import open_blobs
from loom_platform.demo.events import DemoConfig, Truth, make_day
from loom_platform.demo.send import Acknowledged, SendConfig, SendReport, beginning, send
from loom_platform.demo.tracks import Point, distance_m
from loom_platform.demo.truth import places_document
from loom_platform.lineage.explain import explain
from loom_platform.lineage.links import LINKS
from loom_platform.stream.api import StageSummary, StreamConfig, run_stream
from loom_platform.topics import create_topics
from tests.ingest.server import live_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
CONFIG = DemoConfig(seconds=3_600, rate=0.1, batch=100, device="truth-phone")


@dataclass
class Outcome:
    """A day that was sent and processed."""

    truth: Truth
    began: datetime
    acknowledged: list[Acknowledged]
    summaries: list[StageSummary]
    connection: "psycopg.Connection[Any]"

    def seconds(self, moment: datetime) -> float:
        return (moment - self.began).total_seconds()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()


@pytest.fixture
async def outcome(database_url: str, bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Any:
    truth, events = make_day(CONFIG)
    stages = [s.name for s in STAGES]
    create_topics(bootstrap_servers, prefix=topic_prefix, partitions=2, stages=stages)
    acknowledged: list[Acknowledged] = []
    report = SendReport(beginning(CONFIG.seconds, 0.0))
    with psycopg.connect(database_url, autocommit=True) as connection:
        for draft in georegions.from_geojson(json.dumps(places_document(truth))):
            georegions.add(connection, draft)
        with live_server(bootstrap_servers, kafka_topic_prefix=topic_prefix) as server:
            target = SendConfig(server.url, CONFIG.device, speed=0.0)
            await send(events, target, report, acknowledged.extend)
        assert (report.refused, report.refusals) == (0, [])
        config = StreamConfig(
            database_url,
            bootstrap_servers,
            topic_prefix,
            idle_timeout=timedelta(seconds=8),
            max_duration=timedelta(seconds=150),
            blobs=open_blobs(str(tmp_path / "blobs"), database_url),
        )
        summaries = run_stream(STAGES, config, on_report=lambda _: None, stop=threading.Event())
        yield Outcome(truth, report.began, acknowledged, summaries, connection)


async def test_the_day_that_was_is_the_day_that_is_found(outcome: Outcome) -> None:
    _all_is_stored_once(outcome)
    _presence_is_right(outcome)
    _windows_are_right(outcome)
    _activities_are_right(outcome)
    _speech_is_found(outcome)
    _every_answer_is_explained(outcome)


def _all_is_stored_once(outcome: Outcome) -> None:
    by_table: dict[str, set[str]] = {}
    for a in outcome.acknowledged:
        by_table.setdefault(a.message.topic.table.name, set()).add(a.message_id)
    for table, ids in by_table.items():
        stored = [str(row[0]) for row in outcome.rows(f"SELECT message_id FROM {table}")]
        assert len(stored) == len(ids), table
        assert set(stored) == ids, table
    assert outcome.rows("SELECT stage, reason FROM processing_errors") == []


def _presence_is_right(outcome: Outcome) -> None:
    """Where a fix is clearly in or out of the place, so says the row; and the place is left, and entered again."""
    (place,) = outcome.truth.day.places
    centre = Point(0, place.latitude, place.longitude)
    events = []
    for moment, event in outcome.rows("SELECT timestamp, event FROM location_georegion_detected_current ORDER BY 1"):
        away = distance_m(centre, outcome.truth.day.position_at(outcome.seconds(moment))) - place.radius_m
        if abs(away) > 15:
            assert (event in ("enter", "dwell")) == (away < 0), (moment, event, away)
        if event in ("enter", "leave"):
            events.append(event)
    assert events[:3] == ["enter", "leave", "enter"]


def _windows_are_right(outcome: Outcome) -> None:
    """Every sample is in one window, and walking is told from rest."""
    windows = outcome.rows(
        "SELECT timestamp, sample_count, dynamic_rms_mps2, crossing_rate_hz "
        "FROM device_sensor_accelerometer_windowed_current ORDER BY 1"
    )
    samples = sum(a.message.topic.name == "device.sensor.accelerometer.raw" for a in outcome.acknowledged)
    assert sum(w[1] for w in windows) == samples
    strength: dict[str, list[float]] = {}
    for moment, count, dynamic, _ in windows:
        at = outcome.seconds(moment)
        burst = next(b for b in outcome.truth.bursts if b.start - 5 <= at < b.end)
        if count > 100:
            strength.setdefault(outcome.truth.day.activity_at(burst.start).kind, []).append(dynamic)
    assert max(strength["rest"]) < 0.5
    assert min(strength["walk"]) > 1.0


def _activities_are_right(outcome: Outcome) -> None:
    """Every window has one; and what moves, begins and ends."""
    told = outcome.rows("SELECT timestamp, activity FROM motion_classification_activity_current")
    assert [(len(told),)] == outcome.rows("SELECT count(*) FROM device_sensor_accelerometer_windowed_current")
    does = {"sleep": "still", "rest": "still", "walk": "walking", "hike": "walking", "drive": "in_vehicle"}
    right = [does[outcome.truth.day.activity_at(outcome.seconds(t) + 2.5).kind] == activity for t, activity in told]
    assert sum(right) / len(right) >= 0.95
    events = [e for (e,) in outcome.rows("SELECT event FROM motion_events_significant_current ORDER BY timestamp")]
    assert events[:2] == ["start", "stop"]
    assert set(events) == {"start", "stop"}


def _speech_is_found(outcome: Outcome) -> None:
    """Most of what was said lies in segments, and segments hold little else."""
    found = [
        (outcome.seconds(start), outcome.seconds(end))
        for start, end in outcome.rows("SELECT timestamp, segment_end FROM media_audio_vad_filtered_current ORDER BY 1")
    ]
    said = [(s.start, s.end) for s in outcome.truth.spoken]
    assert len(found) >= len(said)
    common = sum(_overlaps(said, found))
    assert common / sum(end - start for start, end in said) > 0.9
    assert common / sum(end - start for start, end in found) > 0.85


def _every_answer_is_explained(outcome: Outcome) -> None:
    """From an answer up to exactly the records that it was made from, and from one of those down to it again."""
    for link in LINKS:
        order = "(superseded_at IS NULL) DESC, timestamp DESC OFFSET 2 LIMIT 3"
        for (message_id,) in outcome.rows(f"SELECT message_id FROM {link.sink.table.name} ORDER BY {order}"):
            up = explain(outcome.connection, message_id).up
            assert up.topic is link.sink
            made_from = {child.message_id for child in up.children}
            assert up.row["source_message_id"] in made_from or up.more
            if any(c.name == "sample_count" for c in link.sink.table.columns):
                query = f"SELECT sample_count FROM {link.sink.table.name} WHERE message_id = '{message_id}'"
                assert outcome.rows(query) == [(len(made_from) + sum(up.more.values()),)]
            if "source_message_ids" in up.row:
                assert {str(each) for each in made_from} == set(up.row["source_message_ids"])
            for child in up.children:
                assert child.topic.table.derived or child.facts()["kafka_offset"] >= 0
                down = explain(outcome.connection, child.message_id, topic=child.topic).down
                assert message_id in {each.message_id for each in down.children}


def _overlaps(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> Iterator[float]:
    for start, end in a:
        for other_start, other_end in b:
            yield max(0.0, min(end, other_end) - max(start, other_start))
