"""When the person slept, as their devices let one guess: `sleep_estimate_daily`.

Nobody asks the person: what is seen is the longest stretch in which no screen was on and nobody walked, rode or drove.
The idea and what may be expected of it are those of Chen et al., Unobtrusive Sleep Monitoring using Smartphones
(PervasiveHealth 2013: a night's length to 42 minutes, from screen lock, charging, stillness, darkness and silence) and
of Abdullah et al., Towards Circadian Computing (UbiComp 2014: to 45 minutes, from screens alone). No estimate here
claims to be better than the first of them: half an hour at each end, and more where less speaks for it.
"""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from math import hypot
from typing import Final

import polars as pl

from loom_contracts.table import Column, ColumnType
from loom_platform.days.activity import movement
from loom_platform.days.dataset import Dataset, Window
from loom_platform.days.places import DEVICES
from loom_platform.days.screens import lit
from loom_platform.days.sources import ACTIVITY, APPS, CHARGING, SCREEN, SLEEP_REACH, TRIPS, VISITS
from loom_platform.days.stretches import joined, overlap_seconds, within

SHORTEST: Final = timedelta(hours=3)
LONGEST: Final = timedelta(hours=16)
"""A longer silence is that of a device which nobody used, so nothing is said."""

NIGHT_BEGINS: Final = timedelta(hours=-2)
NIGHT_ENDS: Final = timedelta(hours=8)
"""From the person's midnight. A silence in these hours is rather sleep than one of the day."""

WAKING: Final = timedelta(minutes=10)
"""Whoever looks at a screen for so short a time in the night goes on sleeping."""

AFTER_WAKING: Final = timedelta(hours=1)
REAL_MOVEMENT: Final = timedelta(minutes=2)
"""Who only turns over in bed does not walk for so long."""

BEST_SECONDS: Final = 30 * 60.0
DOUBT_SECONDS: Final = 60 * 60.0
"""Uncertainty of an end of the sleep at full confidence, and what no confidence at all adds."""

_MOVING: Final = ("walking", "running", "cycling", "in_vehicle")
Span = tuple[datetime, datetime]


def sleep_estimate_daily(window: Window) -> pl.DataFrame:
    """The sleep that the person woke from within the day: one row, or none where nothing can be said."""
    awake = signs_of_waking(window)
    parts = longest_silence(list(awake.select("started_at", "ended_at").iter_rows()), window)
    if not parts:
        return pl.DataFrame(schema={c.name: pl.Null for c in SLEEP_ESTIMATE_DAILY.columns})
    asleep_at, woke_at = parts[0][0], parts[-1][1]
    whole = (woke_at - asleep_at).total_seconds()
    slept = sum((end - start).total_seconds() for start, end in parts)
    evidence = {
        "night_share": _share(_overlap((asleep_at, woke_at), nights(window)), whole),
        "still_share": _share(overlap_seconds(_still(window), asleep_at, woke_at), whole),
        "charging_share": _share(overlap_seconds(window.frames[CHARGING.name], asleep_at, woke_at), whole),
        "one_place_share": _longest_stay(window.frames[VISITS.name], asleep_at, woke_at) / whole,
    }
    confidence = confidence_of(**evidence)
    end_seconds = BEST_SECONDS + (1.0 - confidence) * DOUBT_SECONDS
    near = awake.filter((pl.col("ended_at") == asleep_at) | (pl.col("started_at") == woke_at))
    return pl.DataFrame(
        {
            "asleep_at": [asleep_at],
            "woke_at": [woke_at],
            "asleep_uncertainty_seconds": [round(end_seconds)],
            "woke_uncertainty_seconds": [round(end_seconds)],
            "sleep_seconds": [slept],
            "uncertainty_seconds": [round(hypot(end_seconds, end_seconds))],
            "interruptions": [len(parts) - 1],
            "confidence": [round(confidence, 2)],
            "evidence": [json.dumps({k: round(v, 2) for k, v in evidence.items()})],
            "device_ids": [sorted({d for ids in near["device_ids"].to_list() for d in ids})],
        }
    ).select(c.name for c in SLEEP_ESTIMATE_DAILY.columns)


def confidence_of(night_share: float, still_share: float, charging_share: float, one_place_share: float) -> float:
    """How much speaks for sleep, 0 to 1: weights by judgement, not learned. Screens alone, by day, give 0.3."""
    return 0.3 + 0.2 * night_share + 0.2 * still_share + 0.15 * charging_share + 0.15 * one_place_share


