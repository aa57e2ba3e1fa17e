"""A day as a person reads it: its bounds, what happened, and its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from loom_platform.days.activity import ACTIVITY_MINUTES_DAILY
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.compute import rows_of, window_of, wire
from loom_platform.days.dataset import Connection, Dataset
from loom_platform.days.places import TRIPS_DAILY
from loom_platform.days.screens import SCREEN_TIME_DAILY
from loom_platform.days.sleep import SLEEP_ESTIMATE_DAILY
from loom_platform.days.timeline import DAY_TIMELINE
from loom_platform.zones import ONE_DAY, Day, read_clock, zone

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """A day, and the rows of every dataset of it, by table."""

    day: Day
    rows: Mapping[str, Sequence[Row]]

    @property
    def timeline(self) -> Sequence[Row]:
        """What happened, in order."""
        return self.rows[DAY_TIMELINE.table]


def today(connection: Connection, now: datetime, default_zone: str) -> date:
    """The person's day at `now`."""
    utc = now.astimezone(UTC).date()
    return read_clock(connection, utc - ONE_DAY, utc + ONE_DAY, default_zone).day_at(now)


def story(connection: Connection, day: date, default_zone: str) -> Story:
    """`day` as its rows tell it now; where they are gone, as it was told when they were there. Nothing is written."""
    window = window_of(connection, day, DATASETS, default_zone)
    fresh = {d.table: _named(d, wire(d, d.compute(window))) for d in DATASETS}
    stored = {d.table: _named(d, rows_of(connection, d, day)) for d in DATASETS} if _empty(fresh) else {}
    return Story(window.day, fresh if _empty(stored) else stored)


def _empty(rows: Mapping[str, Sequence[Row]]) -> bool:
    return not rows.get(DAY_TIMELINE.table)


def _named(dataset: Dataset, rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    return [dict(zip((c.name for c in dataset.columns), row, strict=True)) for row in rows]


def numbers(told: Story) -> list[str]:
    """The day's numbers, a phrase each; of what is not known nothing is said."""
    nights, screens, trips, moved = (
        told.rows[d.table] for d in (SLEEP_ESTIMATE_DAILY, SCREEN_TIME_DAILY, TRIPS_DAILY, ACTIVITY_MINUTES_DAILY)
    )
    on_foot = sum(m["minutes"] for m in moved if m["activity"] in ("walking", "running"))
    return [
        *(f"slept {_hours(n['sleep_seconds'])} ± {_hours(n['uncertainty_seconds'])}" for n in nights),
        *(f"screen {_hours(s['total_seconds'])}, {s['pickups']} times" for s in screens),
        *(f"{t['mode'].replace('_', ' ')} {t['distance_m'] / 1000:.1f} km" for t in trips),
        *([f"{on_foot:.0f} minutes on foot"] if on_foot else []),
    ]


def _hours(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}:{minutes:02} h"


def clock_time(moment: datetime, time_zone: str) -> str:
    """`moment` as the person's clock showed it."""
    return moment.astimezone(zone(time_zone)).strftime("%H:%M")


def length(row: Row) -> str:
    """How long an entry lasted within the day."""
    seconds = (row["ended_at"] - row["started_at"]) / timedelta(seconds=1)
    return _hours(seconds) if seconds >= 60 else f"{seconds:.0f} s"
