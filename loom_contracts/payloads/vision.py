"""What is seen in images and video. Places are shares of the image's width and height."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Box, Count, JsonObject, Label, Part, Point, Scores, Sha256, Share, Text
from loom_contracts.payloads.image import Pixels

PerceptualHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]


class PreprocessedImage(DerivedMessage):
    """An image made ready for the models after it: upright, of a known size."""

    image_ref: Label = Field(description="Where it lies in object storage.")
    image_sha256: Sha256 = Field(description="SHA-256 of it, hexadecimal.")
    image_size_bytes: Count = Field(description="Size of it, bytes.")
    image_format: Literal["jpeg", "png", "webp"] = Field(description="Encoding of it.")
    width_px: Pixels = Field(description="Width, pixels.")
    height_px: Pixels = Field(description="Height, pixels.")
    source_width_px: Pixels = Field(description="Width of the original, pixels.")
    source_height_px: Pixels = Field(description="Height of the original, pixels.")
    sharpness: float | None = Field(None, ge=0.0, description="Variance of the Laplacian.")
    brightness: Share | None = Field(None, description="Mean brightness.")
    perceptual_hash: PerceptualHash | None = Field(None, description="Near-equal images have near-equal hashes.")
    duplicate: bool = Field(False, description="Whether it is as good as equal to the device's image before.")


class DetectedObject(Part):
    """One object in an image."""

    label: Label = Field(description="What it is.")
    confidence: Share = Field(description="The model's confidence.")
    box: Box = Field(description="Where it is.")
    track_id: Label | None = Field(None, description="Same for one object over the frames of a video.")


class ObjectsDetected(DerivedMessage):
    """The objects in an image."""

    objects: list[DetectedObject] = Field(description="Those found; empty when there were none.")


class HashedObject(Part):
    """An object with what tells it from others like it."""

    label: Label = Field(description="What it is.")
    box: Box = Field(description="Where it is.")
    perceptual_hash: PerceptualHash = Field(description="Hash of its part of the image.")
    object_id: Label | None = Field(None, description="Same for what seems to be the same object.")


class ObjectsHashed(DerivedMessage):
    """Hashes of the objects in an image."""

    objects: list[HashedObject] = Field(description="Those hashed; empty when there were none.")


class Face(Part):
    """One face in an image."""

    confidence: Share = Field(description="The model's confidence.")
    box: Box = Field(description="Where it is.")
    landmarks: list[Point] = Field(default_factory=list, description="Eyes, nose, corners of the mouth.")


class FacesDetected(DerivedMessage):
    """The faces in an image."""

    faces: list[Face] = Field(description="Those found; empty when there were none.")


class Pose(Part):
    """The posture of one person, or of one hand."""

    kind: Literal["body", "left_hand", "right_hand"] = Field(description="What it is of.")
    confidence: Share = Field(description="The model's confidence.")
    keypoints: list[Point] = Field(min_length=1, description="Joints.")


class PoseDetected(DerivedMessage):
    """The postures in an image."""

    poses: list[Pose] = Field(description="Those found; empty when there were none.")


class Gaze(Part):
    """Where one person looks."""

    confidence: Share = Field(description="The model's confidence.")
    yaw_deg: float = Field(ge=-180.0, le=180.0, description="To their left, degrees; 0 is into the camera.")
    pitch_deg: float = Field(ge=-90.0, le=90.0, description="Up, degrees; 0 is into the camera.")
    face: Box | None = Field(None, description="Their face.")
    target: Point | None = Field(None, description="What they look at, where it is in the image.")


class GazeDetected(DerivedMessage):
    """Where the people in an image look."""

    gazes: list[Gaze] = Field(description="Those found; empty when there were none.")


class VisionAnalysis(DerivedMessage):
    """What a vision-language model says of an image."""

    model: Label = Field(description="Name of the model.")
    caption: Text = Field(description="The image in words.")
    text: Text | None = Field(None, description="Text seen in it.")
    objects: list[DetectedObject] = Field(default_factory=list, description="Objects that it names.")
    scene: Label | None = Field(None, description="What kind of place it shows.")
    people_count: Count | None = Field(None, description="How many people it shows.")
    answers: JsonObject | None = Field(None, description="Answers to further questions, by question.")


class VideoObjects(DerivedMessage):
    """The objects in one frame of a video, followed from frame to frame."""

    frame_number: Count = Field(description="Position in the recording.")
    objects: list[DetectedObject] = Field(description="Those found; empty when there were none.")


class FaceEmotion(Part):
    """The expression of one face."""

    box: Box = Field(description="Where the face is.")
    emotion: Label = Field(description="The likeliest emotion.")
    scores: Scores = Field(description="Score of each emotion.")


class FaceEmotions(DerivedMessage):
    """The expressions of the faces in an image."""

    faces: list[FaceEmotion] = Field(description="Those judged; empty when there were none.")
