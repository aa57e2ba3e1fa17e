"""Visits and trips of a device from its landed fixes (see `loom_models.visits`), each with its place.

A visit in a saved region is at that region's place, by its id. Any other is at the oldest learned place within
`SAME_PLACE_M` of its centre, of any device; where there is none, it is the first one there. Rows that are open stay as
they are until something ends them: a later visit, or twelve hours without a fix, for which a timer waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import uuid5

import numpy as np
import polars as pl
import shapely

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import TRIP_DETECTED, VISIT_DETECTED
from loom_models.cleaning import UNKNOWN_ACCURACY_M, clean, distances_m, groups_of, micros_of
from loom_models.frames import frame_schema
from loom_models.ids import LOOM_NAMESPACE, namespace_of, uuid5_texts
from loom_models.stage import SPAN_SCHEMA, TIMER_SCHEMA, BatchPolicy, Context, Output, Stage
from loom_models.stages.georegion import REGIONS, inside_circles, inside_polygons
from loom_models.stages.visit_read import ANSWERED, FIX, FIXES, PLACE, SILENCE_TIMER, SKIPPED, VERSION
from loom_models.trips import polyline, way
from loom_models.visits import SILENCE, Fixes, Found, find, heads

SAME_PLACE_M: Final = 100.0
MORE_TO_COME: Final = timedelta(minutes=15)
"""So long after old fixes were accepted more are awaited, so that a phone's backlog is not a row for each batch."""

_PLACES: Final = uuid5(LOOM_NAMESPACE, "places")
_FORCED_US: Final = 300_000_000
_ENGINE: Final = {"stage", "stage_version", "schema_version"}
_VISIT_SCHEMA: Final = pl.Schema({n: d for n, d in frame_schema(VISIT_DETECTED.payload).items() if n not in _ENGINE})
_TRIP_SCHEMA: Final = pl.Schema({n: d for n, d in frame_schema(TRIP_DETECTED.payload).items() if n not in _ENGINE})
_ALL_REGIONS: Final = replace(REGIONS, parameters=lambda batch, due: {})  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class Place:
    """Where visits are."""

    id: str
    region_id: str | None = None
    region_name: str | None = None
    region_kind: str | None = None
    region_revision: int | None = None


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001 - what is read has its fixes
    """Visits and trips around the batch's fixes, whole, and the spans of time that they are all of."""
    read = context.frames[FIXES.name]
    cleaned = clean(read.filter(pl.col("kind") == FIX), by=("part",))
    accepted = cleaned.filter(pl.col("reason").is_null())
    answered = read.filter(pl.col("kind") == ANSWERED)
    if accepted.is_empty():
        visits, trips = pl.DataFrame(schema=_VISIT_SCHEMA), pl.DataFrame(schema=_TRIP_SCHEMA)
        timers = pl.DataFrame(schema=TIMER_SCHEMA)
    else:
        fixes = _fixes(accepted, read.filter(pl.col("kind") == SKIPPED))
        latest = accepted.group_by("part", maintain_order=True).agg(
            pl.col("device_id").last(),
            pl.max_horizontal(pl.col("timestamp").last() + SILENCE, pl.col("received_at").last() + MORE_TO_COME).alias(
                "until"
            ),
        )
        silent = (latest["until"] <= context.now).to_numpy()
        found = find(fixes, silent)
        places, visits = _visits(accepted, fixes, found, read.filter(pl.col("kind") == PLACE), context)
        trips = _trips(accepted, fixes, found, places, context.version)
        timers = _timers(latest.filter(~pl.Series(silent)))
    spans = answered.select(
        "device_id", pl.col("timestamp").alias("first"), pl.col("received_at").alias("last")
    ).match_to_schema(SPAN_SCHEMA)
    bounds = answered.select("part", pl.col("timestamp").alias("first"), pl.col("received_at").alias("last"))
    return Output(
        {VISIT_DETECTED: _within(visits, bounds, accepted), TRIP_DETECTED: _within(trips, bounds, accepted)},
        timers=timers,
        spans={VISIT_DETECTED: spans, TRIP_DETECTED: spans},
    )


def _fixes(accepted: pl.DataFrame, skipped: pl.DataFrame) -> Fixes:
    """The arrays of `accepted`, with what is known of the inside of visits that were left out."""
    group, at = groups_of(accepted, ("part",)) - 1, micros_of(accepted)
    bridged = np.zeros(len(at), dtype=np.bool_)
    parts = accepted["part"].to_numpy()
    for part, first, last in skipped.select("part", pl.col("timestamp", "received_at").dt.epoch("us")).iter_rows():
        begin, end = np.searchsorted(parts, part), np.searchsorted(parts, part, side="right")
        inside = at[begin:end]
        # Some minutes more on either side, where the verdicts and windows lack what was left out.
        lower = begin + np.searchsorted(inside, first - _FORCED_US, side="right")
        upper = begin + np.searchsorted(inside, last + _FORCED_US)
        bridged[max(lower, begin + 1) : min(upper + 1, end)] = True
    accuracy = accepted["accuracy"].fill_null(UNKNOWN_ACCURACY_M).to_numpy()
    return Fixes(group, at, accepted["latitude"].to_numpy(), accepted["longitude"].to_numpy(), accuracy, bridged)


