"""The business or other named place that a device stays at, told by each fix: from the places that the person named,
and from what the chosen service has said of the fix's cell.

Who moves is at no business, and nobody is asked about it. A place weighs more the nearer it is to where the device
stays, in relation to the fix's accuracy, and the more of the last four weeks' days had a visit at it; the likeliest is
the answer when it stands out, and a place of the person's own wins. As the geocoder, the stage asks nobody itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import BUSINESS_IDENTIFIED, VISIT_DETECTED
from loom_models.bounds import bounded, bounds
from loom_models.frames import UTC_MICROS
from loom_models.geohash import cells
from loom_models.ids import namespace_of, with_ids
from loom_models.services.base import BUSINESS_CHARACTERS
from loom_models.stage import SPAN_SCHEMA, BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.staying import ACCURACY_M, REACH, WINDOW, distance_m, stays
from loom_models.wakes import woken

NOBODY: Final = 0.25
"""What it weighs that the person is at no place at all; a place at hand weighs 1."""

STANDS_OUT: Final = 0.3
"""The least confidence of an answer."""

VISITED_M: Final = 50.0
"""A visit counts for the place that is nearest to its middle, and no farther than this."""

HISTORY: Final = timedelta(days=28)
"""Visits count for so long."""

_SAME_RUN: Final = timedelta(minutes=10)
_FLOATS: Final = ("latitude", "longitude", "accuracy", "speed")
_FIX: Final = ("message_id", "device_id", "timestamp", "trace_id", "span_id", *_FLOATS)
_PLACE: Final = ("provider_place_id", "name", "category", "address", "place_latitude", "place_longitude")
_PLACE_TYPES: Final[Mapping[str, pl.DataType]] = {
    n: pl.Float64() if n.startswith("place_") else pl.String() for n in _PLACE
}
_CONTENT: Final = (
    *("state", "cell", "latitude", "longitude", "name", "category", "address", "distance_m", "confidence", "provider"),
    *("provider_place_id", "visit_count"),
)
_STRETCHES: Final = """
    unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS run (device_id, first, last)
