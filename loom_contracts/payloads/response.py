"""A device's answers to commands. `device_id` is the device that answers."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from loom_contracts.message import Message, StoredBody
from loom_contracts.payloads.common import Base64, Count, JsonObject, Label, Sha256, Text
from loom_contracts.payloads.image import Pixels


class Response(Message):
    """What every answer carries."""

    command_id: UUID = Field(description="`message_id` of the command that it answers.")


class CommandStatus(Response):
    """How far a command is."""

    status: Literal["accepted", "running", "done", "failed", "refused", "expired"] = Field(description="How far it is.")
    detail: Text | None = Field(None, description="In words.")
    result: JsonObject | None = Field(None, description="What came of it, where there is more to say.")


class FileTransferProgress(Response):
    """How far the transfer of a file is, or a chunk of it."""

    transfer_id: Label = Field(description="Same for all chunks of one file.")
    status: Literal["running", "done", "failed"] = Field(description="How far it is.")
    transferred_bytes: Count = Field(description="Bytes so far.")
    size_bytes: Count | None = Field(None, description="Size of the whole file, bytes.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the whole file, hexadecimal.")
    chunk_index: Count | None = Field(None, description="Which chunk this is.")
    chunk_data: Base64 | None = Field(None, description="The chunk in base64, when the device sends the file.")
    detail: Text | None = Field(None, description="Why it failed.")


class ScreenCapture(Response):
    """A picture of the screen."""

    image_data: Annotated[Base64, StoredBody(name="image")] = Field(description="The encoded image in base64.")
    format: Literal["jpeg", "png", "webp"] = Field(description="Encoding of the body.")
    width_px: Pixels = Field(description="Width, pixels.")
    height_px: Pixels = Field(description="Height, pixels.")
    display: Label | None = Field(None, description="Which screen.")


class ShellOutput(Response):
    """What a program wrote."""

    stream: Literal["stdout", "stderr"] = Field(description="Where it wrote it.")
    sequence: Count = Field(description="Order of the pieces of one stream.")
    text: Text = Field(description="The piece; bytes that are no UTF-8 are replaced.")
    final: bool = Field(False, description="Whether it is the last piece of both streams.")
    exit_code: int | None = Field(None, ge=-(2**31), le=2**31 - 1, description="Exit status, with the last piece.")


class DeviceError(Message):
    """Something went wrong on a device."""

    command_id: UUID | None = Field(None, description="`message_id` of the command that it was doing, if any.")
    code: Label = Field(description="Kind of error, such as PERMISSION_DENIED.")
    message: Text = Field(description="In words.")
    details: JsonObject | None = Field(None, description="Anything else that helps.")