def signs_of_waking(window: Window) -> pl.DataFrame:
    """Stretches (joined) in which the person was surely awake, from SLEEP_REACH before the day on."""
    moved = movement(window, reach=True).filter(
        pl.col("activity").is_in(_MOVING), pl.col("ended_at") - pl.col("started_at") >= REAL_MOVEMENT
    )
    columns = ("device_id", "started_at", "ended_at")
    signs = [
        lit(window, reach=True).select(columns),
        moved.explode("device_ids").rename({"device_ids": "device_id"}).select(columns),
        window.frames[TRIPS.name].select(columns),
    ]
    return joined(within(pl.concat(signs), window.day.starts_at - SLEEP_REACH, window.day.ends_at))


def longest_silence(awake: list[Span], window: Window) -> list[Span]:
    """The silence that is likeliest sleep, of those between two signs of waking that end within the day.

    In parts, where short wakings interrupt it in the night; empty when none is long enough. Nobody sleeps at work.
    """
    at_work = window.frames[VISITS.name].filter(pl.col("place_kind") == "work")
    gaps = [(a[1], b[0]) for a, b in pairwise(awake)]
    if not gaps:
        return []
    dark = nights(window)

    def weight(n: int) -> float:
        return (_seconds(gaps[n]) + _overlap(gaps[n], dark)) / 2

    def goes_on(n: int, other: int) -> bool:
        between = timedelta(seconds=_seconds(awake[max(n, other)]))
        length = _seconds(gaps[other])
        return (
            between <= WAKING
            and length >= AFTER_WAKING.total_seconds()
            and 2 * _overlap(gaps[other], dark) >= length
        )  # fmt: skip

    def extended(n: int) -> list[Span]:
        first = last = n
        while first > 0 and goes_on(first, first - 1):
            first -= 1
        while last + 1 < len(gaps) and goes_on(last, last + 1):
            last += 1
        return gaps[first : last + 1]

    for n in sorted(range(len(gaps)), key=weight, reverse=True):
        parts = extended(n)
        length = sum(_seconds(p) for p in parts)
        if (
            SHORTEST.total_seconds() <= length <= LONGEST.total_seconds()
            and window.day.starts_at <= parts[-1][1] < window.day.ends_at
            and 2 * overlap_seconds(at_work, parts[0][0], parts[-1][1]) < length
        ):
            return parts
    return []


def nights(window: Window) -> list[Span]:
    """The hours of night of the day and of the ones before and after."""
    days = (window.day.day + timedelta(days=n) for n in (-1, 0, 1))
    return [(window.clock.starts_at(d) + NIGHT_BEGINS, window.clock.starts_at(d) + NIGHT_ENDS) for d in days]


def _still(window: Window) -> pl.DataFrame:
    still = movement(window, reach=True).filter(pl.col("activity") == "still")
    return still.explode("device_ids").rename({"device_ids": "device_id"}).select("device_id", "started_at", "ended_at")


def _longest_stay(visits: pl.DataFrame, start: datetime, end: datetime) -> float:
    stays = joined(within(visits, start, end), ["place_id"])
    return float(stays.group_by("place_id").agg(pl.col("seconds").sum())["seconds"].max() or 0.0)  # type: ignore[arg-type]


def _overlap(span: Span, others: list[Span]) -> float:
    return sum(max(0.0, (min(span[1], end) - max(span[0], start)).total_seconds()) for start, end in others)


def _seconds(span: Span) -> float:
    return (span[1] - span[0]).total_seconds()


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole)


SLEEP_ESTIMATE_DAILY = Dataset(
    "sleep_estimate_daily",
    "For each day: the sleep that the person woke from in it, estimated from screens, motion and charging.",
    (
        Column("asleep_at", ColumnType.TIMESTAMP, False, "Last sign of waking before it; falling asleep is not seen."),
        Column("woke_at", ColumnType.TIMESTAMP, False, "First sign of waking after it, within the day."),
        Column("asleep_uncertainty_seconds", ColumnType.FLOAT, False, "So much earlier or later it may have been."),
        Column("woke_uncertainty_seconds", ColumnType.FLOAT, False, "So much earlier or later it may have been."),
        Column("sleep_seconds", ColumnType.FLOAT, False, "From the one to the other, without the interruptions."),
        Column("uncertainty_seconds", ColumnType.FLOAT, False, "So much less or more it may have been."),
        Column("interruptions", ColumnType.INTEGER, False, "Signs of waking in between."),
        Column("confidence", ColumnType.FLOAT, False, "How much speaks for its being sleep at all, 0 to 1."),
        Column("evidence", ColumnType.JSON, False, "Shares of it at night, lying still, on a charger, at one place."),
        DEVICES,
    ),
    (),
    (SCREEN, APPS, ACTIVITY, CHARGING, TRIPS, VISITS),
    sleep_estimate_daily,
)
