"""Speech and other sounds for tests, and how they are put into chunks and encodings."""

import base64
import wave
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
import pytest

from loom_models.audio import RATE, Pcm16, wav

SPEECH: Final = Path(__file__).resolve().parents[3] / "shared/data/speech"


def speech(name: str) -> Pcm16:
    """A recording of shared/data/speech, 16 kHz mono; skips the test where it is absent."""
    path = SPEECH / f"{name}.wav"
    if not path.exists():
        pytest.skip(f"no recording at {path}")
    with wave.open(str(path)) as recording:
        return np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.int16)


def silence(seconds: float) -> Pcm16:
    return np.zeros(int(seconds * RATE), np.int16)


def noise(seconds: float, level: float = 0.05) -> Pcm16:
    samples = np.random.default_rng(1).normal(0, level, int(seconds * RATE))
    return (samples.clip(-1, 1) * 32_767).astype(np.int16)


def tone(seconds: float, hertz: float = 440.0) -> Pcm16:
    at = np.arange(int(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * at) * 32_767).astype(np.int16)


def encode(samples: Pcm16, audio_format: str, rate: int = RATE, channels: int = 1) -> bytes:
    """The sound in this encoding, at this rate, the same in all channels."""
    codec, container = {
        "wav": ("pcm_s16le", "wav"),
        "flac": ("flac", "flac"),
        "mp3": ("mp3", "mp3"),
        "aac": ("aac", "adts"),
    }[audio_format]
    out = BytesIO()
    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(out, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], format="s16", layout=layout)
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size)
        for resampled in (*resampler.resample(frame), *resampler.resample(None)):
            opened.mux(stream.encode(resampled))
        opened.mux(stream.encode(None))
    return out.getvalue()


def chunks(
    samples: Pcm16, cuts: Sequence[int], start: datetime, *, first_id: int = 1, **changes: Any
) -> list[dict[str, Any]]:
    """Rows of AUDIO_RAW: the sound cut at these samples, one WAV each, contiguous from `start`."""
    from tests.models.frames import message_id

    edges = [0, *cuts, samples.size]
    rows = []
    for number, (begin, end) in enumerate(pairwise(edges)):
        at = start + timedelta(microseconds=begin * 1_000_000 // RATE)
        rows.append(
            {
                "message_id": message_id(first_id + number),
                "timestamp": at,
                "received_at": at + timedelta(seconds=(end - begin) / RATE),
                "chunk_data": base64.b64encode(wav(samples[begin:end])).decode(),
                "sample_rate": RATE,
                "channels": 1,
                "format": "wav",
                "duration_ms": max(1, (end - begin) * 1000 // RATE),
            }
            | changes
        )
    return rows


def every(samples: npt.NDArray[np.int16], size: int) -> range:
    """Cuts at every `size` samples."""
    return range(size, samples.size, size)
