"""Visits and trips in fixes that can be believed: plain functions of arrays, without memory.

A **still window** begins at a fix and ends at the first one `STAY` later or more. All its fixes lie in a box whose
diagonal is twice `RADIUS_M`, and its second half lies where the first does, as far as the accuracy tells. Two
neighbouring fixes in one still window belong together, and what belongs together is a stay: so whether two fixes do
depends on six minutes around them and on nothing else. Stays at one place with a short or near absence between them
are one visit. What lies between two visits is a trip. After `SILENCE` without a fix nothing is known, and what follows
begins anew. (Stay points: Li et al., "Mining user similarity based on location history", 2008. Here they are found by
windows of time, so that no visit depends on where the reading began.)
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from loom_models.cleaning import Flags, Floats, distances_m

STAY: Final = timedelta(minutes=6)
"""A stay is no shorter."""
RADIUS_M: Final = 100.0
SLOWEST_MPS: Final = 0.1
"""Nobody on their way is slower, on the average of five minutes."""
HEAD: Final = STAY
"""A visit's place is the centre of its beginning, so that it does not move while the visit goes on."""
SILENCE: Final = timedelta(hours=12)
TRIM_M: Final = 40.0
ABSENCE: Final = timedelta(minutes=5)
SAME_PLACE_M: Final = 150.0
NEAR_M: Final = 250.0
"""Who goes no further and comes back has not left."""

_STAY_US, _HEAD_US, _SILENCE_US, _ABSENCE_US = (
    span // timedelta(microseconds=1) for span in (STAY, HEAD, SILENCE, ABSENCE)
)
_HOUR_US: Final = 3_600_000_000
_METRES_PER_DEGREE: Final = 111_195.0

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fixes:
    """Accepted fixes in order of (group, time): degrees, metres, `at` in microseconds.

    Groups are numbered from 0 and know nothing of each other. A fix that is `bridged` is known to belong to the visit
    of the fix before it: what lies between the two was left out.
    """

    group: Indices
    at: Indices
    latitude: Floats
    longitude: Floats
    accuracy: Floats
    bridged: Flags

    @property
    def chain(self) -> Indices:
        """The number of the stretch of each fix: of one group, without a silence."""
        breaks = (np.diff(self.group) != 0) | ((np.diff(self.at) > _SILENCE_US) & ~self.bridged[1:])
        return np.concatenate([np.zeros(min(1, len(self.at)), dtype=np.int64), np.cumsum(breaks)])


@dataclass(frozen=True, slots=True)
class Found:
    """Visits from fix `first` to fix `last` (numbers of rows), in order; `ended` says that something came after it.

    The other four are of trips, in order too; `origin` and `destination` are numbers of visits, or -1.
    """

    first: Indices
    last: Indices
    ended: Flags
    trip_first: Indices
    trip_last: Indices
    trip_ended: Flags
    origin: Indices
    destination: Indices


def find(fixes: Fixes, silent: Flags) -> Found:
    """The visits and trips of `fixes`. `silent` tells by group that nothing is to be awaited after its last fix.

    A visit or trip that is not `ended` goes on as far as is known.
    """
    chain = fixes.chain
    first, last = _trimmed(fixes, *_stays(fixes, chain))
    first, last = _joined(fixes, chain, first, last)
    return _with_trips(fixes, chain, first, last, silent)


def heads(fixes: Fixes, first: Indices, last: Indices) -> tuple[Floats, Floats, Floats, Indices]:
    """Latitude, longitude, radius (metres; nine tenths of the fixes) and last fix of the first `HEAD` of each visit."""
    end = _reach(fixes.at, first, last, _HEAD_US)
    latitude, longitude = _means(fixes, first, end)
    sizes = end - first + 1
    rows = _rows(first, sizes)
    away = distances_m(
        np.repeat(latitude, sizes), np.repeat(longitude, sizes), fixes.latitude[rows], fixes.longitude[rows]
    )
    parts = np.split(away, np.cumsum(sizes)[:-1]) if len(first) else []
    return latitude, longitude, np.array([np.quantile(part, 0.9) for part in parts]), end


