"""How a person moves."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Scores, Share

Activity = Literal["still", "walking", "running", "cycling", "driving", "transit", "unknown"]


class SignificantMotion(DerivedMessage):
    """Motion began, ended, or was sudden; `timestamp` is when."""

    event: Literal["start", "stop", "impact", "shake", "orientation_change"] = Field(description="What happened.")
    intensity_mps2: float = Field(ge=0.0, description="Dynamic acceleration at that moment, metres per second squared.")
    duration_ms: int | None = Field(None, ge=0, description="How long the state that ended lasted, milliseconds.")
    confidence: Share | None = Field(None, description="The stage's confidence.")


class ActivityClassification(DerivedMessage):
    """What the person does; `timestamp` is when the window begins."""

    window_end: AwareDatetime = Field(description="When the window ends (exclusive), UTC.")
    activity: Activity = Field(description="The likeliest activity.")
    confidence: Share = Field(description="The model's confidence.")
    scores: Scores = Field(description="Score of each activity.")
    previous_activity: Activity | None = Field(None, description="That of the window before.")
