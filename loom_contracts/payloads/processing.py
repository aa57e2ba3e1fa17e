"""What processing says of itself."""

from typing import Final

from pydantic import Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Base64, Count, Label, Text

UNKNOWN_DEVICE: Final = "unknown"
"""`device_id` of a dead letter whose record names no valid device."""


class DeadLetter(Message):
    """A record that a stage can never process, with its bytes as they came.

    `message_id` and `timestamp` are the dead letter's own; `device_id` is the record's key, or `unknown`.
    """

    stage: Label = Field(description="The stage that could not process it.")
    stage_version: Label = Field(description="Code version, model and revision of that stage.")
    topic: Label = Field(description="Name of the topic on the broker.")
    partition: int = Field(ge=0, le=2**31 - 1, description="Partition of that topic.")
    offset: Count = Field(description="Offset in that partition.")
    error_type: Label = Field(description="Class of the error.")
    reason: Text = Field(description="What was wrong with it.")
    value: Base64 | None = Field(None, description="The record's bytes in base64; null when it had none.")
