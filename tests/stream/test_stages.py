"""The stages on the engine: through Kafka into tables live, and the same rows again by a recompute."""

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest

from loom_contracts.payloads.audio import AudioChunk
from loom_contracts.payloads.sensor import AccelerometerSample, GpsFix
from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED, AUDIO_RAW, GPS_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_contracts.topics.media import VAD_FILTERED
from loom_models.landing import landing_stage
from loom_models.stage import Stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_models.stages.vad_filtered import SILERO_VAD
from loom_platform import georegions
from loom_platform.blobs import open_blobs
from loom_platform.stream.api import recompute
from tests.models.sound import chunks, every, silence, speech
from tests.stream.bench import Bench

pytestmark = pytest.mark.integration
YESTERDAY = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=1)


def current(bench: Bench, topic: Topic, *columns: str) -> list[tuple[Any, ...]]:
    names = ", ".join(columns) or "timestamp, message_id, device_id"
    return bench.rows(f"SELECT {names} FROM {topic.table.name}_current ORDER BY device_id, timestamp, message_id")


def again(bench: Bench, stage: Stage) -> None:
    config = replace(bench.config, run_id="again")
    day = YESTERDAY.date()
    recompute(stage, day, day, config, on_report=bench.reports.append, stop=threading.Event())


def test_georegions(bench: Bench) -> None:
    bench.create(GPS_RAW, GEOREGION_DETECTED, GEOREGION_DETECTOR.error_topic)
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        home = georegions.add(connection, georegions.circle("Home", "home", 10.0, 20.0, 100.0))
    places = [(0.0, 0.0), (10.0, 20.0), (10.0001, 20.0), (0.0, 0.0), (10.0, 20.0), (0.0, 0.0)]
    fixes = [
        GpsFix(device_id="phone-001", timestamp=YESTERDAY + timedelta(minutes=n), latitude=la, longitude=lo)
        for n, (la, lo) in enumerate(places)
    ]
    # The fix of minute 3 comes last.
    for part in (fixes[:2], [fixes[2], *fixes[4:]], [fixes[3]]):
        bench.send(GPS_RAW, *part)
        bench.run(landing_stage(GPS_RAW), GEOREGION_DETECTOR)
    events = [row[0] for row in current(bench, GEOREGION_DETECTED, "event")]
    assert events == ["none", "enter", "dwell", "leave", "enter", "leave"]
    before = current(bench, GEOREGION_DETECTED)
    again(bench, GEOREGION_DETECTOR)
    assert current(bench, GEOREGION_DETECTED) == before
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        georegions.replace(connection, home, georegions.circle("Home", "home", 10.0, 20.0, 5.0))
    again(bench, GEOREGION_DETECTOR)
    events = [row[0] for row in current(bench, GEOREGION_DETECTED, "event")]
    assert events == ["none", "enter", "leave", "none", "enter", "leave"]


def test_accelerometer_windows(bench: Bench) -> None:
    bench.create(ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED, ACCELEROMETER_WINDOW.error_topic)
    chance = random.Random(5)
    samples = [
        AccelerometerSample(
            device_id=f"phone-{n % 2}",
            timestamp=YESTERDAY + timedelta(milliseconds=20 * n),
            x=chance.uniform(-1, 1),
            y=chance.uniform(-1, 1),
            z=9.8 + chance.uniform(-1, 1),
        )
        for n in range(3_000)
    ]
    late = samples[700:800]
    bench.send(ACCELEROMETER_RAW, *samples[:700], *samples[800:])
    bench.run(landing_stage(ACCELEROMETER_RAW), ACCELEROMETER_WINDOW, idle_timeout=timedelta(seconds=4))
    bench.send(ACCELEROMETER_RAW, *late)
    bench.run(landing_stage(ACCELEROMETER_RAW), ACCELEROMETER_WINDOW, idle_timeout=timedelta(seconds=4))
    rows = current(bench, ACCELEROMETER_WINDOWED, "device_id", "timestamp", "sample_count")
    assert [r[2] for r in rows] == [125] * 24
    superseded = "SELECT count(*) FROM device_sensor_accelerometer_windowed WHERE superseded_at IS NOT NULL"
    assert bench.rows(superseded)[0][0] > 0
    before = current(bench, ACCELEROMETER_WINDOWED)
    again(bench, ACCELEROMETER_WINDOW)
    assert current(bench, ACCELEROMETER_WINDOWED) == before


def test_speech_segments(bench: Bench, tmp_path: Path) -> None:
    bench.create(AUDIO_RAW, VAD_FILTERED, SILERO_VAD.error_topic)
    bench.config = replace(bench.config, blobs=open_blobs(f"file://{tmp_path}", bench.config.database_url))
    sentence = speech("sense_and_sensibility_0880")
    sound = np.concatenate([silence(1), sentence, silence(1), sentence])
    rows = chunks(sound, every(sound, 16_000), YESTERDAY)
    messages = [
        AudioChunk(device_id="phone-001", **{k: v for k, v in row.items() if k not in ("received_at", "message_id")})
        for row in rows
    ]
    for part in (messages[:3], messages[3:5], messages[5:]):
        bench.send(AUDIO_RAW, *part)
        bench.run(landing_stage(AUDIO_RAW), SILERO_VAD)
    # The last segment has no end yet: its timer is set for when no more audio came.
    assert len(current(bench, VAD_FILTERED)) == 1
    bench.rows("UPDATE stream_timers SET due_at = now() RETURNING 1")
    bench.run(landing_stage(AUDIO_RAW), SILERO_VAD)
    found = current(bench, VAD_FILTERED, "timestamp", "source_message_ids", "audio_ref")
    assert len(found) == 2
    blobs = bench.config.blobs
    assert blobs is not None
    for _, sources, ref in found:
        assert {UUID(s) for s in sources} <= {m.message_id for m in messages}
        assert blobs.get(ref)[:4] == b"RIFF"
    before = current(bench, VAD_FILTERED)
    bench.rows("UPDATE device_audio_raw SET received_at = received_at - interval '1 hour' RETURNING 1")
    again(bench, SILERO_VAD)
    assert current(bench, VAD_FILTERED) == before
