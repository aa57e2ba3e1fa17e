"""What motion, position and environment sensors say. Names and ranges of raw fields: integration guide."""

from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import JsonObject, Label, Latitude, Longitude, Share

Acceleration = Annotated[float, Field(ge=-50.0, le=50.0)]
"""One axis of an acceleration with gravity, metres per second squared."""

AtLeastZero = Annotated[float, Field(ge=0.0)]

SensorType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""The part of the topic's name that says which sensor it was."""


class GpsFix(Message):
    """One position of a device."""

    latitude: Latitude = Field(description="WGS 84 latitude, decimal degrees.")
    longitude: Longitude = Field(description="WGS 84 longitude, decimal degrees.")
    altitude: float | None = Field(None, ge=-1_000.0, le=20_000.0, description="Height, metres.")
    accuracy: float | None = Field(None, ge=0.0, le=10_000.0, description="Horizontal accuracy, metres.")
    heading: float | None = Field(None, ge=0.0, le=360.0, description="Course over ground, degrees from north.")
    speed: float | None = Field(None, ge=0.0, le=200.0, description="Speed over ground, metres per second.")


class AccelerometerSample(Message):
    """One reading of a 3-axis accelerometer, gravity included."""

    x: Acceleration = Field(description="Acceleration along x, metres per second squared.")
    y: Acceleration = Field(description="Acceleration along y, metres per second squared.")
    z: Acceleration = Field(description="Acceleration along z, metres per second squared.")


class GenericReading(Message):
    """One reading of any other sensor; `value` is shaped by `sensor_type`."""

    sensor_type: SensorType = Field(description="Which sensor; it is part of the topic's name.")
    value: JsonObject = Field(description="The reading, as the device names its parts.")
    unit: Label | None = Field(None, description="Unit of the reading.")
    accuracy: float | None = Field(None, description="Accuracy of the reading, in its unit.")


class AccelerometerWindow(DerivedMessage):
    """Features of one device's samples in one window; `timestamp` is when the window begins.

    Deviations are of the population. The magnitude is that of the vector, gravity included; its dynamic part is
    what is left without its mean.
    """

    window_end: AwareDatetime = Field(description="When the window ends (exclusive), UTC.")
    window_ms: int = Field(ge=1, description="Length of the window, milliseconds.")
    sample_count: int = Field(ge=1, description="Samples in the window.")
    rate_hz: AtLeastZero = Field(description="Samples per second of the window.")
    x_mean_mps2: float = Field(description="Mean of x, metres per second squared.")
    y_mean_mps2: float = Field(description="Mean of y, metres per second squared.")
    z_mean_mps2: float = Field(description="Mean of z, metres per second squared.")
    x_std_mps2: AtLeastZero = Field(description="Standard deviation of x, metres per second squared.")
    y_std_mps2: AtLeastZero = Field(description="Standard deviation of y, metres per second squared.")
    z_std_mps2: AtLeastZero = Field(description="Standard deviation of z, metres per second squared.")
    x_min_mps2: float = Field(description="Least x, metres per second squared.")
    y_min_mps2: float = Field(description="Least y, metres per second squared.")
    z_min_mps2: float = Field(description="Least z, metres per second squared.")
    x_max_mps2: float = Field(description="Greatest x, metres per second squared.")
    y_max_mps2: float = Field(description="Greatest y, metres per second squared.")
    z_max_mps2: float = Field(description="Greatest z, metres per second squared.")
    magnitude_mean_mps2: AtLeastZero = Field(description="Mean magnitude, metres per second squared.")
    magnitude_std_mps2: AtLeastZero = Field(
        description="Standard deviation of the magnitude, metres per second squared."
    )
    magnitude_min_mps2: AtLeastZero = Field(description="Least magnitude, metres per second squared.")
    magnitude_max_mps2: AtLeastZero = Field(description="Greatest magnitude, metres per second squared.")
    dynamic_rms_mps2: AtLeastZero = Field(
        description="Root mean square of the vector without its mean, metres per second squared."
    )
    jerk_rms_mps3: AtLeastZero | None = Field(
        None, description="Root mean square of the change per second, metres per second cubed; null for one sample."
    )
    crossing_rate_hz: AtLeastZero | None = Field(
        None, description="How often the magnitude crosses its mean, per second; null for one sample."
    )
    rhythm_hz: AtLeastZero | None = Field(
        None, description="The strongest frequency of the magnitude from 1.2 to 3.2 Hz; null for few samples."
    )
    rhythm_share: Share | None = Field(
        None, description="Its share of the magnitude's variance: high for steps; null for few samples."
    )
