"""Topics of dead letters, one for each stage."""

from typing import Final

from loom_contracts.payloads.processing import DeadLetter
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import message

ERRORS_PREFIX: Final = "processing.errors"

PROCESSING_ERRORS: Final = Topic(
    ERRORS_PREFIX,
    DeadLetter,
    "Records that a stage can never process; on a broker it is one topic for each stage.",
    message(
        stage="silero-vad",
        stage_version="1+silero-vad-6.2.3",
        topic="device.audio.raw",
        partition=0,
        offset=41,
        error_type="PoisonError",
        reason="the body is not a wav file",
        value="bm90IGF1ZGlv",
    ),
    partitions=1,
    producers=("silero-vad",),
)
"""The pattern: its payload and settings are those of every `errors_of(stage)`."""


def errors_of(stage: str) -> Topic:
    """The topic of the dead letters of `stage`."""
    return Topic(
        f"{ERRORS_PREFIX}.{stage}",
        DeadLetter,
        f"Records that stage {stage} can never process.",
        PROCESSING_ERRORS.example | {"stage": stage},
        partitions=PROCESSING_ERRORS.partitions,
        producers=(stage,),
    )
