"""Topics of motion, and of maps made while moving."""

from typing import Final

from loom_contracts.payloads.motion import ActivityClassification, SignificantMotion
from loom_contracts.payloads.spatial import SlamMap
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived

SIGNIFICANT_MOTION: Final = Topic(
    "motion.events.significant",
    SignificantMotion,
    "Beginnings and ends of motion, and sudden ones.",
    derived("motion-detector", event="start", intensity_mps2=2.4),
    producers=("motion-detector",),
    scope=("timestamp", "source_message_id", "event"),
)
ACTIVITY_CLASSIFIED: Final = Topic(
    "motion.classification.activity",
    ActivityClassification,
    "What the person does: still, walking, running, cycling, in a vehicle.",
    derived(
        "activity-classifier",
        window_end="2026-01-15T08:30:05.000000Z",
        activity="walking",
        confidence=0.9,
    ),
    producers=("activity-classifier",),
    scope=("timestamp", "device_id"),
)
SLAM_MAPPING: Final = Topic(
    "spatial.slam.mapping",
    SlamMap,
    "Maps of the surroundings that SLAM builds.",
    derived(
        "slam-mapper",
        map_id="b1f8a6e2-5c0d-4d0e-9f6b-7a1b2c3d4e5f",
        tracking="ok",
        pose={"x_m": 1.2, "y_m": 0.1, "z_m": -0.4, "qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0},
        keyframe_count=42,
        point_count=8_120,
    ),
    producers=("slam-mapper",),
    scope=("timestamp", "source_message_id"),
)
