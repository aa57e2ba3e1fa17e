"""Tracks to move along: real ones from GPX files, or a synthetic walk."""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from loom_platform.errors import PlatformError

EARTH_RADIUS_M: Final = 6_371_000.0
_JUMP_M: Final = 1_000.0
_BREAK_S: Final = 3_600.0
_LEAST_POINTS: Final = 20
_PAUSE_M: Final = 60.0
_PAUSE_S: Final = 600.0
_STEP_S: Final = 10


@dataclass(frozen=True, slots=True)
class Point:
    """A position `at` seconds after the track began; degrees and metres."""

    at: float
    latitude: float
    longitude: float
    altitude: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """Positions in order of time, the first at 0 s."""

    name: str
    points: tuple[Point, ...]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.points[-1].at

    @property
    def metres(self) -> float:
        """How long it is."""
        return sum(distance_m(a, b) for a, b in pairwise(self.points))

    def at(self, seconds: float) -> Point:
        """The position then, between the two nearest points; the ends hold before and after."""
        index = bisect_right(self.points, seconds, key=lambda p: p.at)
        if index == 0:
            return self.points[0]
        if index == len(self.points):
            return self.points[-1]
        a, b = self.points[index - 1], self.points[index]
        share = (seconds - a.at) / (b.at - a.at) if b.at > a.at else 0.0
        altitude = None
        if a.altitude is not None and b.altitude is not None:
            altitude = a.altitude + share * (b.altitude - a.altitude)
        return Point(
            seconds,
            a.latitude + share * (b.latitude - a.latitude),
            a.longitude + share * (b.longitude - a.longitude),
            altitude,
        )


def distance_m(a: Point, b: Point) -> float:
    """Great-circle distance (haversine), metres."""
    lat_a, lat_b = math.radians(a.latitude), math.radians(b.latitude)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(b.longitude - a.longitude) / 2
    h = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(h))


def bearing_deg(a: Point, b: Point) -> float:
    """Course from `a` to `b`, degrees from north in [0, 360)."""
    lat_a, lat_b = math.radians(a.latitude), math.radians(b.latitude)
    east = math.radians(b.longitude - a.longitude)
    y = math.sin(east) * math.cos(lat_b)
    x = math.cos(lat_a) * math.sin(lat_b) - math.sin(lat_a) * math.cos(lat_b) * math.cos(east)
    return math.degrees(math.atan2(y, x)) % 360.0


def offset(point: Point, north_m: float, east_m: float) -> Point:
    """`point`, moved."""
    latitude = point.latitude + math.degrees(north_m / EARTH_RADIUS_M)
    longitude = point.longitude + math.degrees(east_m / EARTH_RADIUS_M / math.cos(math.radians(point.latitude)))
    return Point(point.at, latitude, longitude, point.altitude)


def straight(a: Point, b: Point, metres_per_second: float, name: str = "transfer") -> Track:
    """From `a` to `b` as the crow flies."""
    seconds = max(1.0, distance_m(a, b) / metres_per_second)
    ends = (Point(0.0, a.latitude, a.longitude), Point(seconds, b.latitude, b.longitude))
    return Track(name, ends)


def staying(at: Point, seconds: float, name: str) -> Track:
    """Nowhere for so long."""
    return Track(name, (replace(at, at=0.0), replace(at, at=seconds)))


def pauses(track: Track) -> Iterator[tuple[float, float, Point]]:
    """Where someone who moves along `track` stays within `_PAUSE_M` for `_PAUSE_S` or longer: start, end, middle.

    One that begins soon after the last has ended, and near it, is the same pause.
    """
    found: list[tuple[float, float, Point]] = []
    for start, end, at in _still(track):
        if found and start - found[-1][1] < _PAUSE_S / 2 and distance_m(found[-1][2], at) < 2 * _PAUSE_M:
            found[-1] = (found[-1][0], end, found[-1][2])
        else:
            found.append((start, end, at))
    return iter(found)