def _visits(
    accepted: pl.DataFrame, fixes: Fixes, found: Found, learned: pl.DataFrame, context: Context
) -> tuple[list[Place], pl.DataFrame]:
    """The place of each visit, and the rows of the visits with `part`."""
    latitude, longitude, radius, head = heads(fixes, found.first, found.last)
    ids, devices = accepted["message_id"], accepted["device_id"]
    centres = pl.DataFrame(
        {
            "timestamp": accepted["timestamp"].gather(found.first),
            "message_id": pl.Series([str(n) for n in range(len(found.first))], dtype=pl.String),
            "latitude": pl.Series(latitude, dtype=pl.Float64),
            "longitude": pl.Series(longitude, dtype=pl.Float64),
        }
    )
    regions = _regions_at(centres, context.frames[_ALL_REGIONS.name])
    places = _placed(centres, regions, learned, [ids[int(i)] for i in found.first])
    source = np.where(found.ended, found.last, found.first)
    names = [
        "\n".join(
            (
                f"{devices[a]} {fixes.at[a]}",
                "".join(ids[a : h + 1]),
                ids[b] if ended else "",
                f"{place.id} {place.region_revision or ''}",
            )
        )
        for a, b, h, ended, place in zip(
            found.first.tolist(), found.last.tolist(), head.tolist(), found.ended.tolist(), places, strict=True
        )
    ]
    starts, ends = accepted["timestamp"].gather(found.first), accepted["timestamp"].gather(found.last)
    ended = pl.Series(found.ended, dtype=pl.Boolean)
    rows = pl.DataFrame(
        {
            **_envelope(accepted, found.first, source, names, context.version),
            "ends": ends,
            "starts": starts,
            "ended": ended,
            "latitude": centres["latitude"].round(7),
            "longitude": centres["longitude"].round(7),
            "radius_m": pl.Series(np.round(radius, 1), dtype=pl.Float64),
            "place_id": pl.Series([p.id for p in places], dtype=pl.String),
            "region_id": pl.Series([p.region_id for p in places], dtype=pl.String),
            "region_name": pl.Series([p.region_name for p in places], dtype=pl.String),
            "region_kind": pl.Series([p.region_kind for p in places], dtype=pl.String),
        }
    )
    return places, rows.select("part", *_times(), *(pl.col(n) for n in _VISIT_SCHEMA if n not in _TIMES))


def _trips(accepted: pl.DataFrame, fixes: Fixes, found: Found, places: Sequence[Place], version: str) -> pl.DataFrame:
    """The rows of the trips with `part`."""
    nowhere = Place("")
    accuracy = accepted["accuracy"].fill_null(np.nan).to_numpy()
    values: list[dict[str, Any]] = []
    names: list[str] = []
    ids, devices = accepted["message_id"], accepted["device_id"]
    for a, b, ended, origin, destination in zip(
        *(x.tolist() for x in (found.trip_first, found.trip_last, found.trip_ended, found.origin, found.destination)),
        strict=True,
    ):
        left, reached = (places[n] if n >= 0 else nowhere for n in (origin, destination))
        here = slice(a, b + 1)
        gone = way(fixes.at[here], fixes.latitude[here], fixes.longitude[here], accuracy[here]) if ended else None
        values.append(
            {
                "distance_m": round(gone.distance_m, 1) if gone else None,
                "mode": gone.mode if gone else None,
                "confidence": round(gone.share, 3) if gone else None,
                "origin_place_id": left.id or None,
                "origin_name": left.region_name,
                "destination_place_id": reached.id or None,
                "destination_name": reached.region_name,
                "path": polyline(fixes.latitude[here], fixes.longitude[here]) if ended else None,
            }
        )
        sources = "".join(ids[here]) if ended else ids[a]
        names.append(
            "\n".join(
                (
                    f"{devices[a]} {fixes.at[a]}",
                    str(ended),
                    sources,
                    *(f"{p.id} {p.region_revision}" for p in (left, reached)),
                )
            )
        )
    source = np.where(found.trip_ended, found.trip_last, found.trip_first)
    rows = pl.DataFrame(
        {
            **_envelope(accepted, found.trip_first, source, names, version),
            "starts": accepted["timestamp"].gather(found.trip_first),
            "ends": accepted["timestamp"].gather(found.trip_last),
            "ended": pl.Series(found.trip_ended, dtype=pl.Boolean),
        }
    )
    told = pl.DataFrame(values, schema={n: _TRIP_SCHEMA[n] for n in _TRIP_SCHEMA if n in _TOLD}, orient="row")
    return pl.concat([rows, told], how="horizontal").select(
        "part", *_times(), *(pl.col(n) for n in _TRIP_SCHEMA if n not in _TIMES)
    )


