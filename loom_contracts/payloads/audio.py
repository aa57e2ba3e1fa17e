"""Sound: chunks as a device recorded them, and the speech found in them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage, Message, StoredBody
from loom_contracts.payloads.common import Base64, Count, Label, Sha256, Share

AudioFormat = Literal["wav", "mp3", "flac", "aac"]


class AudioChunk(Message):
    """A piece of a recording; `timestamp` is when its first sample was taken."""

    chunk_data: Annotated[Base64, StoredBody(name="audio")] = Field(description="The encoded audio in base64.")
    sample_rate: int = Field(ge=8_000, le=192_000, description="Samples per second, hertz.")
    channels: int = Field(ge=1, le=8, description="Number of channels.")
    format: AudioFormat = Field(description="Encoding of the body.")
    duration_ms: int = Field(ge=1, le=60_000, description="Length, milliseconds.")
    file_id: UUID | None = Field(None, description="Same for all chunks of one recording.")


class SpeechSegment(DerivedMessage):
    """A stretch of speech; it may span chunks. `timestamp` is when the speech begins."""

    segment_end: AwareDatetime = Field(description="When the speech ends, UTC.")
    duration_ms: int = Field(ge=1, le=86_400_000, description="Length, milliseconds.")
    sample_rate: int = Field(ge=8_000, le=192_000, description="Samples per second of the stored segment, hertz.")
    channels: int = Field(ge=1, le=8, description="Channels of the stored segment.")
    confidence_mean: Share = Field(description="Mean speech probability over the segment's frames.")
    confidence_max: Share = Field(description="Highest speech probability among the segment's frames.")
    chunk_count: Count = Field(description="How many chunks it was cut from.")
    source_message_ids: list[UUID] = Field(min_length=1, description="Those chunks, in order of time.")
    audio_ref: Label = Field(description="Where the segment's audio lies in object storage.")
    audio_sha256: Sha256 = Field(description="SHA-256 of that audio, hexadecimal.")
    audio_size_bytes: Count = Field(description="Size of that audio, bytes.")
    audio_format: Literal["wav", "flac"] = Field(description="Encoding of that audio.")
