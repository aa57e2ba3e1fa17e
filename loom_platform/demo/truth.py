"""What is true of a simulated day, in forms that others read: JSON for tests, GeoJSON for `loom georegions import`."""

from datetime import datetime, timedelta
from typing import Any

from loom_platform.demo.day import Place
from loom_platform.demo.events import Truth


def truth_document(truth: Truth, began: datetime) -> dict[str, Any]:
    """The day that began at `began`: activities, charging, speech, accelerometer bursts, places; times in UTC."""

    def span(start: float, end: float, **rest: Any) -> dict[str, Any]:
        return {"start": _time(began, start), "end": _time(began, end), **rest}

    return {
        "began": _time(began, 0.0),
        "ended": _time(began, truth.day.seconds),
        "activities": [span(a.start, a.end, kind=a.kind, track=a.track.name) for a in truth.day.activities],
        "charging": [span(c.start, c.end) for c in truth.day.charging],
        "spoken": [span(s.start, s.end, name=s.name, text=s.text) for s in truth.spoken],
        "bursts": [span(b.start, b.end) for b in truth.bursts],
        "places": [_feature(p) for p in truth.day.places],
    }


def places_document(truth: Truth) -> dict[str, Any]:
    """The places of the day as a GeoJSON FeatureCollection of circles."""
    return {"type": "FeatureCollection", "features": [_feature(p) for p in truth.day.places]}


def _feature(place: Place) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"name": place.name, "kind": place.kind, "radius_m": place.radius_m},
        "geometry": {"type": "Point", "coordinates": [place.longitude, place.latitude]},
    }


def _time(began: datetime, seconds: float) -> str:
    return (began + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
