"""Every stage and flow that exists. To add a stage: one module in `stages`, one line here."""

from dataclasses import dataclass
from typing import Final, Literal

from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    AUDIO_RAW,
    GENERIC_SENSORS,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
)
from loom_models.landing import landing_stage
from loom_models.stage import Stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_models.stages.vad_filtered import SILERO_VAD

Priority = Literal["critical", "high", "medium", "low"]


@dataclass(frozen=True)
class Flow:
    """Stages that make one thing of a source, in order; `events_per_second` is the rate to expect of its source."""

    name: str
    priority: Priority
    description: str
    events_per_second: float
    stages: tuple[Stage, ...]


FLOWS: Final[tuple[Flow, ...]] = (
    Flow(
        "audio-processing",
        "critical",
        "Microphone audio, and the speech in it.",
        10.0,
        (landing_stage(AUDIO_RAW), SILERO_VAD),
    ),
    Flow(
        "location-enrichment",
        "high",
        "Positions, and the saved places that they lie in.",
        0.1,
        (landing_stage(GPS_RAW), GEOREGION_DETECTOR),
    ),
    Flow(
        "motion-classification",
        "medium",
        "Motion, and its features over windows of time.",
        50.0,
        (landing_stage(ACCELEROMETER_RAW), ACCELEROMETER_WINDOW),
    ),
    Flow(
        "power-state",
        "medium",
        "Battery level and charging.",
        0.1,
        (landing_stage(POWER_RAW),),
    ),
    Flow(
        "health-signals",
        "medium",
        "Pulse.",
        1.0,
        (landing_stage(HEARTRATE_RAW),),
    ),
    Flow(
        "environment-sensing",
        "low",
        "Readings of all other sensors.",
        5.0,
        tuple(landing_stage(topic) for topic in GENERIC_SENSORS),
    ),
)

STAGES: Final[tuple[Stage, ...]] = tuple(stage for flow in FLOWS for stage in flow.stages)
"""Every stage, in the order of the flows."""

LANDING_STAGES: Final[tuple[Stage, ...]] = tuple(stage for stage in STAGES if stage.landing)
"""The landing stages: one for each raw topic that has a table."""
