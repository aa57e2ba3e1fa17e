"""Commands to a device. `device_id` is the device that shall act; `message_id` is the command's identity."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import DeviceId, Message, StoredBody
from loom_contracts.payloads.audio import AudioFormat
from loom_contracts.payloads.common import Base64, Count, Label, Sha256, Text


class Command(Message):
    """What every command carries; `timestamp` is when it was given."""

    issued_by: DeviceId | None = Field(None, description="Device that gave the command; null for the platform itself.")
    expires_at: AwareDatetime | None = Field(None, description="When it must no longer be carried out, UTC.")


class SendKeystrokes(Command):
    """Press keys."""

    text: Text | None = Field(None, description="Text to type.")
    keys: list[Label] = Field(default_factory=list, description="Keys to press together, by their W3C `code` names.")
    delay_ms: int = Field(0, ge=0, le=10_000, description="Pause between keys, milliseconds.")


class SendMouse(Command):
    """Move the pointer, click or scroll."""

    action: Literal["move", "click", "double_click", "press", "release", "scroll"] = Field(description="What to do.")
    x: float | None = Field(None, description="Where to, from the left, pixels.")
    y: float | None = Field(None, description="Where to, from the top, pixels.")
    relative: bool = Field(False, description="Whether the position counts from where the pointer is.")
    button: Literal["left", "right", "middle"] | None = Field(None, description="Button, where one is meant.")
    scroll_x: float | None = Field(None, description="How far to scroll to the right, pixels.")
    scroll_y: float | None = Field(None, description="How far to scroll down, pixels.")


class SendClipboard(Command):
    """Set the clipboard."""

    content: Text = Field(description="What to set it to.")
    content_type: Label = Field("text/plain", description="Media type of that.")


class TransferFile(Command):
    """Send a file to the device, in chunks, or ask for one."""

    direction: Literal["to_device", "from_device"] = Field(description="Which way it goes.")
    transfer_id: Label = Field(description="Same for all chunks of one file.")
    path: Text = Field(min_length=1, description="Where it is, or shall be, on the device.")
    size_bytes: Count | None = Field(None, description="Size of the whole file, bytes.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the whole file, hexadecimal.")
    chunk_index: Count = Field(0, description="Which chunk this is.")
    chunk_count: int = Field(1, ge=1, description="How many there are.")
    chunk_data: Base64 | None = Field(None, description="The chunk in base64; null to ask for a file.")


class CaptureScreen(Command):
    """Take a picture of the screen."""

    display: Label | None = Field(None, description="Which screen; null for the main one.")
    format: Literal["jpeg", "png", "webp"] = Field("png", description="How to encode it.")
    quality: int | None = Field(None, ge=1, le=100, description="Quality, for formats that lose some.")


class SendAudio(Command):
    """Play a sound."""

    audio_data: Annotated[Base64, StoredBody(name="audio")] = Field(description="The encoded audio in base64.")
    format: AudioFormat = Field(description="Encoding of the body.")
    volume: float | None = Field(None, ge=0.0, le=1.0, description="How loud; null for the device's own setting.")


class ExecuteShell(Command):
    """Run a program."""

    command: Text = Field(min_length=1, description="The program.")
    arguments: list[Text] = Field(default_factory=list, description="Its arguments; no shell reads them.")
    working_directory: Text | None = Field(None, description="Where to run it.")
    environment: dict[Label, Text] = Field(default_factory=dict, description="Variables to set.")
    timeout_seconds: float = Field(60.0, gt=0.0, le=86_400.0, description="When to end it, seconds.")


class LaunchApp(Command):
    """Start an application."""

    app_identifier: Label = Field(description="Package or bundle identifier.")
    arguments: list[Text] = Field(default_factory=list, description="Its arguments, or addresses to open.")


class CloseApp(Command):
    """End an application."""

    app_identifier: Label = Field(description="Package or bundle identifier.")
    force: bool = Field(False, description="Whether to end it without asking it.")
