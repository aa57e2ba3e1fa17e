"""Literal windows for the tests of datasets: 20 November 2026 in Zurich, which begins at 23:00 UTC the day before."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from loom_platform.days import sources
from loom_platform.days.dataset import Dataset, Source, Window
from loom_platform.zones import Clock

DAY = date(2026, 11, 20)
ZURICH = Clock("Europe/Zurich")
HOME, WORK = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
ALL = (
    sources.VISITS,
    sources.TRIPS,
    sources.APPS,
    sources.USAGE,
    sources.ACTIVITY,
    sources.SCREEN,
    sources.CHARGING,
    sources.SPEECH,
)


def at(hour: float, day: int = 20) -> datetime:
    """So many hours after midnight in Zurich."""
    return datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=hour - 1)


def window(rows: Mapping[Source, Sequence[Mapping[str, Any]]], clock: Clock = ZURICH, day: date = DAY) -> Window:
    """A window of these rows; what a row does not name is empty."""
    frames = {}
    for source in ALL:
        given = [{"message_id": f"{source.name}-{n}", **row} for n, row in enumerate(rows.get(source, ()))]
        frames[source.name] = pl.DataFrame(
            [{name: row.get(name) for name in source.schema} for row in given], schema=source.schema
        )
    return Window(clock.day(day), clock, frames)


def rows(dataset: Dataset, given: Window) -> list[dict[str, Any]]:
    """What `dataset` makes of it; its columns are as they are told."""
    found = dataset.compute(given)
    assert found.columns == [c.name for c in dataset.columns]
    return found.to_dicts()


def visit(start: datetime, end: datetime, place: str = HOME, device: str = "phone") -> dict[str, Any]:
    """A visit at Home or Office."""
    name, kind = {HOME: ("Home", "home"), WORK: ("Office", "work")}.get(place, (None, None))
    return {
        "device_id": device, "started_at": start, "ended_at": end, "arrived_at": start, "place_id": place,
        "place_name": name, "place_kind": kind, "latitude": 47.4, "longitude": 8.5,
    }  # fmt: skip


def trip(
    start: datetime, end: datetime, mode: str | None, metres: float | None, device: str = "phone"
) -> dict[str, Any]:
    """A trip."""
    return {"device_id": device, "started_at": start, "ended_at": end, "mode": mode, "distance_m": metres}


def moving(
    start: datetime, minutes: int, activity: str, device: str = "phone", sure: float = 0.9
) -> list[dict[str, Any]]:
    """An activity in each of so many minutes."""
    return [
        {
            "device_id": device,
            "minute": start + timedelta(minutes=n),
            "activity": activity,
            "seconds": 60.0,
            "certain_seconds": 60.0 * sure,
        }
        for n in range(minutes)
    ]


def screen(*told: tuple[datetime, str], device: str = "phone") -> list[dict[str, Any]]:
    """Events of a screen."""
    return [{"device_id": device, "timestamp": when, "event_type": event} for when, event in told]


def lit(*spans: tuple[datetime, datetime], device: str = "phone") -> list[dict[str, Any]]:
    """A screen that was on in these spans."""
    return [e for on, off in spans for e in screen((on, "screen_on"), (off, "screen_off"), device=device)]


def app(start: datetime, end: datetime, name: str = "org.mail", device: str = "phone") -> dict[str, Any]:
    """An application in front."""
    return {
        "device_id": device, "started_at": start, "ended_at": end, "app_identifier": name, "app_name": name.upper(),
        "app_category": "communication",
    }  # fmt: skip


def charge(start: datetime, end: datetime, low: float, high: float | None, device: str = "phone") -> dict[str, Any]:
    """A charging session."""
    return {"device_id": device, "started_at": start, "ended_at": end, "start_level": low, "end_level": high}