"""
_RAW: Final = bounded(GPS_RAW.table.name)
"""A stretch's fixes and answers lie no farther from it than `REACH`, which is more than `WINDOW`."""
_USABLE: Final = f"(g.latitude <> 0 OR g.longitude <> 0) AND coalesce(g.accuracy, 0) <= {ACCURACY_M}"
FIXES: Final = ContextQuery(
    name="fixes",
    # Every landed fix from three minutes before a stretch to three minutes after it, and a usable one on either side.
    sql=f"""
        SELECT f.message_id::text, f.device_id, f.timestamp, f.trace_id, f.span_id, f.latitude, f.longitude, f.accuracy,
               f.speed
        FROM {_STRETCHES}
        CROSS JOIN LATERAL (
            (SELECT * FROM {_RAW} g WHERE g.device_id = run.device_id
             AND g.timestamp < run.first - %(window)s AND g.timestamp >= run.first - %(reach)s AND {_USABLE}
             ORDER BY g.timestamp DESC, g.message_id DESC LIMIT 1)
            UNION ALL
            (SELECT * FROM {_RAW} g WHERE g.device_id = run.device_id
             AND g.timestamp BETWEEN run.first - %(window)s AND run.last + %(window)s)
            UNION ALL
            (SELECT * FROM {_RAW} g WHERE g.device_id = run.device_id
             AND g.timestamp > run.last + %(window)s AND g.timestamp <= run.last + %(reach)s AND {_USABLE}
             ORDER BY g.timestamp, g.message_id LIMIT 1)
        ) f
    """,
    parameters=lambda batch, due: _stretches(batch, due),
    schema=pl.Schema(
        {n: pl.Float64() if n in _FLOATS else UTC_MICROS if n == "timestamp" else pl.String() for n in _FIX}
    ),
)
SERVICE: Final = ContextQuery(
    name="service",
    sql="SELECT provider FROM lookup_services WHERE kind = 'business'",
    parameters=lambda batch, due: {},  # noqa: ARG005
    schema=pl.Schema({"provider": pl.String}),
)
OWN: Final = ContextQuery(
    name="own",
    sql="""
        SELECT id::text, name, category, address, latitude, longitude, radius_m
        FROM own_places WHERE deleted_at IS NULL ORDER BY id
    """,
    parameters=lambda batch, due: {},  # noqa: ARG005
    schema=pl.Schema({**_PLACE_TYPES, "radius_m": pl.Float64()}),
)
ANSWERS: Final = ContextQuery(
    name="answers",
    # A cell without businesses is one row without a name. The cells are those of the batch's fixes, and of the rows
    # that were answered in its stretches.
    sql=f"""
        SELECT l.cell, l.expires_at, b ->> 'provider_place_id', b ->> 'name', b ->> 'category', b ->> 'address',
               (b ->> 'latitude')::float8, (b ->> 'longitude')::float8
        FROM lookup_services s JOIN lookups l ON (l.kind, l.provider) = (s.kind, s.provider)
        LEFT JOIN LATERAL jsonb_array_elements(l.answer) AS b ON true
        WHERE s.kind = 'business' AND l.state <> 'failed' AND l.cell IN (
            SELECT unnest(%(cells)s::text[])
            UNION
            SELECT r.cell FROM {_STRETCHES}
            JOIN {bounded(BUSINESS_IDENTIFIED.table.name)} r ON r.device_id = run.device_id
                 AND r.timestamp BETWEEN run.first AND run.last + %(reach)s
            WHERE r.superseded_at IS NULL
        )
    """,
    parameters=lambda batch, due: {
        "cells": _cells(batch).unique().to_list(),
        **(_stretches(batch, due) or _NO_STRETCHES),
    },
    schema=pl.Schema({"cell": pl.String(), "expires_at": UTC_MICROS, **_PLACE_TYPES}),
)
VISITS: Final = ContextQuery(
    name="visits",
    # Near the batch's fixes, in the four weeks before them, of all devices; nothing is read, and no day of so many is
    # locked, where no place is known.
    sql=f"""
        WITH asked AS MATERIALIZED (
            SELECT %(since)s::timestamptz AS since, %(until)s::timestamptz AS until
            WHERE EXISTS (SELECT FROM own_places WHERE deleted_at IS NULL)
            OR EXISTS (SELECT FROM lookup_services WHERE kind = 'business' AND provider <> 'none')
        )
        SELECT (v.timestamp AT TIME ZONE 'UTC')::date, v.latitude, v.longitude
        FROM asked CROSS JOIN LATERAL
             loom_between(NULL::{VISIT_DETECTED.table.name}_current, NULL, asked.since, asked.until) v
        WHERE v.timestamp < asked.until
        AND v.latitude BETWEEN %(south)s AND %(north)s AND v.longitude BETWEEN %(west)s AND %(east)s
    """,
    parameters=lambda batch, due: _around(batch, due),
    schema=pl.Schema({"day": pl.Date, "latitude": pl.Float64, "longitude": pl.Float64}),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's fixes, for those of the woken minutes, and for those that follow the batch's."""
    landed = pl.concat([batch.select(_FIX), context.frames[FIXES.name]]).unique(["timestamp", "message_id"])
    fixes = stays(landed.sort("device_id", "timestamp", "message_id"))
    targets = touched(fixes, batch, woken(context.due))
    service = context.frames[SERVICE.name]
    provider = None if service.is_empty() or service["provider"][0] == "none" else service["provider"][0]
    own, answers, visits = (context.frames[query.name] for query in (OWN, ANSWERS, VISITS))
    rows = identified(targets, own, answers, visits, provider)
    at = pl.col("timestamp").dt.epoch("us")
    sources = (pl.col(n) for n in ("source_message_id", *_CONTENT))
    return Output({BUSINESS_IDENTIFIED: with_ids(rows, namespace_of(STAGE_NAME, context.version), at, *sources)})


def touched(fixes: pl.DataFrame, batch: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Of `fixes` those whose answer depends on a fix of the batch, and those of `minutes` (SPAN_SCHEMA)."""
    given = batch.select("device_id", "timestamp").unique().sort("timestamp")
    followed = given.select("device_id", pl.col("timestamp").alias("previous_at"), pl.lit(True).alias("follows"))
    return (
        fixes.with_row_index("order")
        .sort("timestamp")
        .join_asof(given.with_columns(batch_at="timestamp"), on="timestamp", by="device_id", check_sortedness=False)
        .join_asof(minutes.sort("first"), left_on="timestamp", right_on="first", by="device_id", check_sortedness=False)
        .join(followed, on=["device_id", "previous_at"], how="left")
        .filter(
            (pl.col("timestamp") - pl.col("batch_at") < WINDOW).fill_null(False)
            | (pl.col("timestamp") < pl.col("last")).fill_null(False)
            | pl.col("follows").fill_null(False)
        )
        .sort("order")
        .drop("order", "batch_at", "first", "last", "follows", strict=False)
    )


def identified(
    targets: pl.DataFrame, own: pl.DataFrame, answers: pl.DataFrame, visits: pl.DataFrame, provider: str | None
) -> pl.DataFrame:
    """One row for each of `targets`, in the form of `stays`. `own` and `answers` are in their queries' schemas.

    An answer holds for the fixes before it expires. `provider` is the service; None where there is none.
    """
    fixes = (
        targets.with_row_index("fix")
        .with_columns(_cells(targets))
        .with_columns(pl.when("usable").then("cell").alias("cell"))
    )
    staying = fixes.filter("stays").select("fix", "timestamp", "cell", "accuracy", "at_latitude", "at_longitude")
    valid = staying.join(answers, on="cell").filter(pl.col("timestamp") < pl.col("expires_at"))
    places = pl.concat(
        [
            staying.join(own, how="cross").with_columns(_away_m()).filter(pl.col("distance_m") <= pl.col("radius_m")),
            valid.filter(pl.col("name").is_not_null()).with_columns(_away_m()),
        ],
        how="diagonal",
    )
    best = likeliest(places, visit_days(places, visits)) if places.height else _NO_PLACE
    found = best.filter(pl.col("confidence") >= STANDS_OUT).select(
        "fix",
        *_PLACE,
        pl.col("distance_m", "confidence", "visit_count"),
        pl.when(pl.col("radius_m").is_not_null()).then(pl.lit("own")).otherwise(pl.lit(provider)).alias("provider"),
    )
    state = (
        pl.when(~pl.col("usable"))
        .then(pl.lit("skipped"))
        .when(~pl.col("stays"))
        .then(pl.lit("moving"))
        .when(pl.col("name").is_not_null())
        .then(pl.lit("identified"))
        .when(pl.col("answered") | pl.lit(provider is None))
        .then(pl.lit("none"))
        .otherwise(pl.lit("pending"))
    )
    return (
        fixes.drop("latitude", "longitude")
        .join(found, on="fix", how="left", maintain_order="left")
        .join(valid.select("fix", answered=True).unique(), on="fix", how="left", maintain_order="left")
        .with_columns(pl.col("answered").fill_null(False))
        .with_columns(state.alias("state"))
        .with_columns(
            pl.col("provider").fill_null(pl.when(pl.col("state").is_in(["none", "pending"])).then(pl.lit(provider)))
        )
        .rename({"message_id": "source_message_id", "place_latitude": "latitude", "place_longitude": "longitude"})
        .select("timestamp", "device_id", "trace_id", "span_id", "source_message_id", *_CONTENT)
    )


_NO_PLACE: Final = pl.DataFrame(
    schema={
        "fix": pl.UInt32(),
        **_PLACE_TYPES,
        **dict.fromkeys(("radius_m", "distance_m", "confidence"), pl.Float64()),
        "visit_count": pl.Int64(),
    }
)


def likeliest(places: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Of each fix's `places` the likeliest, with `confidence`; `days` has `visit_count` by (place, day)."""
    sigma_m = pl.col("accuracy").fill_null(20.0).clip(10.0, 50.0)
    near = (-(pl.col("distance_m") / sigma_m).pow(2) / 2).exp()
    is_own = pl.col("radius_m").is_not_null()
    return (
        places.with_columns(pl.col("timestamp").dt.date().alias("day"))
        .join(days, on=["provider_place_id", "day"], how="left")
        .with_columns(pl.col("visit_count").fill_null(0))
        .with_columns((near * (1 + pl.col("visit_count"))).alias("weight"), is_own.alias("is_own"))
        .with_columns(
            pl.when("is_own")
            .then(1.0)
            .otherwise(pl.col("weight") / (pl.col("weight").sum().over("fix") + NOBODY))
            .round(3)
            .alias("confidence"),
            pl.col("distance_m").round(1),
        )
        .sort(
            "fix", "is_own", "weight", "distance_m", "provider_place_id", descending=[False, True, True, False, False]
        )
        .unique("fix", keep="first", maintain_order=True)
    )


def visit_days(places: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """On how many of the four weeks' days before a day there was a visit at a place: `provider_place_id`, `day`,
    `visit_count`. A visit is at the place of `places` that is nearest to its middle.
    """
    wanted = places.select("provider_place_id", pl.col("timestamp").dt.date().alias("day")).unique()
    if visits.is_empty():
        return wanted.clear().with_columns(pl.lit(0, dtype=pl.Int64).alias("visit_count"))
    where = places.select("provider_place_id", "place_latitude", "place_longitude").unique("provider_place_id")
    visited = (
        visits.with_row_index("visit")
        .join(where, how="cross")
        .with_columns(
            distance_m(
                pl.col("latitude"), pl.col("longitude"), pl.col("place_latitude"), pl.col("place_longitude")
            ).alias("away_m")
        )
        .filter(pl.col("away_m") <= VISITED_M)
        .sort("visit", "away_m", "provider_place_id")
        .unique("visit", keep="first")
        .select("provider_place_id", pl.col("day").alias("visited_on"))
        .unique()
    )
    ago = pl.col("day") - pl.col("visited_on")
    return (
        wanted.join(visited, on="provider_place_id")
        .filter((ago > timedelta(0)) & (ago <= HISTORY))
        .group_by("provider_place_id", "day")
        .agg(pl.len().cast(pl.Int64).alias("visit_count"))
    )


def _away_m() -> pl.Expr:
    return distance_m(
        pl.col("at_latitude"), pl.col("at_longitude"), pl.col("place_latitude"), pl.col("place_longitude")
    ).alias("distance_m")


def _cells(fixes: pl.DataFrame) -> pl.Series:
    return cells(fixes["latitude"], fixes["longitude"], BUSINESS_CHARACTERS).alias("cell")


def _runs(batch: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """Where the batch's fixes lie, as ranges in which they are closer than ten minutes, and the woken minutes."""
    moments = pl.concat(
        [
            batch.select("device_id", pl.col("timestamp").alias("first"), pl.col("timestamp").alias("last")),
            woken(due).match_to_schema(SPAN_SCHEMA),
        ]
    )
    return (
        moments.sort("device_id", "first", "last")
        .with_columns(pl.col("last").cum_max().shift(1).over("device_id").alias("before"))
        .with_columns((pl.col("first") - pl.col("before") > _SAME_RUN).fill_null(False).alias("breaks"))
        .with_columns(pl.col("breaks").cum_sum().over("device_id").alias("run"))
        .group_by("device_id", "run", maintain_order=True)
        .agg(pl.col("first").min(), pl.col("last").max())
    )


def _stretches(batch: pl.DataFrame, due: pl.DataFrame) -> dict[str, object] | None:
    runs = _runs(batch, due)
    if runs.is_empty():
        return None
    firsts, lasts = runs["first"].to_list(), runs["last"].to_list()
    times = {"firsts": firsts, "lasts": lasts, **bounds([*firsts, *lasts], REACH, REACH)}
    return {"devices": runs["device_id"].to_list(), **times, "window": WINDOW, "reach": REACH}


_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Nulls would leave every day to be locked.
_NO_STRETCHES: Final[Mapping[str, object]] = {
    "devices": [],
    "firsts": [],
    "lasts": [],
    "reach": REACH,
    **bounds([_NEVER], REACH, REACH),
}


def _around(batch: pl.DataFrame, due: pl.DataFrame) -> dict[str, object] | None:
    """The box of the batch's fixes with a margin of 300 m or more, and the four weeks before them.

    The box is the Earth where fixes are woken, which have no position yet.
    """
    runs = _runs(batch, due)
    if runs.is_empty():
        return None
    box: dict[str, object] = {"south": -90.0, "north": 90.0, "west": -180.0, "east": 180.0}
    if due.is_empty() and batch.filter(pl.col("latitude").abs() > 85).is_empty():
        sides = batch.select(
            south=pl.col("latitude").min() - 0.003,
            north=pl.col("latitude").max() + 0.003,
            west=pl.col("longitude").min() - 0.05,
            east=pl.col("longitude").max() + 0.05,
        )
        box = sides.row(0, named=True)
    times = runs.select(pl.col("first").min() - (HISTORY + timedelta(days=1)), pl.col("last").max())
    since, until = times.row(0)
    return {**box, "since": since, "until": until}


STAGE_NAME: Final = "business-matcher"
BUSINESS_MATCHER: Final = Stage(
    name=STAGE_NAME,
    source=GPS_RAW,
    sinks=(BUSINESS_IDENTIFIED,),
    version="1",
    transform=transform,
    description="The business or other named place that a device stays at.",
    policy=BatchPolicy(max_rows=5_000),
    context=(FIXES, SERVICE, OWN, ANSWERS, VISITS),
    inputs="(SELECT provider FROM lookup_services WHERE kind = 'business') || "
    "coalesce((SELECT max(updated_at)::text FROM own_places), '')",
)
