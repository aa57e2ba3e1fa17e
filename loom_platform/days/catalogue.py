"""Every dataset of days, written out."""

from typing import Final

import polars as pl

from loom_contracts.table import Column, ColumnType
from loom_platform.days.activity import ACTIVITY_MINUTES_DAILY
from loom_platform.days.dataset import Dataset, Window
from loom_platform.days.places import DEVICES, TRIPS_DAILY, VISITS_DAILY
from loom_platform.days.screens import APP_USAGE_DAILY, CHARGING_DAILY, SCREEN_TIME_DAILY
from loom_platform.days.sleep import SLEEP_ESTIMATE_DAILY
from loom_platform.days.timeline import DAY_TIMELINE


def person_days(window: Window) -> pl.DataFrame:
    """The day itself."""
    day = window.day
    return pl.DataFrame(
        {
            "time_zone": [day.time_zone],
            "source": [day.source],
            "starts_at": [day.starts_at],
            "ends_at": [day.ends_at],
            "hours": [day.hours],
            "device_ids": pl.Series([list(day.device_ids)], dtype=pl.List(pl.String)),
        }
    )


PERSON_DAYS: Final = Dataset(
    "person_days",
    "The person's days: when each began and ended, and in which time zone.",
    (
        Column("time_zone", ColumnType.TEXT, False, "In which the person came into the day; IANA name."),
        Column("source", ColumnType.TEXT, False, "Who says so: hand (`loom zones`), position or setting."),
        Column("starts_at", ColumnType.TIMESTAMP, False, "Its first moment, UTC."),
        Column("ends_at", ColumnType.TIMESTAMP, False, "The first moment of the next day, UTC."),
        Column("hours", ColumnType.FLOAT, False, "Its length: 23 or 25 when the clock changes, others by travel."),
        DEVICES,
    ),
    (),
    (),
    person_days,
)

DATASETS: Final[tuple[Dataset, ...]] = (
    PERSON_DAYS,
    VISITS_DAILY,
    TRIPS_DAILY,
    ACTIVITY_MINUTES_DAILY,
    APP_USAGE_DAILY,
    SCREEN_TIME_DAILY,
    CHARGING_DAILY,
    SLEEP_ESTIMATE_DAILY,
    DAY_TIMELINE,
)
"""In the order in which a day's are computed."""
