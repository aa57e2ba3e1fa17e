"""The address of each GPS fix: from data on board, or from what the chosen service has said of the fix's cell.

The stage asks nobody: it reads the answers that are there (`lookups`), and says `pending` where there is none yet. Who
asks the service then wakes it for the minutes that have got an answer. So an outage leaves rows pending, and a fix of
this second has its row in this second.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import ADDRESS_GEOCODED
from loom_models.bounds import bounded, bounds
from loom_models.frames import UTC_MICROS
from loom_models.geohash import cells, middles
from loom_models.ids import namespace_of, with_ids
from loom_models.services import offline
from loom_models.services.base import ADDRESS_CHARACTERS
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.staying import distance_m, usable_for
from loom_models.wakes import woken

ACCURACY_M: Final = 500.0
"""A fix that is less accurate has no house and no street."""

ACCURACY_OFFLINE_M: Final = 10_000.0
"""A fix that is less accurate has no town."""

_WITHIN: Final = timedelta(0)
"""What is read of fixes and answers lies in the woken minutes themselves."""

_TOWN_CHARACTERS: Final = 7
"""A town is looked for once in a cell of 150 m."""

_FIX: Final = ("message_id", "device_id", "timestamp", "trace_id", "span_id", "latitude", "longitude", "accuracy")
_FLOATS: Final = {"latitude", "longitude", "accuracy"}
_PARTS: Final = ("house_number", "road", "suburb", "city", "state_name", "postcode", "country", "country_code")
_SAID: Final = ("display_name", *_PARTS, "provider_place_id")
_TEXTS: Final[Mapping[str, pl.DataType]] = dict.fromkeys(_SAID, pl.String())
FIXES: Final = ContextQuery(
    name="fixes",
    # The landed fixes of the minutes that have got an answer.
    sql=f"""
        SELECT f.message_id::text, f.device_id, f.timestamp, f.trace_id, f.span_id, f.latitude, f.longitude, f.accuracy
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS woken (device_id, first, last)
        CROSS JOIN LATERAL (SELECT * FROM {bounded(GPS_RAW.table.name)} g WHERE g.device_id = woken.device_id
                            AND g.timestamp >= woken.first AND g.timestamp < woken.last) f
    """,
    parameters=lambda batch, due: _minutes(due),  # noqa: ARG005
    schema=pl.Schema(
        {n: pl.Float64() if n in _FLOATS else UTC_MICROS if n == "timestamp" else pl.String() for n in _FIX}
    ),
)
SERVICE: Final = ContextQuery(
    name="service",
    sql="SELECT provider FROM lookup_services WHERE kind = 'address'",
    parameters=lambda batch, due: {},  # noqa: ARG005
    schema=pl.Schema({"provider": pl.String}),
)
ANSWERS: Final = ContextQuery(
    name="answers",
    # The cells of the batch's fixes, and those of the rows that were answered in the woken minutes.
    sql=f"""
        SELECT l.cell, l.state, l.expires_at, {", ".join(f"l.answer ->> '{name}'" for name in _SAID)},
               (l.answer ->> 'latitude')::float8, (l.answer ->> 'longitude')::float8
        FROM lookup_services s JOIN lookups l ON (l.kind, l.provider) = (s.kind, s.provider)
        WHERE s.kind = 'address' AND l.state <> 'failed' AND l.cell IN (
            SELECT unnest(%(cells)s::text[])
            UNION
            SELECT r.cell
            FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
                 AS woken (device_id, first, last)
            JOIN {bounded(ADDRESS_GEOCODED.table.name)} r ON r.device_id = woken.device_id
                 AND r.timestamp >= woken.first AND r.timestamp < woken.last
            WHERE r.superseded_at IS NULL
        )
    """,
    parameters=lambda batch, due: {"cells": _cells(batch).unique().to_list(), **(_minutes(due) or _NO_MINUTES)},
    schema=pl.Schema(
        {
            "cell": pl.String(),
            "answered": pl.String(),
            "expires_at": UTC_MICROS,
            **_TEXTS,
            "house_latitude": pl.Float64(),
            "house_longitude": pl.Float64(),
        }
    ),
)
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Nulls would leave every day to be locked.
_NO_MINUTES: Final[Mapping[str, object]] = {
    "devices": [],
    "firsts": [],
    "lasts": [],
    **bounds([_NEVER], _WITHIN, _WITHIN),
}


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's fixes and for those of the woken minutes."""
    fixes = (
        pl.concat([batch.select(_FIX), context.frames[FIXES.name]])
        .unique(["timestamp", "message_id"], keep="first")
        .sort("device_id", "timestamp", "message_id")
    )
    service = context.frames[SERVICE.name]
    provider = offline.NAME if service.is_empty() else service["provider"][0]
    on_board = provider == offline.NAME
    usable = usable_for(ACCURACY_OFFLINE_M if on_board else ACCURACY_M)
    asked = fixes.with_columns(_cells(fixes)).with_columns(
        pl.when(usable).then("cell").alias("cell"), pl.when(usable).then(pl.lit(provider)).alias("provider")
    )
    answered = towns(asked) if on_board else addresses(asked, context.frames[ANSWERS.name])
    return Output({ADDRESS_GEOCODED: _rows(answered, context.version)})


