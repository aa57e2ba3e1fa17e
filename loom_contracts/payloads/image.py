"""Pictures as a device took them."""

from typing import Annotated, Literal

from pydantic import Field

from loom_contracts.message import Message, StoredBody
from loom_contracts.payloads.common import Base64, Count, Label, Latitude, Longitude, Text

ImageFormat = Literal["jpeg", "png", "webp", "heic"]
Pixels = Annotated[int, Field(ge=1, le=65_535)]


class CameraImage(Message):
    """A photo or a screenshot."""

    image_data: Annotated[Base64, StoredBody(name="image")] = Field(description="The encoded image in base64.")
    format: ImageFormat = Field(description="Encoding of the body.")
    width_px: Pixels | None = Field(None, description="Width, pixels.")
    height_px: Pixels | None = Field(None, description="Height, pixels.")
    kind: Literal["photo", "screenshot"] = Field("photo", description="What took it.")
    camera: Literal["front", "rear", "external"] | None = Field(None, description="Which camera, for a photo.")
    orientation_deg: int | None = Field(None, ge=0, le=359, description="Clockwise turn that sets it upright, degrees.")
    latitude: Latitude | None = Field(None, description="Where it was taken; WGS 84, decimal degrees.")
    longitude: Longitude | None = Field(None, description="Where it was taken; WGS 84, decimal degrees.")
    file_name: Label | None = Field(None, description="Name of the file on the device.")
    trigger: Literal["manual", "automatic"] | None = Field(None, description="Who asked for it.")


class ScreenKeyframe(Message):
    """A frame of a screen recording that differs from the one before."""

    frame_data: Annotated[Base64, StoredBody(name="frame")] = Field(description="The encoded image in base64.")
    format: ImageFormat = Field(description="Encoding of the body.")
    width_px: Pixels | None = Field(None, description="Width, pixels.")
    height_px: Pixels | None = Field(None, description="Height, pixels.")
    recording_id: Label | None = Field(None, description="Same for all frames of one recording.")
    frame_number: Count | None = Field(None, description="Position in the recording.")
    display: Label | None = Field(None, description="Which screen.")
    app_identifier: Label | None = Field(None, description="Application in front.")
    window_title: Text | None = Field(None, description="Title of its window.")
