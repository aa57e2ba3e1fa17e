"""Maps of the surroundings."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Count, Label, Part, Sha256


class Pose3d(Part):
    """Where a camera was and how it was turned, in the map's frame."""

    x_m: float = Field(description="Position along x, metres.")
    y_m: float = Field(description="Position along y, metres.")
    z_m: float = Field(description="Position along z, metres.")
    qw: float = Field(ge=-1.0, le=1.0, description="Unit quaternion, real part.")
    qx: float = Field(ge=-1.0, le=1.0, description="Unit quaternion, i.")
    qy: float = Field(ge=-1.0, le=1.0, description="Unit quaternion, j.")
    qz: float = Field(ge=-1.0, le=1.0, description="Unit quaternion, k.")


class SlamMap(DerivedMessage):
    """A step of a map that SLAM builds: where the camera was, and the map so far."""

    map_id: UUID = Field(description="Same for all steps of one map.")
    tracking: Literal["ok", "lost", "initialising"] = Field(description="State of the tracking.")
    pose: Pose3d | None = Field(None, description="Of the camera; null while tracking is lost.")
    keyframe_count: Count = Field(description="Keyframes in the map.")
    point_count: Count = Field(description="Points in the map.")
    map_ref: Label | None = Field(None, description="Where the map lies in object storage.")
    map_sha256: Sha256 | None = Field(None, description="SHA-256 of it, hexadecimal.")
    map_size_bytes: Count | None = Field(None, description="Size of it, bytes.")
