"""The plan of a day: where the person is, how they move, when the battery charges. Times are seconds from its start."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from loom_platform.demo.tracks import Point, Track, distance_m, offset, out_and_back, pauses, staying, straight, walk

ActivityKind = Literal["sleep", "rest", "walk", "hike", "drive"]

HOME: Final = Point(0.0, 52.5163, 13.3777, 34.0)
"""Where the day takes place when there are no tracks."""

_DRIVE_MPS: Final = 5.0
_TRANSFER_MPS: Final = 19.0
_NEAR_M: Final = 200.0
_SLEEP_FROM_HOURS: Final = 12.0
_WORK_FROM_HOURS: Final = 12.0
_WORK_SHARE: Final = 1 / 7
_COMMUTE_MPS: Final = 13.0
_FIRST_STAY: Final = 0.1
_LAST_STAY: Final = 1.9


@dataclass(frozen=True, slots=True)
class Activity:
    """What the person does from `start` to `end`; they move along `track`, which begins at `start`."""

    kind: ActivityKind
    start: float
    end: float
    track: Track

    @property
    def moving(self) -> bool:
        """Whether they go from place to place."""
        return self.kind in ("walk", "hike", "drive")


@dataclass(frozen=True, slots=True)
class Place:
    """A place that the person stays at."""

    name: str
    kind: str
    latitude: float
    longitude: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `end`."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Stay:
    """The person is at one place from `start` to `end`; `place` names it where it is one of the day's."""

    start: float
    end: float
    latitude: float
    longitude: float
    place: str | None


@dataclass(frozen=True, slots=True)
class Day:
    """One planned day."""

    seconds: float
    activities: tuple[Activity, ...]
    charging: tuple[Span, ...]
    places: tuple[Place, ...]

    def activity_at(self, seconds: float) -> Activity:
        """What the person does then."""
        for activity in self.activities:
            if seconds < activity.end:
                return activity
        return self.activities[-1]

    def position_at(self, seconds: float) -> Point:
        """Where the person is then."""
        activity = self.activity_at(seconds)
        return activity.track.at(seconds - activity.start)

    def charging_at(self, seconds: float) -> bool:
        """Whether the device is charged then."""
        return any(span.start <= seconds < span.end for span in self.charging)

    def stays(self) -> tuple[Stay, ...]:
        """The stays, in order: those that were planned, and the pauses that were made on the way."""
        found: list[Stay] = []
        for activity in self.activities:
            if activity.moving:
                for start, end, at in pauses(activity.track):
                    found.append(self._stay(activity.start + start, activity.start + end, at))
            elif found and found[-1].end == activity.start and not _parted(found[-1], activity.track.points[0]):
                found[-1] = replace(found[-1], end=activity.end)
            else:
                found.append(self._stay(activity.start, activity.end, activity.track.points[0]))
        return tuple(found)

    def _stay(self, start: float, end: float, at: Point) -> Stay:
        near = (p for p in self.places if distance_m(at, Point(0.0, p.latitude, p.longitude)) < p.radius_m)
        return Stay(start, end, at.latitude, at.longitude, next((p.name for p in near), None))


def _parted(stay: Stay, from_: Point) -> bool:
    return distance_m(Point(0.0, stay.latitude, stay.longitude), from_) >= _NEAR_M


def plan_day(seconds: float, tracks: Sequence[Track], rng: random.Random) -> Day:
    """A day of `seconds`: stays at home, parted by a drive, by a hike where there is time, and by a walk."""
    drive = next((t for t in tracks if _pace(t) >= _DRIVE_MPS), None)
    hike = next((t for t in tracks if _pace(t) < _DRIVE_MPS), None)
    home = drive.points[0] if drive else hike.points[0] if hike else HOME
    places = [Place("Demo home", "home", home.latitude, home.longitude, 120.0)]
    trips = _trips(seconds, home, drive, hike, rng)
    if seconds >= _WORK_FROM_HOURS * 3_600:
        office = offset(home, 4_000.0, 3_000.0)
        trips.insert(min(1, len(trips)), _work_trip(home, office, seconds * _WORK_SHARE))
        places.append(Place("Demo office", "work", office.latitude, office.longitude, 120.0))
    if any(kind == "hike" for trip in trips for kind, _ in trip) and hike is not None:
        start = hike.points[0]
        places.append(Place("Demo trailhead", "custom", start.latitude, start.longitude, 150.0))
    activities = _laid_out(seconds, home, trips)
    return Day(seconds, activities, _charging(activities), tuple(places))


