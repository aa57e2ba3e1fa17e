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
_RESONANCES: Final = ((80.0, 1.0), (110.0, 0.6), (160.0, 0.35))
"""Half bandwidth, hertz, and strength of each."""
_PITCH_HZ: Final = 130.0
_HARMONICS: Final = 35
_SYLLABLE_S: Final = 0.18


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
    """A voice without words: harmonics of a gliding pitch, shaped by formants that glide from vowel to vowel, with a
    hiss between syllables. Silero takes 95 % of it for speech; without the hiss, half.
    """
    generator = np.random.default_rng(rng.getrandbits(64))
    count = int(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    knots = np.linspace(0, seconds, max(2, int(seconds / _SYLLABLE_S) + 2))
    vowels = np.array([rng.choice(_VOWELS) for _ in knots], dtype=np.float64)
    formants = [np.interp(time, knots, vowels[:, n]) for n in range(vowels.shape[1])]
    pitch = np.interp(time, knots, [_PITCH_HZ * rng.uniform(0.75, 1.25) for _ in knots])
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = np.zeros(count)
    for harmonic in range(1, _HARMONICS + 1):
        frequency = harmonic * pitch
        voice += sum(
            strength * width**2 / ((frequency - formant) ** 2 + (1.2 * width) ** 2)
            for formant, (width, strength) in zip(formants, _RESONANCES, strict=True)
        ) * np.sin(harmonic * phase)
    opening = 1 - 0.9 * (0.5 + 0.5 * np.cos(2 * np.pi * time / _SYLLABLE_S)) ** 2
    loudness = np.interp(time, knots, [0.15 if rng.random() < 0.15 else 1.0 for _ in knots])
    voice *= opening * loudness
    hiss = np.diff(generator.standard_normal(count), prepend=0.0) * (1 - opening) * loudness
    out = voice / (np.abs(voice).max() or 1.0) + 0.08 * hiss + 0.004 * generator.standard_normal(count)
    return Utterance(name, (out / np.abs(out).max() * 9_000).astype(np.int16))


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
