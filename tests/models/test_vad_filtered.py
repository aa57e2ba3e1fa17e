import base64
import json
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import AUDIO_RAW
from loom_contracts.topics.media import VAD_FILTERED
from loom_models.audio import RATE, Float32, Pcm16, decode, to_pcm16
from loom_models.errors import DependencyError
from loom_models.models.silero import HOP
from loom_models.speech import MAX_SEGMENT, Chunk, Segment, SpeechStream, restore
from loom_models.stage import Context
from loom_models.stages.vad_filtered import LANDED, SILERO_VAD
from loom_platform.blobs import open_blobs
from tests.models.frames import NOON, batch, message_id, sink_columns
from tests.models.simulate import Simulation
from tests.models.sound import chunks, encode, every, noise, silence, speech, tone


def query(landed: pl.DataFrame, frame: pl.DataFrame, due: pl.DataFrame, now: datetime) -> Mapping[str, pl.DataFrame]:
    """What the SQL of LANDED says, in Python."""
    found = landed.join(frame.select("message_id", "timestamp"), on=["message_id", "timestamp"], how="semi").select(
        "message_id",
        "timestamp",
        pl.col("kafka_partition").alias("landed_partition"),
        pl.col("kafka_offset").alias("landed_offset"),
    )
    return {LANDED.name: found.match_to_schema(LANDED.schema)}


def new_simulation() -> Simulation:
    return Simulation(SILERO_VAD, query, blobs=open_blobs("memory://"))


def hear(rows: Sequence[Mapping[str, Any]], size: int = 1_000) -> Simulation:
    """The rows in batches of `size`, and then time goes by."""
    simulation = new_simulation()
    frame = batch(AUDIO_RAW, rows)
    simulation.land(frame)
    for at in range(0, frame.height, size):
        simulation.run(frame[at : at + size], NOON)
    simulation.finish(frame, lambda: NOON)
    return simulation


def segments(simulation: Simulation) -> list[dict[str, Any]]:
    return sorted(simulation.rows.values(), key=lambda r: str(r["timestamp"]))


def test_segments_of_a_real_sentence() -> None:
    sentence = speech("sense_and_sensibility_0880")
    sound = np.concatenate([silence(2), sentence, silence(2)])
    simulation = hear(chunks(sound, every(sound, RATE), NOON, trace_id="ab" * 16, span_id="cd" * 8))
    (row,) = segments(simulation)
    assert set(row) == sink_columns(VAD_FILTERED)
    begin = (row["timestamp"] - NOON).total_seconds()
    assert 1.8 < begin < 2.6
    assert 2.0 < row["duration_ms"] / 1000 < 3.2
    assert row["segment_end"] - row["timestamp"] == timedelta(milliseconds=row["duration_ms"])
    assert row["confidence_mean"] > 0.8
    assert row["confidence_mean"] <= row["confidence_max"] <= 1.0
    sources = json.loads(row["source_message_ids"])
    assert sources == [message_id(n) for n in range(1 + int(begin), 2 + int(begin + row["duration_ms"] / 1000))]
    assert (row["chunk_count"], row["source_message_id"]) == (len(sources), sources[-1])
    assert (row["trace_id"], row["span_id"]) == ("ab" * 16, "cd" * 8)
    assert simulation.blobs is not None
    stored = simulation.blobs.get(row["audio_ref"])
    assert len(stored) == row["audio_size_bytes"]
    at = round(begin * RATE)
    heard = to_pcm16(decode(stored, "wav", RATE, 1))
    assert heard.size == row["duration_ms"] * RATE // 1000
    assert (heard == sound[at : at + heard.size]).all()


def test_speech_in_a_conversation_is_found_in_parts() -> None:
    sound = speech("conversation")
    rows = segments(hear(chunks(sound, every(sound, RATE), NOON), 7))
    assert len(rows) > 8
    for before, after in pairwise(rows):
        assert before["segment_end"] <= after["timestamp"]