Leg = tuple[ActivityKind, Track]


def _trips(
    seconds: float, home: Point, drive: Track | None, hike: Track | None, rng: random.Random
) -> list[tuple[Leg, ...]]:
    """Trips that take half of the time at most, in the order of the day."""
    left = seconds / 2
    trips: list[tuple[Leg, ...]] = []
    if drive is not None:
        returns = distance_m(drive.points[0], drive.points[-1]) < _NEAR_M
        errand = drive if returns and drive.seconds <= left else out_and_back(drive, min(left, 2 * drive.seconds))
        trips.append((("drive", errand),))
        left -= errand.seconds
    if hike is not None:
        trip = _hike_trip(home, hike)
        needed = sum(track.seconds for _, track in trip)
        if needed <= left:
            trips.append(trip)
            left -= needed
    round_seconds = min(1_800.0, left, seconds / 6)
    if round_seconds >= 120:
        trips.append((("walk", walk(home, round_seconds, rng)),))
    return trips


def _work_trip(home: Point, office: Point, seconds: float) -> tuple[Leg, ...]:
    """To the office by car, and home again."""
    there, back = straight(home, office, _COMMUTE_MPS, "to work"), straight(office, home, _COMMUTE_MPS, "from work")
    return (("drive", there), ("rest", staying(office, seconds, "work")), ("drive", back))


def _hike_trip(home: Point, hike: Track) -> tuple[Leg, ...]:
    """The hike, with a drive to where it begins and one home from where it ends, unless home is near."""
    legs: list[Leg] = [("hike", hike)]
    if distance_m(home, hike.points[0]) >= _NEAR_M:
        legs.insert(0, ("drive", straight(home, hike.points[0], _TRANSFER_MPS)))
    if distance_m(home, hike.points[-1]) >= _NEAR_M:
        legs.append(("drive", straight(hike.points[-1], home, _TRANSFER_MPS)))
    return tuple(legs)


def _laid_out(seconds: float, home: Point, trips: Sequence[Sequence[Leg]]) -> tuple[Activity, ...]:
    """The trips with stays at home between them. The first stay is short, so that one sees something happen soon; the
    last is long, and asleep in a long day.
    """
    weights = [_FIRST_STAY, *(1.0 for _ in trips[1:]), _LAST_STAY] if trips else [1.0]
    unit = (seconds - sum(track.seconds for trip in trips for _, track in trip)) / sum(weights)
    at_home = Track("home", (Point(0.0, home.latitude, home.longitude, home.altitude),))
    activities: list[Activity] = []
    clock = 0.0

    def add(kind: ActivityKind, length: float, track: Track) -> None:
        nonlocal clock
        activities.append(Activity(kind, clock, clock + length, track))
        clock += length

    for weight, trip in zip(weights, (*trips, ()), strict=True):
        if not trip and seconds >= _SLEEP_FROM_HOURS * 3_600:
            add("rest", weight * unit * 0.2, at_home)
            add("sleep", weight * unit * 0.8, at_home)
        else:
            add("rest", weight * unit, at_home)
        for kind, track in trip:
            add(kind, track.seconds, track)
    return tuple(activities)


def _charging(activities: Sequence[Activity]) -> tuple[Span, ...]:
    """Plugged in when the day begins, and for half of the other long stays."""
    stays = [a for a in activities if not a.moving]
    first = stays[0]
    spans = [Span(first.start, first.start + (first.end - first.start) * 0.6)]
    for stay in stays[1:]:
        length = stay.end - stay.start
        spans.append(Span(stay.start + length * 0.25, stay.start + length * 0.75))
    return tuple(spans)


def _pace(track: Track) -> float:
    return track.metres / track.seconds
