"""Which Bluetooth devices were near a device, and from when to when.

A presence goes on while scans that find the device follow each other within `REACH`, and ends with the last of them;
one whose last is `QUIET` ago has ended. Strangers that pass, or that change their address every 15 minutes as phones do
(Bluetooth Core 5.4, volume 3, part C, appendix A), have no row: what is neither paired nor connected has to be near
for `STAYS`.

An answer depends on the landed scans of its day (UTC) and of the half an hour on either side; a presence over midnight
is two rows. An open one says nothing that changes from scan to scan.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device_system import BLUETOOTH_RAW
from loom_contracts.topics.network import BLUETOOTH_DETECTED
from loom_models import bluetooth, presence
from loom_models.ids import namespace_of
from loom_models.stage import BatchPolicy, Context, Output, Stage

REACH: Final = timedelta(minutes=30)
QUIET: Final = REACH
STAYS: Final = timedelta(minutes=20)

SCANS: Final = presence.days_of_many("scans", BLUETOOTH_RAW.table.name, {"devices": pl.String()}, REACH)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
    """The presences of the days of the batch's scans, and of those whose time is out."""
    scans = context.frames[SCANS.name]
    days = presence.spans(scans)
    found = bluetooth.sightings(scans.unique(["timestamp", "message_id"], keep="first")).unique(
        ["device_id", "address", "timestamp"], keep="last", maintain_order=True
    )
    pieces = presence.pieces(found, ["device_id", "address"], "address", REACH, QUIET, context.now)
    own = (pl.col("paired") | pl.col("connected")).any()
    present = (
        pieces.group_by("device_id", "address", "stretch", maintain_order=True)
        .agg(*presence.stretch_of(), pl.col("name", "device_class").drop_nulls().last(), own.alias("is_own"))
        .filter(pl.col("is_own") | (pl.col("last_at") - pl.col("begun") >= STAYS))
    )
    present = presence.within(present, days)
    return Output(
        {
            BLUETOOTH_DETECTED: presence.identified(
                present, namespace_of(STAGE_NAME, context.version), BLUETOOTH_DETECTED
            )
        },
        timers=presence.timers(present, QUIET),
        spans={BLUETOOTH_DETECTED: days},
    )


STAGE_NAME: Final = "bluetooth-presence"
BLUETOOTH_PRESENCE: Final = Stage(
    name=STAGE_NAME,
    source=BLUETOOTH_RAW,
    sinks=(BLUETOOTH_DETECTED,),
    version="1",
    transform=transform,
    description="Which Bluetooth devices were near, from when to when.",
    policy=BatchPolicy(max_rows=2_000, max_wait=timedelta(milliseconds=50)),
    context=(SCANS,),
)
