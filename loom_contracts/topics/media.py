"""Topics of sound and of text found in sound and images."""

from typing import Final

from loom_contracts.payloads.analysis import AudioEnvironment
from loom_contracts.payloads.audio import SpeechSegment
from loom_contracts.payloads.text import CleanedText, OcrText, Transcript
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
    consumers=("speech-to-text", "environment-classifier", "speech-emotion"),
    scope=("timestamp", "device_id"),
)
ENVIRONMENT_CLASSIFIED: Final = Topic(
    "media.audio.environment_classified",
    AudioEnvironment,
    "Whether sound was recorded indoors, outdoors or in a vehicle.",
    derived(
        "environment-classifier",
        segment_end="2026-01-15T08:30:10.000000Z",
        environment="indoor",
        confidence=0.83,
        scores={"indoor": 0.83, "outdoor": 0.12, "vehicle": 0.05},
        loudness_dbfs=-31.5,
    ),
    producers=("environment-classifier",),
    scope=("timestamp", "source_message_id"),
)
TRANSCRIBED_WORDS: Final = Topic(
    "media.text.transcribed.words",
    Transcript,
    "What was said, word by word.",
    derived(
        "speech-to-text",
        "1+faster-whisper-small",
        segment_end="2026-01-15T08:30:02.400000Z",
        text="see you",
        words=[
            {"word": "see", "start_ms": 120, "end_ms": 410, "confidence": 0.94},
            {"word": "you", "start_ms": 420, "end_ms": 700, "confidence": 0.97},
        ],
        language="en",
        language_confidence=0.99,
        confidence=0.955,
    ),
    producers=("speech-to-text",),
    consumers=("mistral-context",),
    scope=("timestamp", "source_message_id"),
)
OCR_EXTRACTED: Final = Topic(
    "media.text.ocr_extracted",
    OcrText,
    "Text that was read in images.",
    derived(
        "screenshot-ocr",
        "1+rapidocr-3.10",
        text="LOOM",
        lines=[{"text": "LOOM", "confidence": 0.98, "box": {"x": 0.1, "y": 0.1, "width": 0.3, "height": 0.05}}],
        confidence=0.98,
        language="en",
    ),
    producers=("screenshot-ocr",),
    consumers=("ocr-cleaning",),
    scope=("timestamp", "source_message_id"),
)
OCR_CLEANED: Final = Topic(
    "media.text.ocr_cleaned",
    CleanedText,
    "Text of images without noise, in blocks.",
    derived("ocr-cleaning", text="LOOM", blocks=[{"kind": "heading", "text": "LOOM"}], removed_line_count=2),
    producers=("ocr-cleaning",),
    consumers=("mistral-context",),
    scope=("timestamp", "source_message_id"),
)
