"""Stays on Wi-Fi networks: from when to when a device was on one, which tells of a place where no position does.

A stay goes on while states of the same network follow each other within `REACH`, and nothing else is told between. It
ends with the state that tells of another network or none, else with its last state; one that nothing has followed for
`QUIET` is taken to have ended, until a state says that it has not. Devices that tell only changes, and phones that
sleep at night, so have whole nights; `observed_share` says how much of a stay was seen. A state that tells of no
network although it is connected is passed over.

An answer depends on the landed states of its day (UTC) and the one on either side; a stay over midnight is two rows. An
open stay says nothing that changes from state to state.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device_system import WIFI_RAW
from loom_contracts.topics.network import NETWORK_DETECTED
from loom_models import networks, presence
from loom_models.ids import namespace_of
from loom_models.stage import BatchPolicy, Context, Output, Stage

REACH: Final = timedelta(hours=12)
QUIET: Final = timedelta(hours=1)
OBSERVED: Final = timedelta(minutes=30)
"""A state is evidence for so long."""

_TEXTS: Final = ("ssid", "bssid", "ip_address", "security")
STATES: Final = presence.days(
    "states",
    WIFI_RAW.table.name,
    {**{n: pl.String() for n in _TEXTS}, "connected": pl.Boolean()},
    REACH,
    networks.TELLS_SQL,
    ("connected", "ssid", "bssid"),
    OBSERVED,
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
    """The stays of the days of the batch's states, and of those whose time is out."""
    states = context.frames[STATES.name]
    days = presence.spans(states)
    seen = (
        states.unique(["timestamp", "message_id"], keep="first")
        .sort("device_id", "timestamp", "message_id")
        # Of states of the same moment the last one counts.
        .unique(["device_id", "timestamp"], keep="last", maintain_order=True)
        .with_columns(networks.network(), networks.bssid(), networks.hint())
    )
    pieces = presence.pieces(seen, ["device_id"], "network", REACH, QUIET, context.now)
    length = pl.col("until") - pl.col("start")
    observed = pl.min_horizontal(length, pl.lit(OBSERVED)).sum() / length.sum()
    whole = pl.col("until").is_not_null().all() & (length.sum() > timedelta(0))
    stays = (
        pieces.filter(pl.col("network").is_not_null())
        .group_by("device_id", "network", "stretch", maintain_order=True)
        .agg(
            *presence.stretch_of(),
            pl.col("bssid", "hint").first(),
            pl.when(whole).then(observed).alias("observed_share"),
        )
    )
    stays = presence.within(stays, days)
    return Output(
        {NETWORK_DETECTED: presence.identified(stays, namespace_of(STAGE_NAME, context.version), NETWORK_DETECTED)},
        timers=presence.timers(stays, QUIET),
        spans={NETWORK_DETECTED: days},
    )


STAGE_NAME: Final = "network-stays"
NETWORK_STAYS: Final = Stage(
    name=STAGE_NAME,
    source=WIFI_RAW,
    sinks=(NETWORK_DETECTED,),
    version="1",
    transform=transform,
    description="Stays on Wi-Fi networks: from when to when.",
    policy=BatchPolicy(max_rows=5_000, max_wait=timedelta(milliseconds=50)),
    context=(STATES,),
)
