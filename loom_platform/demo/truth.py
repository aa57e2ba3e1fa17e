"""What is true of a simulated day, in forms that others read: JSON for tests, GeoJSON for `loom georegions import`."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from loom_platform.demo.day import Day, Place, Stay
from loom_platform.demo.events import Truth
from loom_platform.demo.senses import moment as _time
from loom_platform.demo.tracks import distance_m

VISIT_S: Final = 300.0
"""A stay of so long is a visit."""


def truth_document(truth: Truth, began: datetime) -> dict[str, Any]:
    """The day that began at `began`; times in UTC.

    Activities, visits, trips, charging, applications in front, screen, Wi-Fi, speech, accelerometer bursts, places.
    """

    def span(start: float, end: float, **rest: Any) -> dict[str, Any]:
        return {"start": _time(began, start), "end": _time(began, end), **rest}

    return {
        "began": _time(began, 0.0),
        "ended": _time(began, truth.day.seconds),
        "activities": [span(a.start, a.end, kind=a.kind, track=a.track.name) for a in truth.day.activities],
        "visits": [
            span(s.start, s.end, place=s.place, latitude=s.latitude, longitude=s.longitude) for s in visits(truth)
        ],
        "trips": [span(a, b, modes=modes, distance_m=round(metres)) for a, b, modes, metres in trips(truth)],
        "app_sessions": [
            span(s.start, s.end, app=s.app, ended_by=s.ended_by) for use in truth.uses for s in use.sessions
        ],
        "screen": [span(use.start, use.end) for use in truth.uses],
        "wifi": [span(c.start, c.end, ssid=c.network.ssid, category=c.network.category) for c in truth.connections],
        "charging": [span(c.start, c.end) for c in truth.day.charging],
        "spoken": [span(s.start, s.end, name=s.name, text=s.text) for s in truth.spoken],
        "bursts": [span(b.start, b.end) for b in truth.bursts],
        "places": [_feature(p) for p in truth.day.places],
    }


def visits(truth: Truth) -> Iterator[Stay]:
    """The stays that are long enough to be visits."""
    return (stay for stay in truth.stays if stay.end - stay.start >= VISIT_S)


def trips(truth: Truth) -> Iterator[tuple[float, float, list[str], float]]:
    """The ways between two visits: start, end, how the person moved (in order), and how far, metres."""
    for before, after in pairwise(visits(truth)):
        kinds: list[str] = [
            a.kind for a in truth.day.activities if a.moving and a.start < after.start and a.end > before.end
        ]
        yield before.end, after.start, kinds, _metres(truth.day, before, after)


def _metres(day: Day, before: Stay, after: Stay) -> float:
    steps = range(int(before.end), int(after.start) + 1, 10)
    return sum(distance_m(day.position_at(float(a)), day.position_at(float(b))) for a, b in pairwise(steps))


def places_document(truth: Truth) -> dict[str, Any]:
    """The places of the day as a GeoJSON FeatureCollection of circles."""
    return {"type": "FeatureCollection", "features": [_feature(p) for p in truth.day.places]}


def _feature(place: Place) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"name": place.name, "kind": place.kind, "radius_m": place.radius_m},
        "geometry": {"type": "Point", "coordinates": [place.longitude, place.latitude]},
    }
