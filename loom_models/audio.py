"""Sound in and out: any supported encoding to 16 kHz mono, and 16 kHz mono to WAV."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from loom_models.errors import PoisonError

RATE: Final = 16_000
"""Samples per second of all audio inside Loom's models."""
MAX_SECONDS: Final = 300
"""A body that decodes to more than this is refused: a few bytes can unpack to hours."""

Pcm16 = npt.NDArray[np.int16]
Float32 = npt.NDArray[np.float32]

_RATES: Final = (4_000, 384_000)
_MAX_CHANNELS: Final = 8


def decode(body: bytes, audio_format: str, sample_rate: int, channels: int) -> Float32:
    """The sound of `body` as float32 in [-1, 1], mono, 16 kHz.

    The body's own header decides what it is; `audio_format` is what the sender called it. A `wav` without a header
    is raw little-endian PCM of 16 bits at `sample_rate` and `channels`, as the guide's own client sends it. A body
    that is cut off gives the sound before the cut. Raises PoisonError, which names the format, for anything else.
    """
    container = _container(body)
    if container is None:
        if audio_format != "wav":
            raise PoisonError(
                f"audio is called {audio_format}, but the body of {len(body)} bytes is not: mend the sender"
            )
        return _raw(body, sample_rate, channels)
    if container == "wav" and (plain := _plain_wav(body)) is not None:
        return _raw(*plain)
    frames = _frames(body, container, audio_format)
    # Channels are averaged here: libswresample would add them up, and clip.
    resampler = av.AudioResampler(format="flt", rate=RATE)
    pieces: list[Float32] = []
    length = 0
    try:
        for frame in _until_cut(frames):
            resampled = [_mono(f) for f in resampler.resample(frame)]
            pieces += resampled
            length += sum(p.size for p in resampled)
            if length > MAX_SECONDS * RATE:
                raise PoisonError(f"{audio_format} audio is longer than {MAX_SECONDS} s: send it in chunks")
        pieces += [_mono(f) for f in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        raise PoisonError(f"{audio_format} audio can't be decoded: {error}") from error
    if not pieces:
        raise PoisonError(f"{audio_format} audio of {len(body)} bytes holds no sound")
    return np.nan_to_num(np.concatenate(pieces), nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)


def _mono(frame: av.AudioFrame) -> Float32:
    """The mean of an interleaved frame's channels (of a planar one, PyAV reads past the eighth and crashes)."""
    mono: Float32 = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(axis=1, dtype=np.float32)
    return mono


def to_pcm16(samples: Float32) -> Pcm16:
    """float32 in [-1, 1] as 16-bit integers; those that came from 16 bits come out the same."""
    scaled: Pcm16 = np.clip(np.rint(samples * 32_768.0), -32_768, 32_767).astype(np.int16)
    return scaled


def wav(samples: Pcm16, rate: int = RATE) -> bytes:
    """A mono WAV file of 16 bits: the same samples always give the same bytes."""
    data = samples.astype("<i2").tobytes()
    fmt = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _container(body: bytes) -> str | None:
    """FFmpeg's name of the container, by its first bytes. FFmpeg is never let guess: it also knows playlists."""
    if body[:4] in (b"RIFF", b"RF64") and body[8:12] == b"WAVE":
        return "wav"
    if body[:4] == b"fLaC":
        return "flac"
    if body[4:8] == b"ftyp":
        return "mp4"
    if body[:3] == b"ID3":
        return "mp3"
    if len(body) > 2 and body[0] == 0xFF and body[1] & 0xE0 == 0xE0:
        # ADTS and MPEG audio share their sync word; the layer bits are zero in ADTS alone.
        return "aac" if body[1] & 0xF6 == 0xF0 else "mp3" if body[1] & 0x06 else None
    return None


def _plain_wav(body: bytes) -> tuple[bytes, int, int] | None:
    """Samples, rate and channels of a WAV of 16-bit PCM; None for any other. FFmpeg would take 3 ms to open it.

    A size that is larger than what follows, as in the first piece of a file that was cut, means all that follows.
    """
    at, form = 12, None
    while at + 8 <= len(body):
        kind, size = body[at : at + 4], int.from_bytes(body[at + 4 : at + 8], "little")
        if kind == b"fmt " and size >= 16:
            form = struct.unpack_from("<HHIIHH", body.ljust(at + 24, b"\x00"), at + 8)
        elif kind == b"data":
            if form is None:
                return None
            tag, channels, rate, _, align, bits = form
            if (
                (tag, bits, align) != (1, 16, 2 * channels)
                or not _RATES[0] <= rate <= _RATES[1]
                or not 1 <= channels <= _MAX_CHANNELS
            ):
                return None
            data = body[at + 8 : at + 8 + size]
            whole = data[: len(data) // align * align]
            return (whole, rate, channels) if whole else None
        at += 8 + size + size % 2
    # FFmpeg would look for the end of a part that is said to be gigabytes long.
    raise PoisonError(f"wav audio of {len(body)} bytes holds no sound")


def _frames(body: bytes, container: str, audio_format: str) -> Iterator[av.AudioFrame]:
    try:
        with av.open(BytesIO(body), mode="r", format=container) as opened:
            if not opened.streams.audio:
                raise PoisonError(f"{audio_format} audio holds no sound track")
            context = opened.streams.audio[0].codec_context
            if context is None:
                raise PoisonError(f"{audio_format} audio has a codec that is not known")
            if context.sample_rate and not _RATES[0] <= context.sample_rate <= _RATES[1]:
                raise PoisonError(f"{audio_format} audio has a sample rate of {context.sample_rate} Hz")
            if context.channels > _MAX_CHANNELS:
                raise PoisonError(f"{audio_format} audio has {context.channels} channels")
            for frame in opened.decode(audio=0):
                if frame.layout.nb_channels > _MAX_CHANNELS:
                    raise PoisonError(f"{audio_format} audio has {frame.layout.nb_channels} channels")
                yield frame
    except av.FFmpegError as error:
        raise _CutError(f"{audio_format} audio can't be decoded: {error.strerror or error}") from error


class _CutError(PoisonError):
    """FFmpeg went no further."""


def _until_cut(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    some = False
    try:
        for frame in frames:
            some = True
            yield frame
    except _CutError:
        if not some:
            raise


def _raw(body: bytes, sample_rate: int, channels: int) -> Float32:
    if not body or len(body) % (2 * channels):
        raise PoisonError(
            f"wav audio has no RIFF header, and its {len(body)} bytes are not 16-bit samples of {channels} channels"
        )
    interleaved = np.frombuffer(body, "<i2").reshape(-1, channels).astype(np.float32)
    mono: Float32 = interleaved.mean(axis=1, dtype=np.float32) * np.float32(1 / 32_768)
    if sample_rate == RATE:
        return mono
    frame = av.AudioFrame.from_ndarray(mono[None], format="flt", layout="mono")
    frame.sample_rate = sample_rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    pieces = [f.to_ndarray()[0] for f in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
