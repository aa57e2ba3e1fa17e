"""What a person does, from how a device shakes and how fast it moves: rules, and smoothing over time.

Each activity has three Gaussians: of the logarithm of how much the magnitude of acceleration deviates in a window, of
how rhythmic it is, and of the speed over ground. A window's score of an activity is the logarithm of its share by
Bayes' rule. The magnitude knows no orientation, and its deviation no gravity. All terms are bounded, so that no single
one can rule an activity out.

The Gaussians of still, walking and in_vehicle were set by the recordings of a part of the users of the US-TMD data set
(Carpineti et al., 2018, https://cs.unibo.it/projects/us-tm2017); those of running and cycling are from the literature
(Reiss and Stricker, PAMAP2, 2012), because no recording was at hand. tests/benchmarks/motion.py measures them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ACTIVITIES: Final = ("still", "walking", "running", "cycling", "in_vehicle")
"""In the order of every array of scores; unknown is what none of them is."""
UNKNOWN: Final = "unknown"
RULES: Final = "rules-1"
"""Revision of the rules: part of the stage's version."""

WINDOW_S: Final = 5.0
NEIGHBOURS: Final = 6
"""Windows on either side that are heard, at most `NEIGHBOURS * WINDOW_S` away."""
STOP_S: Final = 180.0
"""A stop between two rides is part of the ride up to this length: a red light, a bus stop."""
REACH_S: Final = STOP_S + (NEIGHBOURS + 1) * WINDOW_S
"""How far in time a window can change the answers of others, seconds."""

_IN_VEHICLE = ACTIVITIES.index("in_vehicle")
_PASSING: Final = (-1, ACTIVITIES.index("still"), ACTIVITIES.index("cycling"))
"""What a stop on the way looks like: unknown, still, and at its ends as slow as a bicycle."""
_HEARD_S: Final = 15.0
_TEMPER: Final = 0.5
_LEAST_SAMPLES: Final = 8
_CHANCE: Final = 6.0
"""The strongest of eleven frequencies of noise has about this share of the variance, divided by the samples."""
_SCORE_FLOOR: Final = -5.0
"""No window speaks louder than this against an activity, so that a change is seen where it is."""
_LEAST_STEP_MPS2: Final = 0.15
"""What deviates less has no steps in it, however rhythmic it is: a fan, the sensor's own clock."""
_LEAST_SHARE: Final = 0.4
_SHAKE_FLOOR, _RHYTHM_FLOOR, _SPEED_FLOOR = -5.0, -3.0, -15.0
_FAST_MPS: Final = 40.0
"""Faster says no more than this does."""

_SENSOR_NOISE_MPS2: Final = 0.005


@dataclass(frozen=True, slots=True)
class Rule:
    """One activity: its share of a day of which nothing is known; mean and deviation of what is seen in it.

    `shake` is of the natural logarithm of the magnitude's standard deviation, metres per second squared; `rhythm` of
    the share of the strongest frequency, without what chance gives; `speed` of the speed over ground, metres per
    second.
    """

    prior: float
    shake: tuple[float, float]
    rhythm: tuple[float, float]
    speed: tuple[float, float]


_RULES: Final = {
    "still": Rule(0.45, (-3.2, 1.3), (0.04, 0.08), (0.0, 0.25)),
    "walking": Rule(0.22, (0.85, 0.5), (0.4, 0.25), (1.2, 0.6)),
    "running": Rule(0.03, (2.1, 0.3), (0.6, 0.25), (3.0, 0.8)),
    "cycling": Rule(0.05, (0.6, 0.5), (0.15, 0.12), (5.0, 1.7)),
    "in_vehicle": Rule(0.2, (-0.8, 1.0), (0.05, 0.09), (18.0, 12.0)),
}