def _stays(fixes: Fixes, chain: Indices) -> tuple[Indices, Indices]:
    """First and last fix of each stretch of neighbours that share a still window."""
    count = len(fixes.at)
    if count < 2:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # A pause counts as ten minutes at most and a new chain as an hour, so that time grows over all groups.
    pauses = np.where(np.diff(chain) != 0, _HOUR_US, np.minimum(np.diff(fixes.at), 2 * _STAY_US))
    time = np.concatenate([[0], np.cumsum(pauses)])
    begin = np.arange(count)
    end = np.searchsorted(time, time + _STAY_US)
    whole = end < count
    end = np.minimum(end, count - 1)
    whole &= chain[end] == chain
    begin, end = begin[whole], end[whole]
    longitude = fixes.longitude
    if (np.abs(np.diff(longitude)) > 180.0).any():
        longitude = np.unwrap(longitude, period=360.0)
    north = _extent(fixes.latitude, begin, end) * _METRES_PER_DEGREE
    east = _extent(longitude, begin, end) * _METRES_PER_DEGREE * np.cos(np.radians(fixes.latitude[begin]))
    still = north**2 + east**2 <= (2 * RADIUS_M) ** 2
    still &= _stands(fixes, longitude, begin, end)
    # Neighbours i and i + 1 are together when a still window begins at or before i and ends after it.
    opened = np.zeros(count + 1, dtype=np.int64)
    np.add.at(opened, begin[still], 1)
    np.add.at(opened, end[still], -1)
    together = np.cumsum(opened)[: count - 1] > 0
    together |= fixes.bridged[1:]
    padded = np.concatenate([[False], together, [False]])
    edges = np.diff(padded.astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _trimmed(fixes: Fixes, first: Indices, last: Indices) -> tuple[Indices, Indices]:
    """The stays without the fixes of coming and going: those at either end that lie off the middle of that end."""
    ends = _reach_back(fixes.at, first, last, _STAY_US)
    fronts = _reach(fixes.at, first, last, _STAY_US)
    return (
        np.array([_near(fixes, a, b).argmax() + a for a, b in zip(first, fronts, strict=True)], dtype=np.int64),
        np.array([b - _near(fixes, a, b)[::-1].argmax() for a, b in zip(ends, last, strict=True)], dtype=np.int64),
    )


def _near(fixes: Fixes, first: int, last: int) -> Flags:
    """Which of the fixes `first` to `last` lie near their median."""
    here = slice(first, last + 1)
    latitude, longitude = fixes.latitude[here], np.unwrap(fixes.longitude[here], period=360.0)
    middle = np.full(len(latitude), np.median(latitude)), np.full(len(latitude), np.median(longitude))
    away = distances_m(*middle, latitude, longitude)
    near: Flags = away <= np.maximum(TRIM_M, np.median(away) * 2)
    return near


def _extent(values: Floats, begin: Indices, end: Indices) -> Floats:
    """Greatest less least of `values` from `begin` to `end`, both included (by a sparse table, level by level)."""
    out = np.zeros(len(begin))
    if not len(begin):
        return out
    level = np.floor(np.log2(end - begin + 1)).astype(np.int64)
    least, greatest = values, values
    for power in range(int(level.max()) + 1):
        if power:
            half = 1 << (power - 1)
            least, greatest = np.minimum(least[:-half], least[half:]), np.maximum(greatest[:-half], greatest[half:])
        here = level == power
        a, b = begin[here], end[here] - (1 << power) + 1
        out[here] = np.maximum(greatest[a], greatest[b]) - np.minimum(least[a], least[b])
    return out


def _stands(fixes: Fixes, longitude: Floats, begin: Indices, end: Indices) -> Flags:
    """Whether the fixes `begin` to `end` stay: the centre of their second half is that of the first.

    But for the standard error of the two, which the accuracy and the number of fixes tell, and a very slow walk.
    """
    count = end - begin + 1
    size = count // 2
    totals = [np.concatenate([[0.0], np.cumsum(v)]) for v in (fixes.latitude, longitude, fixes.accuracy)]
    north, east = (
        (t[end + 1] - t[end + 1 - size] - t[begin + size] + t[begin]) / size * _METRES_PER_DEGREE for t in totals[:2]
    )
    accuracy = (totals[2][end + 1] - totals[2][begin]) / count
    allowed = SLOWEST_MPS * (fixes.at[end] - fixes.at[begin]) / 2e6 + accuracy * np.sqrt(2 / size)
    drift = np.hypot(north, east * np.cos(np.radians(fixes.latitude[begin])))
    return np.asarray(drift <= allowed, dtype=np.bool_)


def _joined(fixes: Fixes, chain: Indices, first: Indices, last: Indices) -> tuple[Indices, Indices]:
    """Stays at one place as one visit, where the absence between them is short or near."""
    if len(first) < 2:
        return first, last
    tails = _means(fixes, _reach_back(fixes.at, first, last, _STAY_US), last)
    fronts = _means(fixes, first, _reach(fixes.at, first, last, _STAY_US))
    apart = distances_m(tails[0][:-1], tails[1][:-1], fronts[0][1:], fronts[1][1:])
    absent = fixes.at[first[1:]] - fixes.at[last[:-1]]
    away = _furthest(fixes, tails[0][:-1], tails[1][:-1], last[:-1] + 1, first[1:] - 1)
    same = (
        (apart <= SAME_PLACE_M) & ((absent <= _ABSENCE_US) | (away <= NEAR_M)) & (chain[first[1:]] == chain[last[:-1]])
    )
    return first[np.concatenate([[True], ~same])], last[np.concatenate([~same, [True]])]


def _furthest(fixes: Fixes, latitude: Floats, longitude: Floats, first: Indices, last: Indices) -> Floats:
    """Greatest distance of the fixes `first` to `last` from a position each; 0 where there are none."""
    sizes = np.maximum(last - first + 1, 0)
    out = np.zeros(len(first))
    some = sizes > 0
    if some.any():
        rows, counts = _rows(first[some], sizes[some]), sizes[some]
        away = distances_m(
            np.repeat(latitude[some], counts),
            np.repeat(longitude[some], counts),
            fixes.latitude[rows],
            fixes.longitude[rows],
        )
        out[some] = np.maximum.reduceat(away, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    return out


def _with_trips(fixes: Fixes, chain: Indices, first: Indices, last: Indices, silent: Flags) -> Found:
    count = len(fixes.at)
    starts = np.flatnonzero(np.diff(chain, prepend=-1))
    ends = np.append(starts[1:], count) - 1 if count else starts
    # Only the last chain of a group can go on.
    goes_on = np.zeros(len(starts), dtype=np.bool_)
    if count:
        goes_on[np.append(fixes.group[starts[1:]] != fixes.group[ends[:-1]], True)] = True
        goes_on &= ~silent[fixes.group[ends]]
    number = np.arange(len(first))
    here = chain[first] if len(first) else first
    heads_of = np.full(len(starts), -1)
    tails_of = np.full(len(starts), -1)
    heads_of[here[::-1]] = number[::-1]
    tails_of[here] = number
    followed = np.zeros(len(first), dtype=np.bool_)
    followed[:-1] = here[1:] == here[:-1]
    between = np.flatnonzero(followed)
    trips = [(last[between], first[between + 1], np.ones(len(between), dtype=np.bool_), between, between + 1)]

    led = np.flatnonzero((heads_of >= 0) & (starts < np.where(heads_of >= 0, _at(first, heads_of), 0)))
    led = led[_leaves(fixes, starts[led], _at(first, heads_of[led]))]
    none = np.full(len(led), -1)
    trips.append((starts[led], first[heads_of[led]], np.ones(len(led), dtype=np.bool_), none, heads_of[led]))

    begun = np.where(tails_of >= 0, _at(last, tails_of), starts)
    parted = fixes.at[ends] - fixes.at[begun] > _ABSENCE_US if count else np.zeros(0, dtype=np.bool_)
    left = np.flatnonzero((begun < ends) & (parted | ~goes_on))
    left = left[((tails_of[left] >= 0) & goes_on[left]) | _leaves(fixes, begun[left], ends[left])]
    none = np.full(len(left), -1)
    trips.append((begun[left], ends[left], ~goes_on[left], tails_of[left], none))

    ended = np.ones(len(first), dtype=np.bool_)
    stays = goes_on & (tails_of >= 0) & ~parted
    ended[tails_of[stays]] = False
    columns = [np.concatenate(parts) for parts in zip(*trips, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    trip_first, trip_last, trip_ended, origin, destination = (column[order] for column in columns)
    return Found(first, last, ended, trip_first, trip_last, trip_ended, origin, destination)


def _leaves(fixes: Fixes, first: Indices, last: Indices) -> Flags:
    """Whether any fix up to `last` lies further than `NEAR_M` from the fix `first`."""
    return _furthest(fixes, fixes.latitude[first], fixes.longitude[first], first, last) > NEAR_M


def _at(values: Indices, places: Indices) -> Indices:
    """`values` at `places`; what -1 gives is of no use."""
    return values[places] if len(values) else np.zeros(len(places), dtype=np.int64)


def _reach(at: Indices, first: Indices, last: Indices, micros: int) -> Indices:
    """The last fix of each visit that is no later than `micros` after its first."""
    return np.array(
        [
            a + np.searchsorted(at[a : b + 1], at[a] + micros, side="right") - 1
            for a, b in zip(first, last, strict=True)
        ],
        dtype=np.int64,
    )


def _reach_back(at: Indices, first: Indices, last: Indices, micros: int) -> Indices:
    """The first fix of each visit that is no earlier than `micros` before its last."""
    return np.array(
        [a + np.searchsorted(at[a : b + 1], at[b] - micros) for a, b in zip(first, last, strict=True)], dtype=np.int64
    )


def _rows(first: Indices, sizes: Indices) -> Indices:
    """The numbers `first`, `first` + 1, .. of each stretch, one stretch after the other."""
    before = np.cumsum(sizes) - sizes
    rows: Indices = np.arange(int(sizes.sum())) + np.repeat(first - before, sizes)
    return rows


def _means(fixes: Fixes, first: Indices, last: Indices) -> tuple[Floats, Floats]:
    """Mean latitude and longitude of the fixes `first` to `last` of each; each summed by itself."""
    pairs = list(zip(first.tolist(), (last + 1).tolist(), strict=True))
    latitude = np.array([fixes.latitude[a:b].mean() for a, b in pairs])
    longitude = np.array([_mean_longitude(fixes.longitude[a:b]) for a, b in pairs])
    return latitude, longitude


def _mean_longitude(values: Floats) -> float:
    if values.max() - values.min() <= 180.0:
        return float(values.mean())
    middle = float(np.where(values < 0, values + 360.0, values).mean())
    return middle - 360.0 if middle > 180.0 else middle
