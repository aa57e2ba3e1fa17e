"""One ordered list of what happened on a day, from all flows: `day_timeline`."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import polars as pl

from loom_contracts.table import Column, ColumnType
from loom_platform.days.activity import movement
from loom_platform.days.dataset import Dataset, Window
from loom_platform.days.places import DEVICES, trips, visits
from loom_platform.days.sleep import SLEEP_ESTIMATE_DAILY, sleep_estimate_daily
from loom_platform.days.sources import APPS, CHARGING, SPEECH, TRIPS, VISITS
from loom_platform.days.stretches import MOMENT, joined, within

SAME_APP: Final = timedelta(minutes=2)
SHORTEST_APP: Final = timedelta(minutes=1)
"""An application that is looked at for less is in `app_usage_daily` only."""

SAME_TALK: Final = timedelta(minutes=5)
SHORTEST_TALK_SECONDS: Final = 10.0
SHORTEST_MOVEMENT: Final = timedelta(minutes=5)

_MODES: Final = {"walking": "Walked", "running": "Ran", "cycling": "Cycled", "in_vehicle": "Rode"}
_MOVES: Final = {"walking": "Walking", "running": "Running", "cycling": "Cycling", "in_vehicle": "In a vehicle"}

_ENTRY: Final = pl.Schema(
    {
        "started_at": MOMENT,
        "ended_at": MOMENT,
        "kind": pl.String(),
        "title": pl.String(),
        "details": pl.String(),
        "message_id": pl.String(),
        "device_ids": pl.List(pl.String()),
    }
)
Row = dict[str, Any]


def day_timeline(window: Window) -> pl.DataFrame:
    """Every entry of the day in order, numbered from 1."""
    parts = (stays, journeys, movements, applications, charging, talk, sleep)
    entries = pl.concat([part(window) for part in parts]).sort(
        "started_at", "ended_at", "kind", "title", "message_id", descending=[False, True, False, False, False]
    )
    zones = [window.clock.zone_at(at) for at in entries["started_at"].to_list()]
    return entries.with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("number"), pl.Series("time_zone", zones, dtype=pl.String)
    ).select(c.name for c in DAY_TIMELINE.columns)


def stays(window: Window) -> pl.DataFrame:
    """Where the person was; what two devices tell of one place is one entry."""
    told = visits(window)
    first = told.sort("arrived_at", "message_id").group_by("place_id", maintain_order=True).agg(
        pl.col("place_name", "place_kind").drop_nulls().last(), pl.col("latitude", "longitude").last()
    )  # fmt: skip
    places = joined(told, ["place_id"]).join(first, on="place_id", maintain_order="left")
    return _entries(
        _with_sources(places, told, ["place_id"]),
        "visit",
        lambda r: r["place_name"] or f"Somewhere at {r['latitude']:.4f}, {r['longitude']:.4f}",
        lambda r: {"place_id": r["place_id"], "latitude": r["latitude"], "longitude": r["longitude"]},
    )


def journeys(window: Window) -> pl.DataFrame:
    """How the person travelled."""
    return _entries(
        trips(window).with_columns((pl.col("distance_m") * pl.col("share")).round(0)),
        "trip",
        _travelled,
        lambda r: {k: r[k] for k in ("mode", "distance_m", "destination_name") if r[k] is not None},
    )


def _travelled(row: Row) -> str:
    if row["distance_m"] is None:
        return "On the way"
    return f"{_MODES.get(row['mode'], 'Travelled')} {row['distance_m'] / 1000:.1f} km"


def movements(window: Window) -> pl.DataFrame:
    """Movement of some minutes that no trip tells of, such as running on the spot."""
    travelled = joined(within(window.frames[TRIPS.name], window.day.starts_at, window.day.ends_at))
    moved = movement(window).filter(
        pl.col("activity").is_in(list(_MOVES)), pl.col("ended_at") - pl.col("started_at") >= SHORTEST_MOVEMENT
    )
    alone = moved.join_where(
        travelled.select(pl.col("started_at").alias("trip_start"), pl.col("ended_at").alias("trip_end")),
        pl.col("started_at") < pl.col("trip_end"),
        pl.col("ended_at") > pl.col("trip_start"),
    ).select("started_at")
    return _entries(
        moved.join(alone, on="started_at", how="anti"),
        "activity",
        lambda r: _MOVES[r["activity"]],
        lambda r: {"activity": r["activity"], "confidence": r["confidence"]},
    )


def applications(window: Window) -> pl.DataFrame:
    """What was in front of the person; a short look elsewhere does not end it."""
    used = within(window.frames[APPS.name], window.day.starts_at, window.day.ends_at)
    key = ["app_identifier", "app_category"]
    named = used.sort("started_at").group_by("app_identifier").agg(pl.col("app_name").drop_nulls().last())
    runs = joined(used, key, SAME_APP).filter(pl.col("ended_at") - pl.col("started_at") >= SHORTEST_APP)
    return _entries(
        _with_sources(runs.join(named, on="app_identifier", maintain_order="left"), used, key),
        "app",
        lambda r: r["app_name"] or r["app_identifier"],
        lambda r: {"category": r["app_category"], "seconds": round(r["seconds"])},
    )


def charging(window: Window) -> pl.DataFrame:
    """Which device hung on a charger."""
    sessions = within(window.frames[CHARGING.name], window.day.starts_at, window.day.ends_at)
    runs = joined(sessions, ["device_id"]).with_columns(pl.col("device_ids").list.first().alias("device_id"))
    ordered = sessions.sort("started_at")
    rows = []
    for run in _with_sources(runs, sessions, ["device_id"]).iter_rows(named=True):
        own = ordered.filter(
            pl.col("device_id") == run["device_id"], pl.col("started_at").is_between(run["started_at"], run["ended_at"])
        )
        rows.append({**run, "from": own["start_level"][0], "to": own["end_level"][-1], "where": own["region_name"][0]})
    return _entries(
        rows, "charging", _charged, lambda r: {k: r[k] for k in ("from", "to", "where") if r[k] is not None}
    )


def _charged(row: Row) -> str:
    reached = "" if row["to"] is None else f" to {row['to']:.0f} %"
    return f"{row['device_id']} charged from {row['from']:.0f}{reached or ' %'}"


def talk(window: Window) -> pl.DataFrame:
    """When somebody spoke."""
    spoken = within(window.frames[SPEECH.name], window.day.starts_at, window.day.ends_at)
    runs = joined(spoken, (), SAME_TALK).filter(pl.col("seconds") >= SHORTEST_TALK_SECONDS)
    return _entries(
        _with_sources(runs, spoken, []), "speech", lambda _: "Speech", lambda r: {"seconds": round(r["seconds"])}
    )


def sleep(window: Window) -> pl.DataFrame:
    """The sleep that the person woke from; of one that began the day before, what is of this day."""
    found = sleep_estimate_daily(window)
    if found.is_empty():
        return _entries([], "sleep", str, dict)
    names = ("asleep_at", "woke_at", "uncertainty_seconds", "confidence")
    return _entries(
        found.with_columns(pl.col("asleep_at").clip(lower_bound=window.day.starts_at).alias("started_at"),
                           pl.col("woke_at").alias("ended_at")),
        "sleep",
        lambda r: f"Slept about {r['sleep_seconds'] / 3600:.1f} h",
        lambda r: {n: r[n] if isinstance(r[n], float) else str(r[n]) for n in names},
    )  # fmt: skip


def _with_sources(runs: pl.DataFrame, sources: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """`runs` with the `message_id` of the first row that each was joined from."""
    first = sources.sort("started_at", "message_id").unique([*key, "started_at"], keep="first", maintain_order=True)
    return runs.join(
        first.select(*key, "started_at", "message_id"), on=[*key, "started_at"], how="left", maintain_order="left"
    )


def _entries(
    rows: pl.DataFrame | list[Row], kind: str, title: Callable[[Row], str], details: Callable[[Row], Row]
) -> pl.DataFrame:
    """Entries of `kind`: some dozens a day, so row by row."""
    found = rows.to_dicts() if isinstance(rows, pl.DataFrame) else rows
    return pl.DataFrame(
        [
            {
                "started_at": r["started_at"],
                "ended_at": r["ended_at"],
                "kind": kind,
                "title": title(r),
                "details": json.dumps(details(r)),
                "message_id": r.get("message_id"),
                "device_ids": r["device_ids"],
            }
            for r in found
        ],
        schema=_ENTRY,
    )


DAY_TIMELINE = Dataset(
    "day_timeline",
    "For each day: what happened, from all flows, in order.",
    (
        Column("number", ColumnType.INTEGER, False, "Its place in the day, from 1."),
        Column("started_at", ColumnType.TIMESTAMP, False, "When it began, within the day."),
        Column("ended_at", ColumnType.TIMESTAMP, False, "When it ended, within the day; or was last heard of."),
        Column("time_zone", ColumnType.TEXT, False, "What the person's clock showed when it began."),
        Column("kind", ColumnType.TEXT, False, "visit, trip, activity, app, charging, speech or sleep."),
        Column("title", ColumnType.TEXT, False, "In words."),
        Column("details", ColumnType.JSON, False, "What else is known of it."),
        Column("message_id", ColumnType.UUID, True, "The first row it is told from; `loom explain` takes it."),
        DEVICES,
    ),
    ("number",),
    (VISITS, APPS, CHARGING, SPEECH, *(s for s in SLEEP_ESTIMATE_DAILY.sources if s not in (VISITS, APPS, CHARGING))),
    day_timeline,
)
