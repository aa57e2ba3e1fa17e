"""What the microphone hears: real utterances from wav files, or synthetic ones, cut into wav chunks."""

import base64
import io
import random
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from loom_platform.errors import PlatformError

SAMPLE_RATE: Final = 16_000
Samples = npt.NDArray[np.int16]

_LONGEST_S: Final = 12.0
_NOISE: Final = 6.0
_VOWELS: Final = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""First three formants of /a i u e o/, hertz (Peterson and Barney, 1952)."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something said: 16 kHz mono; `text` where it is known."""

    name: str
    samples: Samples
    text: str | None = None

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.samples) / SAMPLE_RATE


def utterances(folder: Path | None, rng: random.Random) -> tuple[Utterance, ...]:
    """Those of the 16 kHz mono wav files in `folder`, cut at 12 s; synthetic ones when there are none.

    Raises PlatformError when a file is no such wav.
    """
    files = sorted(folder.glob("*.wav")) if folder is not None and folder.is_dir() else []
    found = tuple(u for path in files for u in _read(path))
    return found or tuple(synthetic(rng, 2.0 + 0.7 * n, f"synthetic-{n}") for n in range(4))


def _read(path: Path) -> Iterator[Utterance]:
    try:
        with wave.open(str(path)) as reader:
            shape = (reader.getframerate(), reader.getnchannels(), reader.getsampwidth())
            body = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise PlatformError(f"{path} is not a wav file that can be read ({error}); remove it") from None
    if shape != (SAMPLE_RATE, 1, 2):
        raise PlatformError(
            f"{path} is {shape[0]} Hz, {shape[1]} channels, {8 * shape[2]} bit: give 16 kHz mono 16 bit"
        )
    samples = np.frombuffer(body, dtype="<i2").astype(np.int16)
    text_file = path.with_suffix(".txt")
    text = " ".join(text_file.read_text(encoding="utf-8").split()) if text_file.exists() else None
    longest = int(_LONGEST_S * SAMPLE_RATE)
    pieces = [samples[i : i + longest] for i in range(0, len(samples), longest)]
    for number, piece in enumerate(pieces):
        if len(piece) >= SAMPLE_RATE:
            yield Utterance(f"{path.stem}-{number}", piece, text if len(pieces) == 1 else None)


def synthetic(rng: random.Random, seconds: float, name: str) -> Utterance:
    """A voice without words: a pulse train through three formants, in syllables of 200 ms with short pauses."""
    generator = np.random.default_rng(rng.getrandbits(64))
    count = int(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.6 * time) + 3 * np.sin(2 * np.pi * 5 * time)
    phase = np.cumsum(pitch) / SAMPLE_RATE
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.01 * generator.standard_normal(count)
    out = np.zeros(count)
    step = int(0.2 * SAMPLE_RATE)
    for begin in range(0, count, step):
        piece = pulses[begin : begin + step]
        voiced = sum(_resonate(piece, f, 60 + 0.05 * f) / (1 + n) for n, f in enumerate(rng.choice(_VOWELS)))
        envelope = np.hanning(len(piece)) ** 0.5 if len(piece) > 2 else np.zeros(len(piece))
        out[begin : begin + step] = voiced * envelope * rng.choice((1.0, 1.0, 1.0, 0.6, 0.0))
    peak = float(np.abs(out).max()) or 1.0
    return Utterance(name, (out / peak * 9_000).astype(np.int16))


def _resonate(signal: npt.NDArray[np.float64], frequency: float, bandwidth: float) -> npt.NDArray[np.float64]:
    """A formant: the signal convolved with a decaying sine, which is a two-pole resonator's response."""
    time = np.arange(int(0.03 * SAMPLE_RATE)) / SAMPLE_RATE
    response = np.exp(-np.pi * bandwidth * time) * np.sin(2 * np.pi * frequency * time)
    return np.convolve(signal, response)[: len(signal)]


def background(count: int, generator: np.random.Generator) -> Samples:
    """A quiet room: `count` samples of faint noise."""
    return (generator.standard_normal(count) * _NOISE).astype(np.int16)


def wav_base64(samples: Samples) -> str:
    """`samples` as a 16 kHz mono wav file, in base64."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples.astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()
