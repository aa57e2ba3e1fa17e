"""Workouts of Health Auto Export, versions 1 and 2 of its format, and their routes."""

from collections.abc import Iterator
from typing import Any, Final

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.phone import LOCATION_REPORT_RAW, WORKOUT_RAW
from loom_ingest.clients.loose import count, label, moment, number, present, storable
from loom_ingest.clients.taking import Draft, unrecognized_pieces

_METRES: Final = {"m": 1.0, "km": 1_000.0, "mi": 1_609.344, "ft": 0.3048, "yd": 0.9144, "cm": 0.01}
_KILOCALORIES: Final = {"kcal": 1.0, "cal": 1.0, "kj": 1 / 4.184, "j": 1 / 4_184.0}
"""Apple's Cal is a kilocalorie."""
_PLAIN: Final = {"": 1.0, "bpm": 1.0, "count/min": 1.0, "steps": 1.0, "count": 1.0}


def workout_drafts(client: str, workout: dict[str, Any]) -> Iterator[Draft]:
    """The workout, and the positions of its route."""
    route = workout.get("route")
    points = route if isinstance(route, list) else []
    start = moment(workout.get("start"))
    details = {name: value for name, value in workout.items() if not (name == "route" and value is points)}
    if start is None:
        yield from unrecognized_pieces(client, "a workout without a start that can be read", details)
    else:
        yield Draft(WORKOUT_RAW, {"timestamp": start, **_fields(workout, details, len(points))}, details)
    for point in points:
        yield from _position(client, workout, point)


def _fields(workout: dict[str, Any], details: dict[str, Any], points: int) -> dict[str, Any]:
    start, end = moment(workout.get("start")), moment(workout.get("end"))
    duration = number(workout.get("duration"), 0.0)
    if duration is None and start is not None and end is not None and end >= start:
        duration = (end - start).total_seconds()
    average, maximum = _pulse(workout)
    return present(
        {
            "name": label(workout.get("name")) or "Workout",
            "workout_id": label(workout.get("id")),
            "ended_at": end,
            "duration_seconds": duration,
            "location": label(workout.get("location")),
            "distance_m": _quantity(workout.get("distance"), _METRES),
            "active_energy_kcal": _first(workout, ("activeEnergyBurned", "activeEnergy"), _KILOCALORIES),
            "steps": _steps(workout.get("stepCount")),
            "average_heart_rate_bpm": average,
            "maximum_heart_rate_bpm": maximum,
            "route_points": points or None,
            "details": storable(details),
        }
    )


def _first(workout: dict[str, Any], names: tuple[str, ...], units: dict[str, float]) -> float | None:
    found = (_quantity(workout.get(name), units) for name in names)
    return next((value for value in found if value is not None), None)


def _quantity(value: Any, units: dict[str, float]) -> float | None:
    """`{"qty": 5.2, "units": "km"}` in the unit whose factor is 1; None in one that is not known."""
    if not isinstance(value, dict):
        return None
    quantity, unit = number(value.get("qty"), 0.0), value.get("units")
    factor = units.get(unit.strip().lower() if isinstance(unit, str) else "")
    return None if quantity is None or factor is None else round(quantity * factor, 6)


def _steps(value: Any) -> int | None:
    """Version 1 has their number, version 2 a list of stretches."""
    if isinstance(value, list):
        parts = [number(part.get("qty"), 0.0) for part in value if isinstance(part, dict)]
        return count(sum(part for part in parts if part is not None)) if parts else None
    return count(_quantity(value, _PLAIN))


def _pulse(workout: dict[str, Any]) -> tuple[float | None, float | None]:
    """Mean and greatest pulse: told as such, or of the measurements."""
    whole = workout.get("heartRate")
    told = whole if isinstance(whole, dict) else {}
    average = _quantity(told.get("avg"), _PLAIN) or _first(workout, ("avgHeartRate", "averageHeartRate"), _PLAIN)
    maximum = _quantity(told.get("max"), _PLAIN) or _first(workout, ("maxHeartRate", "maximumHeartRate"), _PLAIN)
    series = workout.get("heartRateData")
    parts = [part for part in series if isinstance(part, dict)] if isinstance(series, list) else []
    means = [v for part in parts if (v := number(part.get("Avg", part.get("qty")), 0.0)) is not None]
    tops = [v for part in parts if (v := number(part.get("Max", part.get("qty")), 0.0)) is not None]
    if average is None and means:
        average = round(sum(means) / len(means), 3)
    if maximum is None and tops:
        maximum = max(tops)
    return average, maximum


_OF_A_FIX: Final = (
    # names in versions 2 and 1, in the contract, and the contract's range; below zero is invalid in iOS.
    (("altitude",), "altitude", -1_000.0, 20_000.0),
    (("horizontalAccuracy",), "accuracy", 0.0, 10_000.0),
    (("course",), "heading", 0.0, 360.0),
    (("speed",), "speed", 0.0, 200.0),
)
_OF_A_REPORT: Final = (
    ("verticalAccuracy", "vertical_accuracy"),
    ("speedAccuracy", "speed_accuracy"),
    ("courseAccuracy", "heading_accuracy"),
)


def _position(client: str, workout: dict[str, Any], point: Any) -> Iterator[Draft]:
    """The fix of one point of a route, and a report of what a fix does not have."""
    left = dict(point) if isinstance(point, dict) else {}
    latitude = _taken(left, ("latitude", "lat"), -90.0, 90.0)
    longitude = _taken(left, ("longitude", "lon"), -180.0, 180.0)
    timestamp = moment(left.pop("timestamp", left.pop("date", None)))
    if latitude is None or longitude is None or timestamp is None:
        source = {"workout": workout.get("id") or workout.get("start"), "route": [point]}
        yield from unrecognized_pieces(client, "a point of a route without a time or position that can be read", source)
        return
    fix: dict[str, Any] = {"timestamp": timestamp, "latitude": latitude, "longitude": longitude}
    for names, ours, least, most in _OF_A_FIX:
        fix[ours] = _taken(left, names, least, most)
        if ours != "altitude":
            _drop_negative(left, names[0])
    yield Draft(GPS_RAW, present(fix), point)
    report: dict[str, Any] = {}
    for theirs, ours in _OF_A_REPORT:
        report[ours] = _taken(left, (theirs,), 0.0, 1e9)
        _drop_negative(left, theirs)
    report = present(report | {"details": storable({name: value for name, value in left.items() if value is not None})})
    if report:
        yield Draft(LOCATION_REPORT_RAW, {"timestamp": timestamp, **report}, point)


def _taken(left: dict[str, Any], names: tuple[str, ...], least: float, most: float) -> float | None:
    """The value of the first of `names` that is in range, taken out of `left`."""
    for name in names:
        value = number(left.get(name), least, most)
        if value is not None:
            left.pop(name)
            return value
    return None


def _drop_negative(left: dict[str, Any], name: str) -> None:
    value = number(left.get(name))
    if value is not None and value < 0:
        left.pop(name)
