"""Presence of GPS fixes in the regions that a person saved: enter, dwell, leave.

The answer for a fix depends on the fix itself, on the device's fix before it (within 24 h) and on the regions. It is
made from landed fixes, so batches and their order do not show; a late fix has the one after it answered again. A fix is
taken at its centre, whatever its accuracy. Circles are on a sphere; the edges of polygons are straight in degrees, and
a point on the border is inside.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl
import shapely

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.bounds import bounded, bounds
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage

EARTH_RADIUS_M: Final = 6_371_008.8
"""Mean radius of the Earth (IUGG)."""
SAME_RUN: Final = timedelta(minutes=10)
"""Fixes of a batch that lie closer than this are read from the table as one range."""

_REGIONS_AT_ONCE: Final = 50
_TABLE: Final = bounded(GPS_RAW.table.name)
_BESIDE: Final = timedelta(hours=24)
"""How far from a run the fix on either side of it may be."""
_FIX: Final = ("message_id", "device_id", "timestamp", "trace_id", "span_id", "latitude", "longitude", "accuracy")
_FLOATS: Final = {"latitude", "longitude", "accuracy", "radius_m"}
_PREVIOUS: Final = ("previous_message_id", "previous_timestamp", "seconds_since_previous")
FIXES: Final = ContextQuery(
    name="fixes",
    # Every landed fix between the first and the last of a run, and the one on either side of it.
    sql=f"""
        SELECT f.message_id::text, f.device_id, f.timestamp, f.trace_id, f.span_id, f.latitude, f.longitude, f.accuracy
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS run (device_id, first, last)
        CROSS JOIN LATERAL (
            (SELECT * FROM {_TABLE} g WHERE g.device_id = run.device_id AND g.timestamp < run.first
             AND g.timestamp >= run.first - interval '24 hours' ORDER BY g.timestamp DESC, g.message_id DESC LIMIT 1)
            UNION ALL
            (SELECT * FROM {_TABLE} g WHERE g.device_id = run.device_id AND g.timestamp BETWEEN run.first AND run.last)
            UNION ALL
            (SELECT * FROM {_TABLE} g WHERE g.device_id = run.device_id AND g.timestamp > run.last
             AND g.timestamp <= run.last + interval '24 hours' ORDER BY g.timestamp, g.message_id LIMIT 1)
        ) f
    """,
    parameters=lambda batch, due: _runs(batch),  # noqa: ARG005
    schema=pl.Schema(
        {n: pl.Float64() if n in _FLOATS else UTC_MICROS if n == "timestamp" else pl.String() for n in _FIX}
    ),
)
REGIONS: Final = ContextQuery(
    name="regions",
    sql="""
        SELECT id::text, name, kind, revision, latitude, longitude, radius_m, polygon::text
        FROM georegions WHERE deleted_at IS NULL ORDER BY id
    """,
    parameters=lambda batch, due: None if batch.is_empty() else {},  # noqa: ARG005
    schema=pl.Schema(
        {
            "region_id": pl.String,
            "region_name": pl.String,
            "region_kind": pl.String,
            "region_revision": pl.Int64,
            "latitude": pl.Float64,
            "longitude": pl.Float64,
            "radius_m": pl.Float64,
            "polygon": pl.String,
        }
    ),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's fixes and for those that follow them."""
    fixes = with_previous(context.frames[FIXES.name], batch)
    targets = fixes.filter("target")
    regions = context.frames[REGIONS.name]
    return Output({GEOREGION_DETECTED: presence(targets, fixes, regions, context.version)})


