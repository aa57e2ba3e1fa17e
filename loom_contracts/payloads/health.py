"""The body: pulse, steps, any other measurement, workouts."""

from pydantic import AwareDatetime, Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Share, Text


class HeartRate(Message):
    """One measurement of the pulse."""

    bpm: int = Field(ge=30, le=250, description="Beats per minute.")
    confidence: Share | None = Field(None, description="The sensor's confidence, 0 to 1.")


class StepCount(Message):
    """Steps counted over a stretch of time; `timestamp` is when it ends."""

    steps: Count = Field(description="Steps taken in that time.")
    interval_seconds: float | None = Field(None, gt=0.0, le=604_800.0, description="Length of that time, seconds.")
    distance_m: float | None = Field(None, ge=0.0, description="Distance covered, metres.")
    floors_climbed: Count | None = Field(None, description="Floors climbed.")


class HealthMetric(Message):
    """One measurement of the body of any kind; `timestamp` is when it was taken, or when its stretch of time begins."""

    metric: Label = Field(description="What was measured, in the client's own words: heart_rate, body_mass, ...")
    unit: Label | None = Field(None, description="Unit of the values.")
    value: float | None = Field(None, description="What was measured, or its sum or mean over the stretch.")
    minimum: float | None = Field(None, description="Least value of the stretch.")
    average: float | None = Field(None, description="Mean of the stretch.")
    maximum: float | None = Field(None, description="Greatest value of the stretch.")
    interval_seconds: float | None = Field(None, ge=0.0, description="Length of the stretch, seconds.")
    source: Text | None = Field(None, description="Which device or app measured it.")
    attributes: JsonObject | None = Field(None, description="What else was said of it, in the client's own words.")


class Workout(Message):
    """One workout; `timestamp` is when it began."""

    name: Label = Field(description="What it was, such as Outdoor Run.")
    workout_id: Label | None = Field(None, description="The client's identifier of it.")
    ended_at: AwareDatetime | None = Field(None, description="When it ended, UTC.")
    duration_seconds: float | None = Field(None, ge=0.0, description="Length without pauses, seconds.")
    location: Label | None = Field(None, description="Indoor, Outdoor, Pool, Open Water.")
    distance_m: float | None = Field(None, ge=0.0, description="Distance covered, metres.")
    active_energy_kcal: float | None = Field(None, ge=0.0, description="Energy burned by moving, kilocalories.")
    steps: Count | None = Field(None, description="Steps taken.")
    average_heart_rate_bpm: float | None = Field(None, ge=0.0, description="Mean pulse, beats per minute.")
    maximum_heart_rate_bpm: float | None = Field(None, ge=0.0, description="Greatest pulse, beats per minute.")
    route_points: Count | None = Field(None, description="Positions of its route, which are on device.sensor.gps.raw.")
    details: JsonObject | None = Field(
        None, description="All that was said of it but its route, in the client's words."
    )