@pytest.mark.parametrize("sound", [silence(6), noise(6), noise(6, 0.3), tone(6), tone(6, 1_000)])
def test_there_is_no_speech_in_silence_noise_and_tones(sound: Pcm16) -> None:
    assert segments(hear(chunks(sound, every(sound, RATE), NOON))) == []


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_chunks_batches_and_restarts_do_not_show(seed: int) -> None:
    chance = random.Random(seed)
    sentence = speech("sense_and_sensibility_0880")
    sound = np.concatenate([silence(1), sentence, silence(0.6), sentence, silence(0.2)])
    whole = segments(hear(chunks(sound, [], NOON)))
    # Cuts at whole milliseconds, so that the chunks' times are exact.
    cuts = sorted({chance.randrange(16, sound.size - 16) // 16 * 16 for _ in range(chance.randint(1, 40))})
    frame = batch(AUDIO_RAW, chunks(sound, cuts, NOON))
    simulation = new_simulation()
    simulation.land(frame)
    at, now = 0, NOON
    while at < frame.height:
        size = chance.randint(1, 6)
        now += timedelta(seconds=chance.choice([0, 1, 60]))
        part = frame[at : at + size].sample(fraction=1.0, shuffle=True, seed=seed % 2**31)
        before = dict(simulation.state), dict(simulation.timers), dict(simulation.rows)
        simulation.run(part, now)
        if chance.random() < 0.3:
            # A crash before the commit: nothing of it stays, and the batch comes again.
            simulation.state, simulation.timers, simulation.rows = before
            simulation.run(part, now)
        at += size
    simulation.finish(frame, lambda: now)
    same = ("timestamp", "segment_end", "duration_ms", "confidence_mean", "confidence_max", "audio_sha256")
    assert [{k: r[k] for k in same} for r in segments(simulation)] == [{k: r[k] for k in same} for r in whole]


@pytest.mark.parametrize(
    ("audio_format", "rate", "channels"),
    [("wav", 44_100, 2), ("flac", 48_000, 1), ("mp3", 44_100, 1), ("aac", 48_000, 2), ("raw", 16_000, 1)],
)
def test_every_encoding_gives_the_same_speech(audio_format: str, rate: int, channels: int) -> None:
    sentence = speech("sense_and_sensibility_0870")
    sound = np.concatenate([silence(1), sentence, silence(1)])
    (expected, *more) = segments(hear(chunks(sound, [], NOON)))
    rows = chunks(sound, every(sound, 2 * RATE), NOON)
    for row, start in zip(rows, range(0, sound.size, 2 * RATE), strict=True):
        piece = sound[start : start + 2 * RATE]
        body = piece.tobytes() if audio_format == "raw" else encode(piece, audio_format, rate, channels)
        row |= {
            "chunk_data": base64.b64encode(body).decode(),
            "format": "wav" if audio_format == "raw" else audio_format,
            "sample_rate": rate,
            "channels": channels,
        }
    (got, *others) = segments(hear(rows))
    assert len(more) == len(others)
    assert abs(got["timestamp"] - expected["timestamp"]) < timedelta(milliseconds=150)
    total = sum(r["duration_ms"] for r in (expected, *more))
    assert sum(r["duration_ms"] for r in (got, *others)) == pytest.approx(total, abs=400)


def test_a_gap_ends_a_segment() -> None:
    sentence = speech("sense_and_sensibility_0880")
    first = chunks(sentence, [], NOON)
    later = chunks(sentence, [], NOON + timedelta(seconds=30), first_id=2)
    rows = segments(hear([*first, *later]))
    assert len(rows) == 2
    assert [json.loads(r["source_message_ids"]) for r in rows] == [[message_id(1)], [message_id(2)]]


def test_a_new_day_ends_a_segment() -> None:
    sound = np.concatenate([speech("sense_and_sensibility_0880")] * 2)
    midnight = NOON + timedelta(hours=12)
    rows = chunks(sound, every(sound, 8_000), midnight - timedelta(seconds=3))
    live = segments(hear(rows))
    days = [segments(hear([r for r in rows if (r["timestamp"] < midnight) == before])) for before in (True, False)]
    assert [r["message_id"] for r in live] == [r["message_id"] for day in days for r in day]


def test_an_open_segment_is_given_when_no_more_comes_and_again_when_it_goes_on() -> None:
    sentence = speech("sense_and_sensibility_0880")
    simulation = new_simulation()
    frame = batch(AUDIO_RAW, chunks(sentence, [RATE], NOON))
    simulation.land(frame)
    assert simulation.run(frame[:1], NOON).rows[VAD_FILTERED].is_empty()
    (due_at,) = simulation.timers.values()
    assert due_at == NOON + timedelta(seconds=1 + 2 + 5)
    simulation.run(frame.clear(), due_at)
    (early,) = segments(simulation)
    simulation.run(frame[1:], due_at)
    simulation.finish(frame, lambda: due_at)
    (final,) = segments(simulation)
    assert final["timestamp"] == early["timestamp"]
    assert final["duration_ms"] > early["duration_ms"]
    assert segments(hear(chunks(sentence, [RATE], NOON))) == [final]


def test_a_chunk_that_is_delivered_twice_is_heard_once() -> None:
    sentence = np.concatenate([speech("sense_and_sensibility_0880"), silence(1)])
    rows = chunks(sentence, [RATE, 2 * RATE], NOON)
    once = segments(hear(rows))
    again = [*rows[:2], rows[0], *rows[1:], rows[2]]
    assert segments(hear(again, 1)) == once


def test_a_late_chunk_is_heard_alone() -> None:
    sentence = speech("sense_and_sensibility_0880")
    rows = chunks(sentence, [RATE, 2 * RATE], NOON)
    simulation = hear([rows[0], rows[2], rows[1]], 1)
    sources = [json.loads(r["source_message_ids"]) for r in segments(simulation)]
    assert [message_id(2)] in sources


def test_a_body_that_is_not_sound_is_poison_and_its_neighbours_go_on() -> None:
    sentence = np.concatenate([speech("sense_and_sensibility_0880"), silence(1)])
    good = chunks(sentence, [], NOON)
    bad = chunks(silence(1), [], NOON + timedelta(seconds=60), first_id=2)
    bad[0] |= {"format": "flac", "chunk_data": base64.b64encode(b"nothing").decode()}
    worse = chunks(silence(1), [], NOON + timedelta(seconds=90), first_id=3, chunk_data="!!")
    simulation = new_simulation()
    frame = batch(AUDIO_RAW, [*good, *bad, *worse])
    simulation.land(frame)
    output = simulation.run(frame, NOON)
    assert output.rows[VAD_FILTERED].height == 1
    assert set(output.poison) == {message_id(2), message_id(3)}
    assert "flac" in output.poison[message_id(2)]
    assert "base64" in output.poison[message_id(3)]


def test_devices_have_streams_of_their_own() -> None:
    sentence = np.concatenate([speech("sense_and_sensibility_0880"), silence(1)])
    one = chunks(sentence, every(sentence, RATE), NOON, device_id="phone-001")
    two = chunks(sentence, every(sentence, RATE), NOON, device_id="watch-001", first_id=50)
    rows = segments(hear([*one, *two], 3))
    assert sorted(r["device_id"] for r in rows) == ["phone-001", "watch-001"]
    assert rows[0]["audio_sha256"] == rows[1]["audio_sha256"]


def test_without_object_storage_it_waits() -> None:
    with pytest.raises(DependencyError, match="object storage"):
        SILERO_VAD.transform(batch(AUDIO_RAW, []), Context("1", NOON))


def model(loud: Float32, state: Float32) -> tuple[float, Float32]:
    """A model that takes loud for speech."""
    return float(np.abs(loud[-HOP:]).max() > 0.1) * 0.9, state


def fed(sound: Pcm16, size: int) -> list[Segment]:
    stream = SpeechStream()
    out: list[Segment] = []
    for start in range(0, sound.size, size):
        out += stream.feed(
            Chunk(start, start * 1_000_000 // RATE, message_id(start + 1)), sound[start : start + size], model
        )
        again = restore(stream.dump())
        assert again is not None
        assert again.dump() == stream.dump()
        stream = again
    last = stream.open_segment()
    return [*out, last] if last else out


def test_a_long_segment_is_cut_without_losing_or_repeating_a_sample() -> None:
    sound = np.concatenate([silence(1), tone(70), silence(1)])
    parts = fed(sound, 16_000)
    assert [p.samples.size >= MAX_SEGMENT for p in parts] == [True, True, False]
    joined = np.concatenate([p.samples for p in parts])
    begin = parts[0].at_us * RATE // 1_000_000
    assert (joined == sound[begin : begin + joined.size]).all()


@pytest.mark.parametrize("size", [160, 500, 16_000, 10**6])
def test_short_sounds_are_not_speech_and_short_pauses_do_not_end_it(size: int) -> None:
    sound = np.concatenate([silence(1), tone(0.1), silence(1), tone(1), silence(0.2), tone(1), silence(1)])
    (segment,) = fed(sound, size)
    assert segment.at_us / 1e6 == pytest.approx(2.1 - 0.06, abs=0.04)
    assert segment.samples.size / RATE == pytest.approx(2.2 + 0.12, abs=0.08)


def test_state_of_another_version_is_not_read() -> None:
    assert restore(b"\x00what is this") is None
    assert restore(b"") is None
