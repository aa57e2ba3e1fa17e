"""The events of a day: pure, in order, within the contract, and the same for the same seed."""

import base64
import io
import wave
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loom_contracts.topics.registry import topic_named
from loom_platform.demo import speech
from loom_platform.demo.events import DemoConfig, Event, make_day
from loom_platform.demo.truth import places_document, truth_document
from loom_platform.errors import PlatformError

BEGAN = datetime(2026, 1, 15, 8, 0, tzinfo=UTC)


def bodies(config: DemoConfig) -> list[tuple[str, Any]]:
    return [(e.path, e.request(BEGAN, config.device)) for e in make_day(config)[1]]


def counts(events: list[Event]) -> Counter[str]:
    return Counter(m.topic.name for e in events for m in e.messages)


def test_the_same_seed_makes_the_same_day() -> None:
    config = DemoConfig(seconds=300, rate=0.2)
    assert bodies(config) == bodies(config)
    assert bodies(config) != bodies(DemoConfig(seconds=300, rate=0.2, seed=2))


def test_another_beginning_has_other_ids() -> None:
    events = list(make_day(DemoConfig(seconds=60))[1])
    later = BEGAN + timedelta(hours=1)
    ids = {str(m.message_id(when)) for when in (BEGAN, later) for e in events for m in e.messages}
    assert len(ids) == 2 * sum(len(e.messages) for e in events)


@pytest.mark.parametrize("config", [DemoConfig(seconds=900), DemoConfig(seconds=60, rate=1.0, batch=1)], ids=str)
def test_events_are_in_order_and_valid(config: DemoConfig) -> None:
    last = 0.0
    for event in make_day(config)[1]:
        assert event.at >= last
        last = event.at
        request = event.request(BEGAN, config.device)
        items = request if event.path == "/sensor/batch" else [request]
        for message, item in zip(event.messages, items, strict=True):
            assert message.at <= event.at, "nothing is sent before it was sensed"
            if message.topic.name != "device.audio.raw":
                topic_named(message.topic.name).payload.model_validate(item)
            assert set(item) - {"sensor_type"} <= set(message.topic.payload.model_fields)


def test_full_rate_is_that_of_the_specification() -> None:
    seconds = 120
    found = counts(list(make_day(DemoConfig(seconds=seconds, rate=1.0, batch=1))[1]))
    assert found["device.sensor.accelerometer.raw"] == 50 * seconds
    assert found["device.audio.raw"] / seconds == pytest.approx(10, abs=1)
    assert found.total() / seconds == pytest.approx(65, abs=2)


def test_a_lower_rate_makes_bursts() -> None:
    truth, events = make_day(DemoConfig(seconds=1_000, rate=0.1, audio=False))
    found = counts(list(events))
    assert found["device.sensor.accelerometer.raw"] == 10 * 500
    assert [b.start for b in truth.bursts[:3]] == [0, 100, 200]
    assert "device.audio.raw" not in found


def test_a_change_of_the_charger_is_told_at_once() -> None:
    truth, events = make_day(DemoConfig(seconds=3_600, audio=False))
    power = [(e.at, e.messages[0].payload) for e in events if e.path == "/sensor/power"]
    for charge in truth.day.charging:
        assert (charge.end, False) in [(at, p["is_charging"]) for at, p in power]


def test_what_is_spoken_is_in_the_audio() -> None:
    truth, events = make_day(DemoConfig(seconds=200, rate=1.0, chunk_ms=1_000))
    chunks = [m for e in events if e.path == "/audio/upload" for m in e.messages]
    assert [round(m.at) for m in chunks[:5]] == [0, 1, 2, 3, 4]
    samples = np.concatenate([_samples(m.payload["chunk_data"]) for m in chunks]).astype(np.float64)
    assert len(truth.spoken) > 5
    for said in truth.spoken[:5]:
        spoken = samples[int(said.start * 16_000) : int(said.end * 16_000)]
        silence = samples[int((said.start - 1) * 16_000) : int(said.start * 16_000)]
        assert spoken.std() > 20 * silence.std()
    for payload in (m.payload for m in chunks):
        assert payload["duration_ms"] == 1_000
        assert len(_samples(payload["chunk_data"])) == 16_000


def test_chunks_of_one_recording_share_its_file_id() -> None:
    _, events = make_day(DemoConfig(seconds=400, rate=0.05))
    chunks = [m for e in events if e.path == "/audio/upload" for m in e.messages]
    by_file: dict[str, list[float]] = {}
    for m in chunks:
        by_file.setdefault(m.payload["file_id"], []).append(m.at)
    assert len(by_file) > 1
    for times in by_file.values():
        assert np.diff(times) == pytest.approx(1.0)


def _samples(text: str) -> np.ndarray[Any, np.dtype[np.int16]]:
    with wave.open(io.BytesIO(base64.b64decode(text))) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (16_000, 1, 2)
        return np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2").astype(np.int16)


def test_a_long_day_is_made_lazily() -> None:
    _, events = make_day(DemoConfig(seconds=86_400, rate=1.0))
    assert len(list(islice(events, 1_000))) == 1_000


def test_a_wav_of_another_form_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "cd.wav"), "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(44_100)
        writer.writeframes(b"\0" * 400)
    with pytest.raises(PlatformError, match=r"cd\.wav is 44100 Hz, 2 channels, 16 bit: give 16 kHz mono"):
        make_day(DemoConfig(speech_folder=tmp_path))
    (tmp_path / "cd.wav").write_bytes(b"no wav")
    with pytest.raises(PlatformError, match=r"cd\.wav is not a wav file"):
        make_day(DemoConfig(speech_folder=tmp_path))


def test_recordings_keep_their_text(tmp_path: Path) -> None:
    body = base64.b64decode(speech.wav_base64(np.full(32_000, 500, dtype=np.int16)))
    (tmp_path / "hello.wav").write_bytes(body)
    (tmp_path / "hello.txt").write_text("hello\n there\n")
    truth, events = make_day(DemoConfig(seconds=30, rate=1.0, speech_folder=tmp_path))
    assert sum(1 for _ in events) > 0
    assert {s.text for s in truth.spoken} == {"hello there"}


def test_truth_and_places_as_documents() -> None:
    truth, events = make_day(DemoConfig(seconds=600))
    assert sum(1 for _ in events) > 0
    document = truth_document(truth, BEGAN)
    assert document["began"] == "2026-01-15T08:00:00.000000Z"
    assert document["ended"] == "2026-01-15T08:10:00.000000Z"
    assert len(document["bursts"]) == len(truth.bursts)
    feature = places_document(truth)["features"][0]
    assert feature["properties"] == {"name": "Demo home", "kind": "home", "radius_m": 120.0}
    assert document["places"] == [feature]
