"""Scans for Bluetooth devices: how many there are, how many are new, and which is nearest.

The answer for a scan depends on the landed scans of the half an hour before it. A late scan has those of the half an
hour after it answered again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device_system import BLUETOOTH_RAW
from loom_contracts.topics.network import BLUETOOTH_ENRICHED
from loom_models import bluetooth, stretches
from loom_models.bounds import bounded, bounds
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage

LOOK_BACK: Final = timedelta(minutes=30)
_TABLE: Final = bounded(BLUETOOTH_RAW.table.name)
_SCAN: Final = ("message_id", "device_id", "trace_id", "span_id", "devices")
SCANS: Final = ContextQuery(
    name="scans",
    sql=f"""
        SELECT r.message_id::text, r.device_id, r.trace_id, r.span_id, r.devices::text, r.timestamp
        FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
             AS run (device_id, first, last)
        JOIN {_TABLE} r ON r.device_id = run.device_id AND r.timestamp >= run.first AND r.timestamp <= run.last
    """,
    parameters=lambda batch, due: _parameters(batch),  # noqa: ARG005
    schema=pl.Schema({**{n: pl.String() for n in _SCAN}, "timestamp": UTC_MICROS}),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:
    """Answers for the batch's scans, and for those of the half an hour after each."""
    scans = (
        context.frames[SCANS.name]
        .unique(["timestamp", "message_id"], keep="first")
        .sort("device_id", "timestamp", "message_id")
    )
    touched = batch.select("device_id", first="timestamp", last="timestamp")
    end = timedelta(microseconds=1)
    wanted = stretches.within(
        scans.select("device_id", "timestamp", "message_id"), stretches.joined(touched, timedelta(0), LOOK_BACK + end)
    )
    return Output({BLUETOOTH_ENRICHED: enriched(scans, wanted.select("message_id", "timestamp"), context.version)})


def enriched(scans: pl.DataFrame, wanted: pl.DataFrame, version: str) -> pl.DataFrame:
    """The rows of those `scans`, in order of (device, time, id), that are `wanted` (`timestamp`, `message_id`)."""
    at = pl.col("timestamp")
    same = pl.col("device_id") == pl.col("device_id").shift(1)
    numbered = scans.with_row_index("number").with_columns(
        (same & (at - at.shift(1) <= LOOK_BACK)).fill_null(False).alias("follows")
    )
    seen = bluetooth.sightings(numbered).sort("number", "address")
    before = [pl.col(n).shift(1).over("device_id", "address") for n in ("timestamp", "number")]
    recent = (at - before[0] <= LOOK_BACK).fill_null(False)
    label = pl.coalesce("name", "address")
    nearest = pl.col("signal_dbm") == pl.col("signal_dbm").max()
    counted = (
        seen.with_columns(
            recent.not_().alias("arrived"),
            (pl.col("follows") & (pl.col("number") - before[1] == 1)).fill_null(False).alias("still"),
            label.alias("label"),
        )
        .group_by("timestamp", "message_id")
        .agg(
            pl.len().cast(pl.Int64).alias("device_count"),
            *(pl.col(n).sum().cast(pl.Int64).alias(f"{n}_count") for n in ("connected", "paired", "arrived", "still")),
            pl.col("name").is_not_null().sum().cast(pl.Int64).alias("named_count"),
            pl.col("label").filter(nearest).first().alias("nearest_name"),
            pl.col("signal_dbm").max().alias("nearest_dbm"),
            pl.col("label").filter("connected").sort().alias("connected_names"),
        )
    )
    counts = ("device_count", "connected_count", "paired_count", "named_count", "arrived_count")
    rows = (
        numbered.join(counted, on=["timestamp", "message_id"], how="left", maintain_order="left")
        .with_columns(pl.col(*counts, "still_count").fill_null(0))
        .with_columns(
            pl.when("follows")
            .then(pl.col("device_count").shift(1) - pl.col("still_count"))
            .otherwise(0)
            .alias("left_count"),
            _json("connected_names").fill_null("[]"),
        )
        .join(wanted, on=["timestamp", "message_id"], how="semi", maintain_order="left")
        .rename({"message_id": "source_message_id"})
    )
    told = (*counts, "left_count", "nearest_name", "nearest_dbm", "connected_names")
    parts = (pl.col("timestamp").dt.epoch("us"), *(pl.col(n) for n in ("source_message_id", *counts, "left_count")))
    return with_ids(rows, namespace_of(STAGE_NAME, version), *parts).select(
        "timestamp", "message_id", "device_id", "trace_id", "span_id", "source_message_id", *told
    )


def _json(name: str) -> pl.Expr:
    """The list in a column as JSON; null for null."""
    text = pl.struct(name).struct.json_encode().str.strip_prefix(f'{{"{name}":').str.strip_suffix("}")
    return pl.when(pl.col(name).is_not_null()).then(text).alias(name)


def _parameters(batch: pl.DataFrame) -> Mapping[str, object] | None:
    runs = stretches.joined(batch.select("device_id", first="timestamp", last="timestamp"), LOOK_BACK, LOOK_BACK)
    given = stretches.parameters(runs)
    # The runs have all that is read of the table.
    return None if given is None else {**given, **bounds([*runs["first"], *runs["last"]], timedelta(0), timedelta(0))}


STAGE_NAME: Final = "bluetooth-enricher"
BLUETOOTH_ENRICHER: Final = Stage(
    name=STAGE_NAME,
    source=BLUETOOTH_RAW,
    sinks=(BLUETOOTH_ENRICHED,),
    version="1",
    transform=transform,
    description="Bluetooth: how many devices are near, how many are new, which is nearest.",
    policy=BatchPolicy(max_rows=2_000),
    context=(SCANS,),
)
