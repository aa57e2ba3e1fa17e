"""The VAD stage over real speech, in chunks of a second, against real time."""

import base64
import io
import time
import uuid
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from loom_contracts.topics.device import AUDIO_RAW
from loom_models.frames import frame_schema
from loom_models.stage import Context
from loom_models.stages.vad_filtered import LANDED, SILERO_VAD, transform
from loom_platform.blobs import open_blobs
from tests.benchmarks.harness import Result

SPEECH = Path(__file__).parents[3] / "shared/data/speech/conversation.wav"
MINUTES = 5


def run() -> list[Result]:
    """Seconds of audio heard per second of processor time, decoding and storing of segments included."""
    rate, samples, note = _audio()
    chunks = [samples[i : i + rate] for i in range(0, samples.size - rate + 1, rate)]
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    batches = [_batch(chunks[i : i + 16], rate, start + timedelta(seconds=i)) for i in range(0, len(chunks), 16)]
    blobs = open_blobs("memory://")
    frames = {LANDED.name: pl.DataFrame(schema=LANDED.schema)}
    state: dict[str, bytes] = {}
    transform(batches[0], Context(SILERO_VAD.version, start, frames, blobs=blobs))  # loads the model
    wall, processor, segments = time.perf_counter(), time.process_time(), 0
    for batch in batches:
        output = transform(batch, Context(SILERO_VAD.version, start, frames, state=state, blobs=blobs))
        state = {d: s for d, s in output.state.items() if s is not None}
        segments += sum(f.height for f in output.rows.values())
    processor = time.process_time() - processor
    wall = time.perf_counter() - wall
    return [
        Result("VAD stage: audio per processor time", len(chunks) / processor, "x real time", 50, note=note),
        Result("VAD stage: audio per wall time", len(chunks) / wall, "x real time", note=f"{segments} segments"),
    ]


def _audio() -> tuple[int, "np.ndarray[tuple[int], np.dtype[np.int16]]", str]:
    if not SPEECH.exists():
        noise = np.random.default_rng(0).normal(0, 2000, 16_000 * 60 * MINUTES).astype("<i2")
        return 16_000, noise, "on noise: ../shared/data/speech is absent"
    with wave.open(str(SPEECH)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    times = int(np.ceil(60 * MINUTES * rate / samples.size))
    return rate, np.tile(samples, times), f"{MINUTES} minutes of conversation, {rate} Hz wav"


def _batch(chunks: list["np.ndarray[tuple[int], np.dtype[np.int16]]"], rate: int, start: datetime) -> pl.DataFrame:
    rows = [
        {
            "schema_version": "1.0",
            "message_id": str(uuid.uuid4()),
            "device_id": "microphone-001",
            "timestamp": start + timedelta(seconds=n),
            "chunk_data": base64.b64encode(_wav(chunk, rate)).decode(),
            "sample_rate": rate,
            "channels": 1,
            "format": "wav",
            "duration_ms": 1000,
            "kafka_partition": 0,
            "kafka_offset": n,
            "received_at": start + timedelta(seconds=n + 1),
        }
        for n, chunk in enumerate(chunks)
    ]
    times = pl.Datetime("us", "UTC")
    schema: dict[str, pl.DataType] = {
        **frame_schema(AUDIO_RAW.payload),
        "kafka_partition": pl.Int32(),
        "kafka_offset": pl.Int64(),
        "received_at": times,
    }
    return pl.DataFrame(rows, schema=schema)


def _wav(samples: "np.ndarray[tuple[int], np.dtype[np.int16]]", rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
