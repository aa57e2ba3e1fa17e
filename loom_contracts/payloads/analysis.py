"""Conclusions: emotions in speech, what the person is doing, the shape of a room."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Count, JsonObject, Label, Scores, Sha256, Share, Text


class SpeechEmotion(DerivedMessage):
    """The emotion in one segment of speech; `timestamp` is when the segment begins."""

    segment_end: AwareDatetime = Field(description="When the segment ends, UTC.")
    emotion: Label = Field(description="The likeliest emotion.")
    scores: Scores = Field(description="Score of each emotion.")
    valence: float | None = Field(None, ge=-1.0, le=1.0, description="From unpleasant (-1) to pleasant (1).")
    arousal: float | None = Field(None, ge=-1.0, le=1.0, description="From calm (-1) to excited (1).")


class InferredContext(DerivedMessage):
    """What a language model infers of a stretch of time; `timestamp` is when it begins."""

    window_end: AwareDatetime = Field(description="When that stretch ends, UTC.")
    model: Label = Field(description="Name of the model.")
    summary: Text = Field(description="What went on, in a sentence or two.")
    activity: Label | None = Field(None, description="What the person was doing.")
    topics: list[Label] = Field(default_factory=list, description="What it was about.")
    people: list[Label] = Field(default_factory=list, description="Who took part.")
    confidence: Share | None = Field(None, description="The model's own confidence.")
    evidence_message_ids: list[UUID] = Field(default_factory=list, description="The messages it drew on.")
    details: JsonObject | None = Field(None, description="Anything else in the model's answer.")


class Reconstruction3d(DerivedMessage):
    """A 3D reconstruction of the surroundings from several images."""

    model: Label = Field(description="Name of the model.")
    source_message_ids: list[UUID] = Field(min_length=1, description="The images, in order of time.")
    point_count: Count = Field(description="Points in the cloud.")
    cloud_ref: Label = Field(description="Where the point cloud lies in object storage.")
    cloud_sha256: Sha256 = Field(description="SHA-256 of it, hexadecimal.")
    cloud_size_bytes: Count = Field(description="Size of it, bytes.")
    cloud_format: Literal["ply", "pcd", "las"] = Field(description="Encoding of it.")
    scale_known: bool = Field(False, description="Whether its unit is the metre.")


class AudioEnvironment(DerivedMessage):
    """What surroundings a stretch of sound was recorded in."""

    segment_end: AwareDatetime = Field(description="When that stretch ends, UTC.")
    environment: Literal["indoor", "outdoor", "vehicle", "unknown"] = Field(description="The likeliest surroundings.")
    confidence: Share = Field(description="The model's confidence.")
    scores: Scores = Field(default_factory=dict, description="Score of each kind, and of finer classes.")
    loudness_dbfs: float | None = Field(None, le=0.0, description="Loudness below full scale, decibels.")
