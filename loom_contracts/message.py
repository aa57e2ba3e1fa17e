"""The envelope: the fields that every message on every topic carries, flat beside its payload."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from loom_contracts.randomness import random_id

SCHEMA_VERSION: Final = "1.0"

DeviceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{3,64}$")]
"""3 to 64 letters, digits, hyphens and underscores (integration guide, "Device ID Guidelines")."""

TraceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""A W3C trace-context trace-id: 32 lower-case hexadecimal digits."""

SpanId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""A W3C trace-context parent-id: 16 lower-case hexadecimal digits."""


def utc_now() -> datetime:
    """The present, as an aware datetime in UTC."""
    return datetime.now(UTC)


class Message(BaseModel):
    """The envelope of one message; a payload inherits it, so both lie flat in one JSON object.

    Fields that a later minor version adds are ignored, so an older consumer reads a newer producer.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    schema_version: str = Field(SCHEMA_VERSION, pattern=r"^\d+\.\d+$", description="Version of the payload's schema.")
    message_id: UUID = Field(default_factory=random_id, description="Identity of this message; a retry repeats it.")
    device_id: DeviceId = Field(description="The device that sensed it.")
    timestamp: AwareDatetime = Field(default_factory=utc_now, description="When it was sensed, UTC.")
    trace_id: TraceId | None = Field(None, description="W3C trace id of the request that brought it.")
    span_id: SpanId | None = Field(None, description="W3C span id of the request that brought it.")


class DerivedMessage(Message):
    """The envelope of a message that a stage made from others."""

    source_message_id: UUID = Field(description="The message it was made from; the last one where there are several.")
    stage: str = Field(description="Name of the stage that made it.")
    stage_version: str = Field(description="Code version, model and revision of that stage.")


@dataclass(frozen=True, slots=True)
class StoredBody:
    """Marks a payload field whose base64 body leaves the row for object storage.

    The table holds `<name>_ref` (text), `<name>_sha256` (text, hexadecimal) and `<name>_size_bytes` (bigint)
    in place of the field.
    """

    name: str
