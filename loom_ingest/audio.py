"""Audio chunks as clients send them: the guide's form, and the readme's with less in it."""

import base64
import binascii
import io
import wave
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import to_json

from loom_contracts.payloads.audio import AudioChunk
from loom_ingest.validation import parse_json, rejection, validated

LONGEST_MS: Final = 60_000
_URL_SAFE: Final = str.maketrans("-_", "+/")
_SAMPLE_BYTES: Final = 2


def parse_chunk(body: bytes) -> AudioChunk:
    """The chunk in `body`; raises the 400 or 422.

    A body in the guide's form is parsed once. Any other gets `data` as `chunk_data`, base64 in its canonical form,
    and `channels` and `duration_ms` from the audio itself where they are absent.
    """
    try:
        return AudioChunk.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise rejection(error, body) from None
    item = parse_json(body)
    if isinstance(item, dict):
        item = completed(item)
    return validated(AudioChunk, to_json(item))


def completed(item: dict[str, Any]) -> dict[str, Any]:
    """`item` with the fields that can be derived; whatever is wrong stays as it is, for validation to name."""
    item = dict(item)
    if "chunk_data" not in item and "data" in item:
        item["chunk_data"] = item.pop("data")
    text = item.get("chunk_data")
    if not isinstance(text, str):
        return item
    item["chunk_data"] = text = canonical_base64(text)
    try:
        audio = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return item
    channels, duration_ms = measured(audio, item)
    if item.get("channels") is None:
        item["channels"] = channels
    if item.get("duration_ms") is None:
        item["duration_ms"] = duration_ms
    return item


def canonical_base64(text: str) -> str:
    """`text` as RFC 4648 base64: without line ends, in the standard alphabet, padded with `=`.

    Encoders differ in alphabet and padding (`=`, `.`, none); decoders further on need not.
    """
    text = "".join(text.split()).translate(_URL_SAFE).rstrip("=.")
    return text + "=" * (-len(text) % 4)


def measured(audio: bytes, item: dict[str, Any]) -> tuple[int, int]:
    """Channels and milliseconds: of the wav header where there is one, else 16-bit samples, as the guide's SDK does."""
    try:
        with wave.open(io.BytesIO(audio)) as reader:
            channels, rate, size = reader.getnchannels(), reader.getframerate(), reader.getsampwidth()
            # A streamed header may announce more than there is, so what follows it counts.
            frames = min(reader.getnframes(), len(audio) // (channels * size))
            return channels, _bounded(frames * 1000 // rate)
    except (wave.Error, EOFError, ZeroDivisionError):
        pass
    channels = item.get("channels")
    channels = channels if isinstance(channels, int) and channels > 0 else 1
    rate = item.get("sample_rate")
    rate = rate if isinstance(rate, int) and rate > 0 else 44_100
    return channels, _bounded(len(audio) * 1000 // (rate * _SAMPLE_BYTES * channels))


def _bounded(milliseconds: int) -> int:
    return min(max(milliseconds, 1), LONGEST_MS)
