"""The body: pulse and steps."""

from pydantic import Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Count, Share


class HeartRate(Message):
    """One measurement of the pulse."""

    bpm: int = Field(ge=30, le=250, description="Beats per minute.")
    confidence: Share | None = Field(None, description="The sensor's confidence, 0 to 1.")


class StepCount(Message):
    """Steps counted over a stretch of time; `timestamp` is when it ends."""

    steps: Count = Field(description="Steps taken in that time.")
    interval_seconds: float | None = Field(None, gt=0.0, le=604_800.0, description="Length of that time, seconds.")
    distance_m: float | None = Field(None, ge=0.0, description="Distance covered, metres.")
    floors_climbed: Count | None = Field(None, description="Floors climbed.")
