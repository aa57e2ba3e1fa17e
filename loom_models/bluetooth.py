"""Devices in scans for Bluetooth: one row for each scan and device."""

from typing import Final

import polars as pl

_DEVICE: Final = pl.Struct(
    {
        "address": pl.String,
        "name": pl.String,
        "signal_dbm": pl.Float64,
        "connected": pl.Boolean,
        "paired": pl.Boolean,
        "device_class": pl.String,
    }
)


def sightings(scans: pl.DataFrame) -> pl.DataFrame:
    """The devices of `scans` (`devices`: JSON as in `BluetoothScan`): a scan's columns but that one, and a device's.

    An address is in small letters, and in a scan once: with its strongest signal, and connected or paired where it is
    that once.
    """
    numbered = scans.with_row_index("scan")
    each = (
        numbered.select("scan", pl.col("devices").str.json_decode(pl.List(_DEVICE)))
        .explode("devices")
        .filter(pl.col("devices").is_not_null())
        .unnest("devices")
        .with_columns(
            pl.col("address").str.strip_chars().str.to_lowercase(),
            pl.col("name").str.strip_chars().replace("", None),
            pl.col("connected", "paired").fill_null(False),
        )
    )
    # Most scans name each device once; putting together what is named twice is slow.
    if each.select("scan", "address").is_unique().all():
        once = each
    else:
        once = (
            each.sort(pl.col("signal_dbm").fill_null(-1e9), descending=True, maintain_order=True)
            .group_by("scan", "address", maintain_order=True)
            .agg(
                pl.col("name").drop_nulls().first(),
                pl.col("signal_dbm").first(),
                pl.col("connected", "paired").any(),
                pl.col("device_class").drop_nulls().first(),
            )
        )
    found = numbered.drop("devices").join(once.sort("scan", "address"), on="scan", maintain_order="right")
    return found.sort("device_id", "timestamp", "message_id", "address", maintain_order=True).drop("scan")
