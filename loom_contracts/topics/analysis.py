"""Topics of conclusions."""

from typing import Any, Final

from loom_contracts.payloads.analysis import InferredContext, Reconstruction3d, SpeechEmotion
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived

_CONTEXT: Final[dict[str, Any]] = {
    "window_end": "2026-01-15T08:45:00.000000Z",
    "summary": "Breakfast at home, then planning the day.",
    "activity": "planning",
    "topics": ["breakfast", "calendar"],
    "people": ["Bob"],
    "confidence": 0.7,
    "evidence_message_ids": ["550e8400-e29b-41d4-a716-446655440000"],
    "details": {"mood": "calm"},
}

DUSTR_RESULTS: Final = Topic(
    "analysis.3d_reconstruction.dustr_results",
    Reconstruction3d,
    "Reconstructions of the surroundings in 3D.",
    derived(
        "dustr-reconstruction",
        model="DUSt3R",
        source_message_ids=["550e8400-e29b-41d4-a716-446655440000"],
        point_count=120_000,
        cloud_ref="cloud/9f/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.ply",
        cloud_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        cloud_size_bytes=1_800_000,
        cloud_format="ply",
    ),
    producers=("dustr-reconstruction",),
    scope=("timestamp", "device_id"),
)
QWEN_RESULTS: Final = Topic(
    "analysis.inferred_context.qwen_results",
    InferredContext,
    "What Qwen infers of a stretch of time.",
    derived("qwen-context", model="qwen", **_CONTEXT),
    producers=("qwen-context",),
    scope=("timestamp", "device_id"),
)
MISTRAL_RESULTS: Final = Topic(
    "analysis.inferred_context.mistral_results",
    InferredContext,
    "What Mistral infers of a stretch of time.",
    derived("mistral-context", model="mistral-small3.2", **_CONTEXT),
    producers=("mistral-context",),
    scope=("timestamp", "device_id"),
)
SPEECH_EMOTION_RESULTS: Final = Topic(
    "analysis.audio.emotion_results",
    SpeechEmotion,
    "Emotions in speech.",
    derived(
        "speech-emotion",
        segment_end="2026-01-15T08:30:02.400000Z",
        emotion="calm",
        scores={"calm": 0.8, "joy": 0.2},
        valence=0.2,
        arousal=-0.4,
    ),
    producers=("speech-emotion",),
    scope=("timestamp", "source_message_id"),
)