def _still(track: Track) -> Iterator[tuple[float, float, Point]]:
    steps = [track.at(float(second)) for second in range(0, int(track.seconds) + 1, _STEP_S)]
    first = 0
    while first < len(steps):
        last = first
        while last + 1 < len(steps) and distance_m(steps[first], steps[last + 1]) <= _PAUSE_M:
            last += 1
        if steps[last].at - steps[first].at >= _PAUSE_S:
            yield steps[first].at, steps[last].at, steps[(first + last) // 2]
            first = last
        first += 1


def reversed_track(track: Track) -> Track:
    """The same way back, at the same pace."""
    end = track.seconds
    points = (Point(end - p.at, p.latitude, p.longitude, p.altitude) for p in reversed(track.points))
    return Track(f"{track.name} back", tuple(points))


def out_and_back(track: Track, seconds: float) -> Track:
    """`track` as far as half of `seconds` allows, and the same way back."""
    turn = seconds / 2
    out = Track(track.name, (*(p for p in track.points if p.at < turn), track.at(turn)))
    back = reversed_track(out)
    return Track(track.name, (*out.points, *(_later(p, out.seconds) for p in back.points[1:])))


def walk(around: Point, seconds: float, rng: random.Random) -> Track:
    """A round on foot that begins and ends at `around`, at 1.3 m/s, a point every 10 s."""
    radius = 1.3 * seconds / (2 * math.pi)
    turn, phase = rng.choice((-1, 1)), rng.uniform(0, 2 * math.pi)
    wave = rng.uniform(0.05, 0.15)
    points = []
    steps = max(12, int(seconds / 10))
    for step in range(steps + 1):
        angle = turn * 2 * math.pi * step / steps
        # A circle through the start, dented so that it looks like streets.
        reach = radius * (1 + wave * math.sin(5 * angle) * math.sin(angle / 2))
        north = reach * math.cos(phase + angle) - radius * math.cos(phase)
        east = reach * math.sin(phase + angle) - radius * math.sin(phase)
        moved = offset(around, north, east)
        points.append(Point(step * seconds / steps, moved.latitude, moved.longitude, around.altitude))
    return Track("walk", tuple(points))


def read_tracks(folder: Path) -> tuple[Track, ...]:
    """The tracks of the GPX files in `folder` that have times, longest time first.

    Segments follow each other as one track, unless an hour or a kilometre lies between two points. Raises
    PlatformError when a file is not GPX.
    """
    found = [track for path in sorted(folder.glob("*.gpx")) for track in _tracks_of(path)]
    return tuple(sorted(found, key=lambda t: -t.seconds))


def _tracks_of(path: Path) -> Iterator[Track]:
    try:
        # The person's own files, and expat bounds the growth of entities.
        root = ElementTree.parse(path).getroot()  # noqa: S314
        timed = [p for node in root.iter() if _local(node) == "trkpt" for p in _timed(node)]
    except (ElementTree.ParseError, OSError, ValueError, TypeError) as error:
        raise PlatformError(f"{path} is not a GPX file that can be read ({error}); remove it or correct it") from None
    piece: list[Point] = []
    for point in timed:
        if piece and not _follows(piece[-1], point):
            yield from _finished(path.stem, piece)
            piece = []
        piece.append(point)
    yield from _finished(path.stem, piece)


def _follows(a: Point, b: Point) -> bool:
    return 0 <= b.at - a.at < _BREAK_S and distance_m(a, b) < _JUMP_M


def _finished(name: str, piece: Sequence[Point]) -> Iterator[Track]:
    unique = [p for p, before in zip(piece, (None, *piece), strict=False) if before is None or p.at > before.at]
    if len(unique) >= _LEAST_POINTS:
        yield Track(name, tuple(_later(p, -unique[0].at) for p in unique))


def _timed(node: ElementTree.Element) -> Iterator[Point]:
    children = {_local(child): child.text for child in node}
    if children.get("time"):
        at = datetime.fromisoformat(str(children["time"]).strip().replace("Z", "+00:00")).timestamp()
        height = children.get("ele")
        altitude = float(height) if height else None
        yield Point(at, float(node.get("lat", "")), float(node.get("lon", "")), altitude)


def _local(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]


def _later(point: Point, seconds: float) -> Point:
    return Point(point.at + seconds, point.latitude, point.longitude, point.altitude)
