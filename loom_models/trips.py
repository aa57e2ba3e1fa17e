"""How far a trip went, how it was made, and its path, from the fixes along it."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from loom_contracts.payloads.visits import TripMode
from loom_models.cleaning import Floats, steps_m

RUNNING_MPS, CYCLING_MPS, VEHICLE_MPS = 2.3, 4.2, 9.0
"""From these speeds on a stretch counts as running, cycling, in a vehicle."""
AT_LEAST_A_BICYCLE_MPS, AT_LEAST_A_VEHICLE_MPS = 4.8, 11.0
"""Who goes a tenth of the way faster than this does not run, or cycle, the slower part."""

_LEAST_STEP_M, _LONGEST_STEP_M, _USUAL_ACCURACY_M = 10.0, 60.0, 5.0
_METRES_PER_DEGREE: Final = 111_195.0
_AROUND_US: Final = 30_000_000
_UNSEEN_US: Final = 300_000_000
_SIMPLER_DEGREES: Final = 0.00005
_SIGN: Final = 63

Integers = npt.NDArray[np.int64]


class Way(NamedTuple):
    """What is known of a trip: metres, and the mode in which `share` of them was covered."""

    distance_m: float
    mode: TripMode
    share: float


def way(at: Integers, latitude: Floats, longitude: Floats, accuracy: Floats) -> Way:
    """The way along the fixes of one trip, in order: microseconds, degrees, metres (NaN where it is not told).

    It is measured from fix to fix that lies beyond the noise, and a fix's speed is that of the minute around it. Steps
    of more than five minutes tell of no mode but a vehicle.
    """
    told = accuracy[~np.isnan(accuracy)]
    noise = float(np.median(told)) if len(told) else _USUAL_ACCURACY_M
    turns = _beyond(latitude, longitude, min(max(2.5 * noise, _LEAST_STEP_M), _LONGEST_STEP_M))
    measured = np.cumsum(steps_m(latitude[turns], longitude[turns]))
    total = float(measured[-1])
    if total <= 0.0:
        return Way(0.0, "unknown", 0.0)
    along = np.interp(at, at[turns], measured)
    step = np.diff(along, prepend=0.0)
    first = np.searchsorted(at, at - _AROUND_US)
    last = np.searchsorted(at, at + _AROUND_US, side="right") - 1
    # Where fixes are rare the step itself is all there is.
    first = np.minimum(first, np.maximum(np.arange(len(at)) - 1, 0))
    speed = (along[last] - along[first]) / np.maximum((at[last] - at[first]) / 1e6, 1e-6)
    unseen = (np.diff(at, prepend=at[0]) > _UNSEEN_US) & (speed < VEHICLE_MPS)
    by_speed = np.argsort(speed, kind="stable")
    tenth = int(np.searchsorted(np.cumsum(step[by_speed]), 0.9 * total))
    top = float(speed[by_speed[min(tenth, len(speed) - 1)]])
    cycling = RUNNING_MPS if top >= AT_LEAST_A_BICYCLE_MPS else CYCLING_MPS
    vehicle = cycling if top >= AT_LEAST_A_VEHICLE_MPS else VEHICLE_MPS
    kind = np.digitize(speed, [RUNNING_MPS, cycling, vehicle])
    shares = np.bincount(np.where(unseen, 4, kind), weights=step, minlength=5) / total
    best = int(np.argmax(shares))
    return Way(total, _MODES[best], min(float(shares[best]), 1.0))


def _beyond(latitude: Floats, longitude: Floats, metres: float) -> Integers:
    """The first fix, each one that is `metres` from the last of these, and the last fix."""
    scale = _METRES_PER_DEGREE
    north = (latitude * scale).tolist()
    east = (np.unwrap(longitude, period=360.0) * scale * np.cos(np.radians(latitude[0]))).tolist()
    chosen, least = [0], metres * metres
    y, x = north[0], east[0]
    for number, (b, a) in enumerate(zip(north, east, strict=True)):
        if (b - y) * (b - y) + (a - x) * (a - x) >= least:
            chosen.append(number)
            y, x = b, a
    if chosen[-1] != len(north) - 1:
        chosen.append(len(north) - 1)
    return np.array(chosen, dtype=np.int64)


_MODES: Final[tuple[TripMode, ...]] = ("walking", "running", "cycling", "in_vehicle", "unknown")


def polyline(latitude: Floats, longitude: Floats) -> str:
    """The path as an encoded polyline of five digits, without fixes that lie within five metres of it.

    (Google, "Encoded Polyline Algorithm Format"; the simplification is that of Douglas and Peucker.)
    """
    points = np.column_stack([longitude, latitude])
    if len(points) > 2:
        points = shapely.get_coordinates(shapely.simplify(shapely.linestrings(points), _SIMPLER_DEGREES))
    whole = np.round(points[:, ::-1] * 1e5).astype(np.int64)
    return "".join(_encoded(int(value)) for value in np.diff(whole, axis=0, prepend=[[0, 0]]).ravel())


def _encoded(value: int) -> str:
    left = ~(value << 1) if value < 0 else value << 1
    out = []
    while left >= 32:
        out.append(chr((32 | (left & 31)) + _SIGN))
        left >>= 5
    return "".join([*out, chr(left + _SIGN)])