def scores_of(deviation: Floats, samples: npt.NDArray[np.int64], rhythm: Floats, speed: Floats) -> Floats:
    """Logarithms of each activity's share in each window alone, shape (n, 5), by the rules.

    `deviation` (n,) is the standard deviation of the magnitude, m/s^2; `samples` (n,) how many there are; `rhythm`
    (n,) the share of the strongest frequency, and `speed` (n,) that over ground, m/s, NaN where they are not known. A
    window that tells nothing has noughts.
    """
    heard, moved, rhythmic = samples >= _LEAST_SAMPLES, np.isfinite(speed), np.isfinite(rhythm)
    chance = _CHANCE / np.maximum(samples, 2 * _CHANCE)
    beyond = np.where(rhythmic, np.maximum(rhythm - chance, 0.0) / (1.0 - chance), 0.0)
    level = np.log(np.where(heard, deviation, 1.0) + _SENSOR_NOISE_MPS2)
    speeds = np.minimum(np.where(moved, speed, 0.0), _FAST_MPS)
    steps = heard & rhythmic & (deviation >= _LEAST_STEP_MPS2)
    columns = []
    for name in ACTIVITIES:
        rule = _RULES[name]
        shake = np.maximum(_gaussian(level, *rule.shake), _SHAKE_FLOOR)
        beat = np.maximum(_gaussian(beyond, *rule.rhythm), _RHYTHM_FLOOR)
        ground = np.maximum(_gaussian(speeds, *rule.speed), _SPEED_FLOOR)
        columns.append(
            np.log(rule.prior) + np.where(heard, shake, 0.0) + np.where(steps, beat, 0.0) + np.where(moved, ground, 0.0)
        )
    shares = normalized(np.stack(columns, axis=1))
    shares[~(heard | moved)] = 0.0
    return shares


def normalized(scores: Floats) -> Floats:
    """The same scores, so that each row's shares add up to one: log-softmax."""
    top = scores.max(axis=1, keepdims=True)
    total: Floats = scores - (top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True)))
    return total


def smoothed(scores: Floats, seconds: Floats, device: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Each window's activity (index into ACTIVITIES, -1 for unknown) and its share, when its neighbours are heard.

    `scores` (n, 5) are those of `scores_of`, or of a model; `seconds` (n,) when each window begins; `device` (n,)
    whose it is. Rows are in order of (device, seconds). A neighbour counts the less the farther it is away, on either
    side: the newest window is answered from the past alone, and again when others follow. What is still between two
    rides, and no longer than `STOP_S`, is part of the ride.
    """
    count = len(seconds)
    bounded = np.maximum(scores, _SCORE_FLOOR)
    total = bounded.copy()
    for step in range(1, min(NEIGHBOURS, count - 1) + 1):
        apart = seconds[step:] - seconds[:-step]
        near = (device[step:] == device[:-step]) & (apart <= NEIGHBOURS * WINDOW_S)
        weight = np.where(near, np.exp(-np.abs(apart) / _HEARD_S), 0.0)[:, None]
        total[step:] += weight * bounded[:-step]
        total[:-step] += weight * bounded[step:]
    shares = np.exp(normalized(_TEMPER * total))
    best = shares.argmax(axis=1)
    share = shares[np.arange(count), best]
    known = (share >= _LEAST_SHARE) & total.any(axis=1)
    activity = np.where(known, best, -1)
    return _ridden(activity, np.where(known, share, 0.0), seconds, device)


def _ridden(
    activity: npt.NDArray[np.int64], share: Floats, seconds: Floats, device: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Stops between two rides become part of the ride; they are no surer than the less sure ride around them."""
    stopped = np.isin(activity, _PASSING)
    places = np.arange(len(activity))
    before = np.maximum.accumulate(np.where(stopped, -1, places))
    after = np.minimum.accumulate(np.where(stopped, len(activity), places)[::-1])[::-1]
    inner = stopped & (before >= 0) & (after < len(activity))
    first, last = np.where(inner, before, 0), np.where(inner, after, 0)
    rides = (
        inner
        & (activity[first] == _IN_VEHICLE)
        & (activity[last] == _IN_VEHICLE)
        & (device[first] == device)
        & (device[last] == device)
        & (seconds[last] - seconds[first] <= STOP_S)
    )
    return np.where(rides, _IN_VEHICLE, activity), np.where(rides, np.minimum(share[first], share[last]), share)


def _gaussian(values: Floats, mean: float, deviation: float) -> Floats:
    density: Floats = -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation)
    return density
