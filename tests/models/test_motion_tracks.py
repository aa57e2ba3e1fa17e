"""The real tracks of ../shared/data/gps: the drive is in a vehicle, the hike is walked.

The tracks have positions only, so the acceleration beside them is the demo's, which is synthetic; and once there is too
little of it to tell anything, so that the real positions speak alone.
"""

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from loom_models.frames import UTC_MICROS
from loom_models.speeds import speeds_near
from loom_models.stages.accelerometer_windowed import WINDOW, features
from loom_models.stages.activity_classifier import FIXES, WINDOWS, classified
from loom_platform.demo.signals import ACCELEROMETER_HZ, acceleration
from loom_platform.demo.tracks import Track, read_tracks
from tests.models.frames import NOON, message_id
from tests.models.motion import at

TRACKS = Path(__file__).parents[3] / "shared/data/gps"
KINDS = {"drive": "in_vehicle", "hike": "walking"}
SLOWEST_MPS = {"drive": 2.0, "hike": 0.4}

pytestmark = pytest.mark.skipif(not TRACKS.exists(), reason="../shared/data/gps is not here")


def longest(name: str) -> Track:
    """The longest piece of a file's track."""
    return max((t for t in read_tracks(TRACKS) if t.name.startswith(name)), key=lambda t: t.seconds)


def positions(track: Track) -> pl.DataFrame:
    """A fix at each point of it, with what it has: neither speed nor accuracy."""
    rows = [
        (message_id(100_000 + n), "phone-001", at(p.at), p.latitude, p.longitude, None, None)
        for n, p in enumerate(track.points)
    ]
    return pl.DataFrame(rows, schema=FIXES.schema, orient="row")


def samples(kind: str, seconds: float, hertz: int) -> pl.DataFrame:
    """The demo's acceleration, every so many of its samples."""
    count = int(seconds * ACCELEROMETER_HZ)
    values = acceleration("drive" if kind == "drive" else "hike", 0.0, count, random.Random(7))[
        :: ACCELEROMETER_HZ // hertz
    ]
    micros = np.arange(len(values)) * (1_000_000 // hertz)
    return pl.DataFrame(values, schema=["x", "y", "z"]).select(
        pl.Series("message_id", [message_id(n + 1) for n in range(len(values))]),
        pl.lit("phone-001").alias("device_id"),
        (pl.lit(NOON).cast(UTC_MICROS) + pl.Series(micros).cast(pl.Duration("us"))).alias("timestamp"),
        pl.lit(None, dtype=pl.String).alias("trace_id"),
        pl.lit(None, dtype=pl.String).alias("span_id"),
        "x",
        "y",
        "z",
    )


@pytest.mark.parametrize(
    ("name", "hertz", "least"),
    [("drive", 50, 1.0), ("drive", 1, 0.95), ("hike", 50, 0.98), ("hike", 1, 0.9)],
    ids=["drive", "drive, positions alone", "hike", "hike, positions alone"],
)
def test_the_real_tracks(name: str, hertz: int, least: float) -> None:
    """What moves, from its first motion to its last; the car stands before and after, and the hikers rest for hours."""
    track = longest(name)
    windows = features(samples(name, track.seconds, hertz), "2").select(WINDOWS.schema.names())
    fixes = positions(track)
    rows = classified(windows, fixes, "1", None)
    moments = rows.select("device_id", (pl.col("timestamp") + WINDOW / 2).alias("at"))
    rows = rows.with_columns(speeds_near(moments, fixes).alias("speed"))
    moving = rows.filter(pl.col("speed") > SLOWEST_MPS[name])["timestamp"]
    ride = rows.filter(pl.col("timestamp").is_between(moving.min(), moving.max()))
    heard = ride if name == "drive" else ride.filter(pl.col("speed") > SLOWEST_MPS[name])
    found = heard["activity"].to_list()
    assert len(found) >= 60
    assert found.count(KINDS[name]) / len(found) >= least