def with_previous(landed: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """The fixes in order of (device, time, id), with the one before each; those to be answered are marked `target`."""
    given = batch.select("timestamp", "message_id", pl.lit(True).alias("target"))
    ordered = (
        pl.concat([landed, batch.select(_FIX)])
        .unique(["timestamp", "message_id"], keep="first", maintain_order=True)
        .join(given.unique(), on=["timestamp", "message_id"], how="left")
        .sort("device_id", "timestamp", "message_id")
    )
    gap = pl.col("timestamp") - pl.col("timestamp").shift(1)
    follows = (pl.col("device_id") == pl.col("device_id").shift(1)) & (gap <= timedelta(hours=24))
    return ordered.with_columns(
        (pl.col("target") | (follows & pl.col("target").shift(1))).fill_null(False).alias("target"),
        pl.when(follows).then(pl.col("message_id").shift(1)).alias("previous_message_id"),
        pl.when(follows).then(pl.col("timestamp").shift(1)).alias("previous_timestamp"),
        pl.when(follows).then(gap.dt.total_microseconds() * 1e-6).alias("seconds_since_previous"),
    )


def presence(targets: pl.DataFrame, fixes: pl.DataFrame, regions: pl.DataFrame, version: str) -> pl.DataFrame:
    """The rows of `targets`. `fixes` holds them and the ones before them; `regions` has the columns of `REGIONS`."""
    where = pl.concat([inside_circles(fixes, regions), inside_polygons(fixes, regions)])
    here = where.rename({"message_id": "fix_id", "timestamp": "fix_at"})
    before = here.select(pl.col("fix_id", "fix_at").name.prefix("previous_"), "region_id").with_columns(was=True)
    fix = targets.select(*_FIX, *_PREVIOUS)
    stays = fix.join(here, left_on=["message_id", "timestamp"], right_on=["fix_id", "fix_at"]).join(
        before,
        left_on=["previous_message_id", "previous_timestamp", "region_id"],
        right_on=["previous_fix_id", "previous_fix_at", "region_id"],
        how="left",
    )
    leaves = fix.join(
        before, left_on=["previous_message_id", "previous_timestamp"], right_on=["previous_fix_id", "previous_fix_at"]
    ).join(
        here, left_on=["message_id", "timestamp", "region_id"], right_on=["fix_id", "fix_at", "region_id"], how="anti"
    )
    event = pl.when("was").then(pl.lit("dwell")).otherwise(pl.lit("enter"))
    some = pl.concat(
        [
            stays.select(*fix.columns, "region_id", event.alias("event")),
            leaves.select(*fix.columns, "region_id", pl.lit("leave").alias("event")),
        ]
    )
    none = fix.join(some, on=["timestamp", "message_id"], how="anti").select(
        pl.all(), pl.lit(None, dtype=pl.String).alias("region_id"), pl.lit("none").alias("event")
    )
    centres = regions.select(
        "region_id",
        "region_name",
        "region_kind",
        "region_revision",
        pl.col("latitude", "longitude").name.prefix("centre_"),
    )
    rows = (
        pl.concat([some, none])
        .join(centres, on="region_id", how="left")
        .with_columns(_haversine_m("centre_latitude", "centre_longitude").alias("distance_m"))
        .drop("centre_latitude", "centre_longitude")
        .rename({"message_id": "source_message_id"})
        .sort("device_id", "timestamp", "source_message_id", "region_id")
    )
    sources = (pl.col(n) for n in ("source_message_id", "previous_message_id", "event", "region_id", "region_revision"))
    at = pl.col("timestamp").dt.epoch("us")
    return with_ids(rows, namespace_of(STAGE_NAME, version), at, *sources)


def inside_circles(fixes: pl.DataFrame, regions: pl.DataFrame) -> pl.DataFrame:
    """Each (`timestamp`, `message_id`, `region_id`) of a fix in a circle, by the haversine formula."""
    circles = regions.filter(pl.col("radius_m").is_not_null()).select(
        "region_id", "radius_m", pl.col("latitude", "longitude").name.prefix("centre_")
    )
    # A degree of latitude has one length everywhere, so this is right at the poles and the antimeridian too.
    metres_per_degree = EARTH_RADIUS_M * 3.141592653589793 / 180
    near = (pl.col("latitude") - pl.col("centre_latitude")).abs() * metres_per_degree <= pl.col("radius_m") + 1
    points = fixes.select("timestamp", "message_id", "latitude", "longitude")
    found = [points.select("timestamp", "message_id", pl.lit("").alias("region_id")).clear()]
    # In slices, so that a thousand regions do not make a frame of millions of pairs.
    for some in circles.iter_slices(_REGIONS_AT_ONCE):
        pairs = points.lazy().join(some.lazy(), how="cross").filter(near)
        inside = pairs.filter(_haversine_m("centre_latitude", "centre_longitude") <= pl.col("radius_m"))
        found.append(inside.select("timestamp", "message_id", "region_id").collect())
    return pl.concat(found)


def inside_polygons(fixes: pl.DataFrame, regions: pl.DataFrame) -> pl.DataFrame:
    """Each (`timestamp`, `message_id`, `region_id`) of a fix in or on the border of a polygon."""
    found = [fixes.clear().select("timestamp", "message_id", pl.lit("").alias("region_id"))]
    polygons = regions.filter(pl.col("polygon").is_not_null()).select("region_id", "polygon")
    for region_id, text in polygons.iter_rows():
        shape = shapely.from_geojson(text)
        shapely.prepare(shape)
        west, south, east, north = shape.bounds
        boxed = fixes.filter(pl.col("latitude").is_between(south, north) & pl.col("longitude").is_between(west, east))
        inside = shapely.intersects_xy(shape, boxed["longitude"].to_numpy(), boxed["latitude"].to_numpy())
        found.append(
            boxed.filter(pl.Series(inside, dtype=pl.Boolean)).select(
                "timestamp", "message_id", pl.lit(region_id).alias("region_id")
            )
        )
    return pl.concat(found)


def _haversine_m(latitude: str, longitude: str) -> pl.Expr:
    """Metres from the columns `latitude`, `longitude` to the named ones, on a sphere."""
    north = ((pl.col(latitude) - pl.col("latitude")).radians() * 0.5).sin().pow(2)
    east = ((pl.col(longitude) - pl.col("longitude")).radians() * 0.5).sin().pow(2)
    half = north + pl.col("latitude").radians().cos() * pl.col(latitude).radians().cos() * east
    return half.clip(0.0, 1.0).sqrt().arcsin() * (2 * EARTH_RADIUS_M)


def _runs(batch: pl.DataFrame) -> Mapping[str, object] | None:
    """The batch's fixes of each device as ranges of time in which they lie closer than SAME_RUN."""
    if batch.is_empty():
        return None
    runs = (
        batch.select("device_id", "timestamp")
        .sort("device_id", "timestamp")
        .with_columns((pl.col("timestamp").diff().over("device_id") > SAME_RUN).fill_null(False).alias("breaks"))
        .with_columns(pl.col("breaks").cum_sum().over("device_id").alias("run"))
        .group_by("device_id", "run", maintain_order=True)
        .agg(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
    )
    firsts, lasts = runs["first"].to_list(), runs["last"].to_list()
    around = bounds([*firsts, *lasts], _BESIDE, _BESIDE)
    return {"devices": runs["device_id"].to_list(), "firsts": firsts, "lasts": lasts, **around}


STAGE_NAME: Final = "georegion-detector"
GEOREGION_DETECTOR: Final = Stage(
    name=STAGE_NAME,
    source=GPS_RAW,
    sinks=(GEOREGION_DETECTED,),
    version="1",
    transform=transform,
    description="Presence of GPS fixes in saved georegions: enter, dwell, leave.",
    policy=BatchPolicy(max_rows=5_000),
    context=(FIXES, REGIONS),
    inputs="(SELECT coalesce(max(revision), 0)::text FROM georegions)",
)