def towns(fixes: pl.DataFrame) -> pl.DataFrame:
    """`fixes` (with `cell`, null where it is of no use) with the towns on board; `distance_m` is to 100 m."""
    middle = middles(pl.col("latitude"), pl.col("longitude"), _TOWN_CHARACTERS)
    placed = fixes.with_columns(middle[0].alias("middle_latitude"), middle[1].alias("middle_longitude"))
    wanted = placed.filter(pl.col("cell").is_not_null()).select("middle_latitude", "middle_longitude").unique()
    if wanted.is_empty():
        found = wanted.with_columns(pl.lit(None, dtype=d).alias(n) for n, d in offline.ADDRESS_SCHEMA.items())
    else:
        found = wanted.hstack(offline.cities().addresses(wanted["middle_latitude"], wanted["middle_longitude"]))
    state = (
        pl.when(pl.col("cell").is_null())
        .then(pl.lit("skipped"))
        .when(pl.col("city").is_null())
        .then(pl.lit("none"))
        .otherwise(pl.lit("found"))
    )
    known = pl.col("cell").is_not_null()
    return (
        placed.join(found, on=["middle_latitude", "middle_longitude"], how="left", maintain_order="left")
        .with_columns(state.alias("state"), (pl.col("distance_m") / 100).round() * 100)
        .with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in offline.ADDRESS_SCHEMA)
        .with_columns(pl.lit(None, dtype=pl.String).alias(n) for n in _SAID if n not in offline.ADDRESS_SCHEMA)
    )


def addresses(fixes: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """`fixes` (with `cell`, null where it is of no use) with what the service has said, in ANSWERS' schema.

    An answer holds for the fixes before it expires.
    """
    state = (
        pl.when(pl.col("cell").is_null())
        .then(pl.lit("skipped"))
        .otherwise(pl.when(pl.col("timestamp") < pl.col("expires_at")).then("answered").fill_null("pending"))
    )
    metres = distance_m(pl.col("latitude"), pl.col("longitude"), pl.col("house_latitude"), pl.col("house_longitude"))
    return (
        fixes.join(answers, on="cell", how="left", maintain_order="left")
        .with_columns(state.alias("state"), metres.round(1).alias("distance_m"))
        .with_columns(pl.when(pl.col("state") == "found").then(pl.col(n)).alias(n) for n in (*_SAID, "distance_m"))
    )


def _rows(answered: pl.DataFrame, version: str) -> pl.DataFrame:
    content = ("state", "cell", *_SAID, "provider", "distance_m")
    rows = answered.rename({"message_id": "source_message_id"}).select(
        *("timestamp", "device_id", "trace_id", "span_id", "source_message_id", "latitude", "longitude"), *content
    )
    at = pl.col("timestamp").dt.epoch("us")
    return with_ids(rows, namespace_of(STAGE_NAME, version), at, *(pl.col(n) for n in ("source_message_id", *content)))


def _cells(fixes: pl.DataFrame) -> pl.Series:
    return cells(fixes["latitude"], fixes["longitude"], ADDRESS_CHARACTERS).alias("cell")


def _minutes(due: pl.DataFrame) -> Mapping[str, object] | None:
    minutes = woken(due)
    if minutes.is_empty():
        return None
    firsts, lasts = minutes["first"].to_list(), minutes["last"].to_list()
    return {
        "devices": minutes["device_id"].to_list(),
        "firsts": firsts,
        "lasts": lasts,
        **bounds([*firsts, *lasts], _WITHIN, _WITHIN),
    }


STAGE_NAME: Final = "geocoder"
GEOCODER: Final = Stage(
    name=STAGE_NAME,
    source=GPS_RAW,
    sinks=(ADDRESS_GEOCODED,),
    version="1",
    transform=transform,
    description="The address of each fix: the town from data on board, or the house from the service that was chosen.",
    policy=BatchPolicy(max_rows=5_000),
    context=(FIXES, SERVICE, ANSWERS),
    inputs="(SELECT provider FROM lookup_services WHERE kind = 'address')",
)
