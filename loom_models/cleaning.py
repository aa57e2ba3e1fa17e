"""Which GPS fixes can be believed. Every fix is accepted, or has one reason why it is not.

The verdict on a fix depends on the fix itself and on at most `REACH` moments of usable fixes on either side of it,
whatever the time between them: so whoever reads twice as many has the verdicts that all fixes of the device would give.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

EARTH_RADIUS_M: Final = 6_371_008.8
"""Mean radius of the Earth (IUGG)."""
REACH: Final = 13
"""How many moments of usable fixes, on either side, a verdict depends on."""
NULL_ISLAND_DEGREES: Final = 0.01
WORST_ACCURACY_M: Final = 250.0
UNKNOWN_ACCURACY_M: Final = 20.0
"""What a fix that does not tell its accuracy is taken to have."""
CLOCK_AHEAD: Final = timedelta(minutes=2)
"""A fix that is accepted so long before its own time has a wrong clock."""
FASTEST_MPS: Final = 300.0
"""Faster than any airliner over ground."""
USABLE_SQL: Final = (
    f"NOT (abs(latitude) < {NULL_ISLAND_DEGREES} AND abs(longitude) < {NULL_ISLAND_DEGREES}) "
    f"AND coalesce(accuracy, 0) <= {WORST_ACCURACY_M:.0f} "
    f"AND timestamp <= received_at + interval '{int(CLOCK_AHEAD.total_seconds())} seconds'"
)
"""The verdicts that need the fix alone, in SQL."""

_SLACK_M: Final = 100.0
_SPIKE_MPS: Final = 25.0
_SPIKE_SPEED_MPS: Final = 15.0
_SPIKE: Final = 120.0
_SHORT_RUN: Final = 5
_SHORT_RUN_S: Final = 600
_LINKED_S: Final = 7_200.0
_STALE_BACK: Final = range(2, 7)
_STALE_S: Final = 600
_STALE_M: Final = 50.0
_STALE_MPS: Final = 3.0
_STALE_PAUSE_S: Final = 5.0

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def clean(fixes: pl.DataFrame, by: Sequence[str] = ("device_id",)) -> pl.DataFrame:
    """`fixes` in order of (`by`, `timestamp`, `message_id`), each once, with `reason` (String; null: accepted).

    Needs `by`, `timestamp`, `received_at`, `message_id`, `latitude`, `longitude` (degrees), `accuracy` (metres) and
    `speed` (metres per second); groups of `by` know nothing of each other. Besides, `row` counts the rows from 0, and
    `moment` the distinct times of usable fixes of the group up to the row.
    """
    ordered = fixes.unique([*by, "timestamp", "message_id"], keep="first").sort(*by, "timestamp", "message_id")
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    alone = (
        pl.when((latitude.abs() < NULL_ISLAND_DEGREES) & (longitude.abs() < NULL_ISLAND_DEGREES))
        .then(pl.lit("null_island"))
        .when(pl.col("accuracy").fill_null(0.0) > WORST_ACCURACY_M)
        .then(pl.lit("inaccurate"))
        .when(pl.col("timestamp") > pl.col("received_at") + CLOCK_AHEAD)
        .then(pl.lit("clock"))
    )
    marked = ordered.with_columns(alone.alias("reason")).with_row_index("row")
    usable = marked.filter(pl.col("reason").is_null())
    best = (
        usable.sort(*by, "timestamp", pl.col("accuracy").fill_null(np.inf), "message_id")
        .filter(_first_of(*by, "timestamp"))
        .with_columns(pl.lit(True).alias("best"))
    )
    reasons = best.select("row", pl.Series("later", _in_order(best, by), dtype=pl.String), "best")
    moment = pl.col("best").fill_null(False).cast(pl.Int64).cum_sum().over(by)
    return (
        marked.join(reasons, on="row", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("reason").is_not_null() | pl.col("best").is_not_null())
            .then(pl.coalesce("reason", "later"))
            .otherwise(pl.lit("duplicate"))
            .alias("reason"),
            moment.alias("moment"),
        )
        .drop("later", "best")
    )


def steps_m(latitude: Floats, longitude: Floats, back: int = 1) -> Floats:
    """Metres to each position from the one `back` before it, on a sphere (haversine); 0 for the first ones."""
    out = np.zeros(len(latitude))
    if len(latitude) > back:
        out[back:] = distances_m(latitude[:-back], longitude[:-back], latitude[back:], longitude[back:])
    return out


def distances_m(latitude: Floats, longitude: Floats, to_latitude: Floats, to_longitude: Floats) -> Floats:
    """Metres between positions in degrees, on a sphere (haversine)."""
    north, east = np.radians(to_latitude - latitude) / 2, np.radians(to_longitude - longitude) / 2
    half = np.sin(north) ** 2 + np.cos(np.radians(latitude)) * np.cos(np.radians(to_latitude)) * np.sin(east) ** 2
    distances: Floats = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
    return distances


def micros_of(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """`timestamp` in microseconds since the epoch."""
    return frame["timestamp"].dt.epoch("us").to_numpy()


def groups_of(frame: pl.DataFrame, by: Sequence[str]) -> npt.NDArray[np.int64]:
    """The number of each row's group, in a frame that is sorted by `by`."""
    return frame.select(_first_of(*by).cast(pl.Int64).cum_sum().alias("group"))["group"].to_numpy()