_TIMES: Final = ("ended_at", "is_open", "duration_seconds")
_TOLD: Final = (
    "distance_m",
    "mode",
    "confidence",
    "origin_place_id",
    "origin_name",
    "destination_place_id",
    "destination_name",
    "path",
)


def _times() -> tuple[pl.Expr, ...]:
    ended = pl.col("ended")
    return (
        pl.when(ended).then(pl.col("ends")).alias("ended_at"),
        ended.not_().alias("is_open"),
        pl.when(ended)
        .then((pl.col("ends") - pl.col("starts")).dt.total_microseconds() / 1e6)
        .alias("duration_seconds"),
    )


def _envelope(
    accepted: pl.DataFrame, first: Any, source: Any, names: Sequence[str], version: str
) -> dict[str, pl.Series]:
    """The columns that both sinks have: `first` are the rows of their beginnings, `source` of what told last."""
    return {
        "part": accepted["part"].gather(first),
        "timestamp": accepted["timestamp"].gather(first),
        "device_id": accepted["device_id"].gather(first),
        "message_id": pl.Series(uuid5_texts(namespace_of(STAGE_NAME, version), names), dtype=pl.String),
        "source_message_id": accepted["message_id"].gather(source),
        "trace_id": accepted["trace_id"].gather(source),
        "span_id": accepted["span_id"].gather(source),
    }


def _regions_at(centres: pl.DataFrame, regions: pl.DataFrame) -> dict[int, Place]:
    """The smallest region of each of `centres` that lies in one, by its row."""
    where = pl.concat([inside_circles(centres, regions), inside_polygons(centres, regions)])
    if where.is_empty():
        return {}
    known = {row["region_id"]: row for row in regions.iter_rows(named=True)}
    sizes = {i: _size(known[i]["radius_m"], known[i]["polygon"]) for i in where["region_id"].unique()}
    found: dict[int, Place] = {}
    for number, region in sorted(
        where.select("message_id", "region_id").iter_rows(), key=lambda r: (sizes[r[1]], r[1])
    ):
        row = known[region]
        place = Place(region, region, row["region_name"], row["region_kind"], row["region_revision"])
        found.setdefault(int(number), place)
    return found


def _size(radius_m: float | None, polygon: str | None) -> float:
    """About how large a region is, as the radius of a circle in metres."""
    if radius_m is not None:
        return radius_m
    return float(np.sqrt(shapely.area(shapely.from_geojson(polygon)) / np.pi)) * 111_195.0


def _placed(
    centres: pl.DataFrame, regions: dict[int, Place], learned: pl.DataFrame, first_ids: Sequence[str]
) -> list[Place]:
    """The place of each visit: its region, or the oldest learned place that is near, or else a new one."""
    order = learned.sort("received_at", "message_id")
    known = order["message_id"].to_list()
    latitude, longitude = order["latitude"].to_numpy(), order["longitude"].to_numpy()
    places: dict[int, Place] = dict(regions)
    here, there = centres["latitude"].to_numpy(), centres["longitude"].to_numpy()
    times = centres["timestamp"].to_list()
    for n in sorted(set(range(len(times))) - regions.keys(), key=lambda n: (times[n], first_ids[n])):
        near = distances_m(latitude, longitude, np.full(1, here[n]), np.full(1, there[n])) <= SAME_PLACE_M
        if near.any():
            places[n] = Place(known[int(np.argmax(near))])
            continue
        (new,) = uuid5_texts(_PLACES, [first_ids[n]])
        places[n] = Place(new)
        known.append(new)
        latitude, longitude = np.append(latitude, here[n]), np.append(longitude, there[n])
    return [places[n] for n in range(len(times))]


def _within(rows: pl.DataFrame, bounds: pl.DataFrame, accepted: pl.DataFrame) -> pl.DataFrame:
    """Those of `rows` that begin in what is to be answered of their part."""
    if accepted.is_empty():
        return rows
    inside = (pl.col("timestamp") >= pl.col("first")) & (pl.col("timestamp") < pl.col("last"))
    return (
        rows.join(bounds, on="part", how="left", maintain_order="left")
        .filter(inside)
        .drop("part", "first", "last")
        .unique("message_id", keep="first", maintain_order=True)
    )


def _timers(latest: pl.DataFrame) -> pl.DataFrame:
    """For each device of `latest` (`device_id`, `until`) when its silence ends what goes on."""
    return (
        latest.group_by("device_id", maintain_order=True)
        .agg(pl.lit(SILENCE_TIMER).alias("key"), pl.col("until").max().alias("due_at"))
        .match_to_schema(TIMER_SCHEMA)
    )


STAGE_NAME: Final = "visit-detector"
VISIT_DETECTOR: Final = Stage(
    name=STAGE_NAME,
    source=GPS_RAW,
    sinks=(VISIT_DETECTED, TRIP_DETECTED),
    version=VERSION,
    transform=transform,
    description="Stays at places, and the trips between them.",
    policy=BatchPolicy(max_rows=5_000, max_rows_again=50_000),
    context=(FIXES, _ALL_REGIONS),
    inputs="(SELECT coalesce(max(revision), 0)::text FROM georegions)",
)
