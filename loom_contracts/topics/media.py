"""Topics of processed media: sound, text, images and video."""

from typing import Final

from loom_contracts.payloads.audio import SpeechSegment
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived

VAD_FILTERED: Final = Topic(
    "media.audio.vad_filtered",
    SpeechSegment,
    "Stretches of audio that hold speech.",
    derived(
        "silero-vad",
        "1+silero-vad-6.2.3",
        segment_end="2026-01-15T08:30:02.400000Z",
        duration_ms=2_400,
        sample_rate=16_000,
        channels=1,
        confidence_mean=0.91,
        confidence_max=0.99,
        chunk_count=3,
        source_message_ids=[
            "6f1d4a52-0f0e-4a7b-9d0e-2d4c3b8b6f10",
            "7a2e5b63-1f1e-4b8c-8e1f-3e5d4c9c7f21",
            "550e8400-e29b-41d4-a716-446655440000",
        ],
        audio_ref="audio/9f/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.wav",
        audio_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        audio_size_bytes=76_844,
        audio_format="wav",
    ),
    producers=("silero-vad",),
    scope=("timestamp", "device_id"),
)
