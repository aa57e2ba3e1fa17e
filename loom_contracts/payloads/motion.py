"""How a person moves."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Share

Activity = Literal["still", "walking", "running", "cycling", "in_vehicle", "unknown"]
MotionEvent = Literal["start", "stop", "impact", "shake", "orientation_change"]


class SignificantMotion(DerivedMessage):
    """Motion began, ended, or was sudden; `timestamp` is when, to the window of the accelerometer.

    `start` and `stop` are of motion that lasts; every `start` has a later `stop`, or goes on still.
    """

    event: MotionEvent = Field(description="What happened.")
    intensity_mps2: float = Field(
        ge=0.0,
        description="Metres per second squared: of an impact, its peak; else the root mean square of the window, both "
        "without gravity.",
    )


class ActivityClassification(DerivedMessage):
    """What the person does in one window of the accelerometer; `timestamp` is when the window begins."""

    window_end: AwareDatetime = Field(description="When the window ends (exclusive), UTC.")
    activity: Activity = Field(
        description="The likeliest activity; unknown where the window and its surroundings say too little."
    )
    confidence: Share = Field(description="How sure the classifier is of it, in tenths.")