def _first_of(*columns: str) -> pl.Expr:
    """Whether a row of a sorted frame is the first with its values."""
    return pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift(1)) for c in columns) | (pl.int_range(pl.len()) == 0)


def _in_order(fixes: pl.DataFrame, by: Sequence[str]) -> list[str | None]:
    """`stale`, `jump` or None for each of `fixes`, of which no two are of one moment."""
    if fixes.is_empty():
        return []
    at, group = micros_of(fixes), groups_of(fixes, by)
    latitude, longitude = fixes["latitude"].to_numpy(), fixes["longitude"].to_numpy()
    slack = fixes["accuracy"].fill_null(UNKNOWN_ACCURACY_M).to_numpy()
    speed = fixes["speed"].fill_null(0.0).to_numpy()
    step = steps_m(latitude, longitude)
    pause = np.diff(at, prepend=at[0]) / 1e6
    linked = _same(group, 1) & (pause <= _LINKED_S)
    safe = step - slack - np.roll(slack, 1)
    jumps = _spikes(latitude, longitude, step, safe, pause, speed, _same(group, 1))
    if (breaks := linked & (safe - _SLACK_M > FASTEST_MPS * pause)).any():
        jumps |= _short_runs(at, linked, breaks)
    stale = _stale(latitude, longitude, at, step, pause, speed, group)
    reasons = np.where(jumps, "jump", np.where(stale, "stale", ""))
    return [r or None for r in reasons.tolist()]


def _same(group: npt.NDArray[np.int64], back: int) -> Flags:
    """Whether the row `back` before is of the same group."""
    out = np.zeros(len(group), dtype=np.bool_)
    out[back:] = group[back:] == group[:-back]
    return out


def _next(values: Floats) -> Floats:
    """The value of the row after each; 0 after the last."""
    out = np.zeros_like(values)
    out[:-1] = values[1:]
    return out


def _next_is(flags: Flags) -> Flags:
    """Whether the row after each is flagged."""
    out = np.zeros_like(flags)
    out[:-1] = flags[1:]
    return out


def _spikes(
    latitude: Floats, longitude: Floats, step: Floats, safe: Floats, pause: Floats, speed: Floats, follows: Flags
) -> Flags:
    """A single fix aside, there and back faster than the fix itself says that the device moves."""
    quick = follows & (pause <= _SPIKE) & (safe > _SPIKE_MPS * pause)
    around = _next(steps_m(latitude, longitude, 2))
    nearer = around < np.minimum(step, _next(step)) / 2
    return np.asarray(quick & _next_is(quick) & nearer & (speed < _SPIKE_SPEED_MPS), dtype=np.bool_)


def _short_runs(at: npt.NDArray[np.int64], linked: Flags, breaks: Flags) -> Flags:
    """Fixes of a run of a few that nothing could have reached from a run beside it that is no shorter."""
    starts = np.flatnonzero(breaks | ~linked)
    ends = np.append(starts[1:], len(at))
    size = np.minimum(ends - starts, _SHORT_RUN + 1)
    size[at[ends - 1] - at[starts] > _SHORT_RUN_S * 1_000_000] = _SHORT_RUN + 1
    broken = breaks[starts]
    before, after = np.zeros(len(starts), dtype=np.bool_), np.zeros(len(starts), dtype=np.bool_)
    before[1:] = broken[1:] & (size[:-1] >= size[1:])
    after[:-1] = broken[1:] & (size[1:] > size[:-1])
    rejected = (size <= _SHORT_RUN) & (before | after)
    return np.repeat(rejected, ends - starts)


def _stale(
    latitude: Floats,
    longitude: Floats,
    at: npt.NDArray[np.int64],
    step: Floats,
    pause: Floats,
    speed: Floats,
    group: npt.NDArray[np.int64],
) -> Flags:
    """A position that is told again to the last digit although the device has moved on, or says that it moves."""

    def equal(back: int) -> Flags:
        same = _same(group, back)
        same[back:] &= (latitude[back:] == latitude[:-back]) & (longitude[back:] == longitude[:-back])
        same[back:] &= at[back:] - at[:-back] <= _STALE_S * 1_000_000
        return same

    on_the_way = equal(1) & (speed >= _STALE_MPS) & (pause >= _STALE_PAUSE_S)
    again = np.zeros(len(at), dtype=np.bool_)
    for back in _STALE_BACK:
        again |= equal(back)
    # Where a coarse receiver goes to and fro between two positions, the next fix is where the last one was.
    goes_on = _next_is(_same(group, 2) & ~equal(2)) & (_next(step) > _STALE_M)
    return np.asarray(on_the_way | (again & (step > _STALE_M) & goes_on), dtype=np.bool_)
