"""Speech in a stream of audio: what a device's stream has been so far, and the segments that come out of it.

A `SpeechStream` is fed a device's chunks in order of time and gives finished segments. Its result does not depend on
where the audio was cut into chunks. Between batches it is kept as bytes.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np

from loom_models.audio import RATE, Pcm16
from loom_models.models.silero import CONTEXT, HOP, Float32, fresh_state

Probability = Callable[[Float32, Float32], tuple[float, Float32]]
"""A frame of CONTEXT + HOP samples and a state -> probability of speech and the next state."""

THRESHOLD: Final = 0.5
"""A segment begins at this probability (silero-vad's own default) ..."""
THRESHOLD_OFF: Final = 0.35
"""... and ends where it has been below this one for MIN_SILENCE."""
MIN_SPEECH: Final = RATE * 250 // 1000
MIN_SILENCE: Final = RATE * 300 // 1000
PAD: Final = RATE * 60 // 1000
MAX_SEGMENT: Final = RATE * 30
"""A longer one is cut here, and goes on as the next."""

_HEADER: Final = struct.Struct("<BQQQQQQdIfdIfII")
_CHUNK: Final = struct.Struct("<QQ16s?16s?8s")
_FORMAT: Final = 1
_NONE: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of the stream: where it begins (samples since the stream's first), when, and its identity."""

    start: int
    at_us: int
    message_id: str
    trace_id: str | None = None
    span_id: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: when it begins, its sound, how sure the model was, and the chunks it lies in."""

    at_us: int
    samples: Pcm16
    confidence_mean: float
    confidence_max: float
    chunks: tuple[Chunk, ...]


@dataclass(slots=True)
class _Confidence:
    total: float = 0.0
    count: int = 0
    highest: float = 0.0

    def add(self, total: float, count: int, highest: float) -> None:
        self.total, self.count, self.highest = self.total + total, self.count + count, max(self.highest, highest)


@dataclass(slots=True)
class SpeechStream:
    """A contiguous stream. Positions count samples from its first one.

    `audio` holds what may still be needed, from `origin` on; the model has heard it up to `heard`. A segment is open
    when `start` is set; `silence` is where its trailing silence begins. No segment reaches back before `floor`.
    """

    model_state: Float32 = field(default_factory=fresh_state)
    audio: Pcm16 = field(default_factory=lambda: np.zeros(0, np.int16))
    chunks: list[Chunk] = field(default_factory=list)
    origin: int = 0
    heard: int = 0
    floor: int = 0
    start: int | None = None
    silence: int | None = None
    sure: _Confidence = field(default_factory=_Confidence)
    unsure: _Confidence = field(default_factory=_Confidence)

    @property
    def end(self) -> int:
        """Where the next chunk will begin."""
        return self.origin + self.audio.size

    @property
    def end_us(self) -> int:
        """When the audio so far ends, microseconds since the epoch."""
        return self._time(self.end)

    def feed(self, chunk: Chunk, samples: Pcm16, model: Probability) -> Iterator[Segment]:
        """Add a chunk that begins at `end`; gives the segments that are finished."""
        self.chunks.append(chunk)
        self.audio = np.concatenate([self.audio, samples])
        sound = self._unheard()
        for start in range(0, sound.size - CONTEXT - HOP + 1, HOP):
            at, self.heard = self.heard, self.heard + HOP
            probability, self.model_state = model(sound[start : start + CONTEXT + HOP], self.model_state)
            yield from self._step(at, probability)
        self._forget()

    def open_segment(self) -> Segment | None:
        """The open segment as if the audio ended here; None when there is none, or it is too short for speech."""
        if self.start is None:
            return None
        if self.silence is not None:
            return self._segment(self.start, self.silence, self.silence + PAD)
        return self._segment(self.start, self.heard, self.end)

    def _step(self, at: int, probability: float) -> Iterator[Segment]:
        if probability >= THRESHOLD:
            if self.start is None:
                self.start, self.sure = at, _Confidence()
            elif self.silence is not None:
                self.sure.add(self.unsure.total, self.unsure.count, self.unsure.highest)
            self.silence = None
        elif self.start is not None and self.silence is None and probability < THRESHOLD_OFF:
            self.silence, self.unsure = at, _Confidence()
        if self.start is None:
            return
        (self.sure if self.silence is None else self.unsure).add(probability, 1, probability)
        if self.silence is not None and self.heard - self.silence >= MIN_SILENCE:
            yield from self._close(self.silence, self.silence + PAD)
        elif self.heard - self.start >= MAX_SEGMENT:
            goes_on = self.silence is None
            yield from self._close(self.heard, self.heard)
            if goes_on:
                self.start, self.sure = self.heard, _Confidence()

    def _close(self, end: int, padded_end: int) -> Iterator[Segment]:
        if self.start is not None:
            segment = self._segment(self.start, end, padded_end)
            if segment is not None:
                yield segment
                self.floor = min(padded_end, self.end)
        self.start = self.silence = None

    def _segment(self, start: int, end: int, padded_end: int) -> Segment | None:
        if end - start < MIN_SPEECH or self.sure.count == 0:
            return None
        begin, finish = max(self.floor, start - PAD), min(padded_end, self.end)
        after = [*(c.start for c in self.chunks[1:]), self.end]
        chunks = tuple(c for c, until in zip(self.chunks, after, strict=True) if c.start < finish and until > begin)
        samples = self.audio[begin - self.origin : finish - self.origin]
        mean = min(1.0, self.sure.total / self.sure.count)
        return Segment(self._time(begin), samples, mean, min(1.0, self.sure.highest), chunks)

    def _time(self, position: int) -> int:
        chunk = next(c for c in reversed(self.chunks) if c.start <= position)
        return chunk.at_us + (position - chunk.start) * 1_000_000 // RATE

    def _unheard(self) -> Float32:
        """What the model has not heard yet, with CONTEXT samples before it: zeros before the stream's first."""
        first = max(self.origin, self.heard - CONTEXT)
        missing = CONTEXT - (self.heard - first)
        sound = np.zeros(missing + self.end - first, np.float32)
        np.multiply(self.audio[first - self.origin :], np.float32(1 / 32_768), out=sound[missing:])
        return sound

    def _forget(self) -> None:
        """Let go of audio and chunks that no segment to come can hold."""
        reach = self.heard if self.start is None else self.start
        origin = max(self.origin, min(max(self.floor, reach - PAD), self.heard - CONTEXT))
        self.audio, self.origin = self.audio[origin - self.origin :], origin
        later = [c.start for c in self.chunks[1:]]
        gone = sum(1 for start in later if start <= origin)
        self.chunks = self.chunks[gone:]

    def dump(self) -> bytes:
        """The stream as bytes, for `restore`."""
        header = _HEADER.pack(
            _FORMAT,
            self.origin,
            self.heard,
            self.floor,
            _NONE if self.start is None else self.start,
            _NONE if self.silence is None else self.silence,
            len(self.chunks),
            self.sure.total,
            self.sure.count,
            self.sure.highest,
            self.unsure.total,
            self.unsure.count,
            self.unsure.highest,
            self.model_state.nbytes,
            self.audio.nbytes,
        )
        chunks = b"".join(
            _CHUNK.pack(
                c.start,
                c.at_us,
                UUID(c.message_id).bytes,
                c.trace_id is not None,
                bytes.fromhex(c.trace_id or ""),
                c.span_id is not None,
                bytes.fromhex(c.span_id or ""),
            )
            for c in self.chunks
        )
        return header + chunks + self.model_state.astype("<f4").tobytes() + self.audio.astype("<i2").tobytes()


def restore(kept: bytes) -> SpeechStream | None:
    """The stream that `dump` gave; None when another version of this module kept it."""
    if not kept or kept[0] != _FORMAT:
        return None
    origin, heard, floor, start, silence, count, *rest = _HEADER.unpack_from(kept)[1:]
    at = _HEADER.size
    chunks = []
    for _ in range(count):
        position, at_us, message_id, has_trace, trace, has_span, span = _CHUNK.unpack_from(kept, at)
        trace_id, span_id = trace.hex() if has_trace else None, span.hex() if has_span else None
        chunks.append(Chunk(position, at_us, str(UUID(bytes=message_id)), trace_id, span_id))
        at += _CHUNK.size
    state_bytes, audio_bytes = rest[-2:]
    model_state = np.frombuffer(kept, "<f4", state_bytes // 4, at).reshape(fresh_state().shape).astype(np.float32)
    return SpeechStream(
        model_state=model_state,
        audio=np.frombuffer(kept, "<i2", audio_bytes // 2, at + state_bytes).astype(np.int16),
        chunks=chunks,
        origin=origin,
        heard=heard,
        floor=floor,
        start=None if start == _NONE else start,
        silence=None if silence == _NONE else silence,
        sure=_Confidence(*rest[0:3]),
        unsure=_Confidence(*rest[3:6]),
    )
