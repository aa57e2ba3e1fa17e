"""The body: pulse and steps."""

from pydantic import Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Share


class HeartRate(Message):
    """One measurement of the pulse."""

    bpm: int = Field(ge=30, le=250, description="Beats per minute.")
    confidence: Share | None = Field(None, description="The sensor's confidence, 0 to 1.")
