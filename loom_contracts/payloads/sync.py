"""What one device tells all others of the same person. `device_id` is the device that tells."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Sha256, Text


class ClipboardBroadcast(Message):
    """The clipboard changed."""

    content: Text = Field(description="What it holds.")
    content_type: Label = Field("text/plain", description="Media type of that.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of it, hexadecimal, so that no device echoes it.")


class FileBroadcast(Message):
    """A shared file changed."""

    path: Text = Field(min_length=1, description="Path below the shared folder, with forward slashes.")
    change: Literal["created", "modified", "deleted", "renamed"] = Field(description="What happened to it.")
    previous_path: Text | None = Field(None, description="Path before it was renamed.")
    size_bytes: Count | None = Field(None, description="Size, bytes.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of it, hexadecimal.")
    file_ref: Label | None = Field(None, description="Where its content lies in object storage.")
    modified_at: AwareDatetime | None = Field(None, description="When it was last changed, UTC.")


class StateBroadcast(Message):
    """State of an application changed."""

    app_identifier: Label = Field(description="Package or bundle identifier.")
    key: Label = Field(description="Which part of its state.")
    state: JsonObject | None = Field(description="That part; null when it is gone.")
    revision: Count = Field(description="Counts up; the highest one is valid.")
