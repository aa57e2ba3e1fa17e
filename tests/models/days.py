"""Days of GPS fixes for the tests of visits and trips: stays and ways, with the noise of a receiver."""

import math
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import polars as pl

from loom_contracts.payloads.sensor import GpsFix
from loom_models.stage import Context, Output
from loom_models.stages.georegion import REGIONS
from loom_models.stages.visit_detected import transform
from loom_models.stages.visit_read import ANSWERED, FIX, FIXES_SCHEMA

HOME = (52.5163, 13.3777)
WORK = (52.5363, 13.3777)
"""2224 m to the north of it."""
CAFE = (52.5200, 13.3877)
METRES_PER_DEGREE = 111_195.0

Position = tuple[float, float]
Spot = tuple[float, Position]
"""A time in seconds, and where the person is then; between two spots they go straight on."""


def fixes(
    spots: Sequence[Spot],
    began: datetime,
    *,
    every: float = 60.0,
    noise_m: float = 3.0,
    device: str = "phone-001",
    seed: int = 1,
) -> list[GpsFix]:
    """A fix each `every` seconds along `spots`."""
    chance = random.Random(f"{seed}/{device}")
    out = []
    at = spots[0][0]
    while at <= spots[-1][0]:
        north, east = position(spots, at)
        north += chance.gauss(0, noise_m) / METRES_PER_DEGREE
        east += chance.gauss(0, noise_m) / METRES_PER_DEGREE / math.cos(math.radians(north))
        out.append(
            GpsFix(
                message_id=UUID(int=chance.getrandbits(128), version=4),
                device_id=device,
                timestamp=began + timedelta(seconds=at),
                latitude=round(north, 7),
                longitude=round((east + 180.0) % 360.0 - 180.0, 7),
                accuracy=8.0,
            )
        )
        at += every
    return out


def position(spots: Sequence[Spot], at: float) -> Position:
    """Where the person is then."""
    for (a, here), (b, there) in pairwise(spots):
        if at <= b:
            share = (at - a) / (b - a) if b > a else 0.0
            return here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1])
    return spots[-1][1]


def landed(records: Sequence[GpsFix], received: datetime | None = None) -> pl.DataFrame:
    """Landed rows of `records`, accepted a moment after they were sensed, or all at `received`."""
    rows = [
        r.model_dump(mode="python", include={"device_id", "timestamp", "latitude", "longitude", "accuracy", "speed"})
        | {
            "message_id": str(r.message_id),
            "received_at": received or r.timestamp + timedelta(seconds=1),
            "kind": FIX,
            "part": 1,
        }
        for r in records
    ]
    return pl.DataFrame(rows, schema=FIXES_SCHEMA)


def whole(records: Sequence[GpsFix], now: datetime, received: datetime | None = None) -> Output:
    """What the stage says of one device's records, all at once, where nothing is known yet."""
    frame = landed(records, received)
    everything = {
        "kind": ANSWERED,
        "part": 1,
        "device_id": frame["device_id"][0],
        "timestamp": frame["timestamp"].min(),
        "received_at": now + timedelta(days=1),
    }
    read = pl.concat([frame, pl.DataFrame([everything], schema=FIXES_SCHEMA)])
    regions = pl.DataFrame(schema=REGIONS.schema)
    return transform(frame, Context("1", now, {"fixes": read, "regions": regions}))
