"""Windows of an accelerometer, and fixes near them, for the tests of the motion stages."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from loom_contracts.topics.device import ACCELEROMETER_WINDOWED, GPS_RAW
from loom_models.stage import ContextQuery
from loom_models.stages.accelerometer_windowed import WINDOW
from tests.models.frames import NOON, batch, message_id

KINDS: dict[str, dict[str, float]] = {
    "still": {"magnitude_std_mps2": 0.02, "dynamic_rms_mps2": 0.03, "rhythm_share": 0.02},
    "walking": {"magnitude_std_mps2": 2.4, "dynamic_rms_mps2": 3.4, "rhythm_share": 0.5},
    "running": {"magnitude_std_mps2": 8.0, "dynamic_rms_mps2": 10.0, "rhythm_share": 0.7, "magnitude_max_mps2": 32.0},
    "cycling": {"magnitude_std_mps2": 1.8, "dynamic_rms_mps2": 2.4, "rhythm_share": 0.15},
    "in_vehicle": {"magnitude_std_mps2": 0.5, "dynamic_rms_mps2": 0.8, "rhythm_share": 0.06},
}
"""What typical windows look like."""

_BASE = {
    "window_ms": 5_000,
    "sample_count": 250,
    "rate_hz": 50.0,
    "x_mean_mps2": 0.0,
    "y_mean_mps2": 0.0,
    "z_mean_mps2": 9.8,
    "magnitude_mean_mps2": 9.8,
    "magnitude_min_mps2": 9.0,
    "magnitude_max_mps2": 12.0,
    "stage": "accelerometer-window",
    "stage_version": "2",
}


def at(seconds: float) -> datetime:
    """That many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def windows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A batch of windows. A row has `at` (seconds after noon), and `kind` or features; ids show the place in `rows`."""
    full = []
    for n, row in enumerate(rows):
        features = {k: v for k, v in row.items() if k not in ("at", "kind")}
        start = at(row["at"])
        told = {"timestamp": start, "window_end": start + WINDOW, "source_message_id": message_id(n + 1)}
        full.append({**_BASE, **KINDS[row.get("kind", "still")], **told, "received_at": start + 2 * WINDOW, **features})
    return batch(ACCELEROMETER_WINDOWED, full)


def row_of(kinds: Sequence[str], first: float = 0.0) -> list[dict[str, Any]]:
    """Windows one after another from `first` (seconds after noon)."""
    return [{"at": first + 5.0 * n, "kind": kind} for n, kind in enumerate(kinds)]


def fixes(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A batch of fixes; `at` is seconds after noon."""
    return batch(
        GPS_RAW,
        [
            {"latitude": 52.5, "longitude": 13.4, "accuracy": 5.0, "timestamp": at(row["at"])}
            | {"message_id": message_id(10_000 + n)}
            | {k: v for k, v in row.items() if k != "at"}
            for n, row in enumerate(rows)
        ],
    )


def read(query: ContextQuery, table: pl.DataFrame, given: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    """What the SQL of a query for stretches of time says, in Python."""
    told: Any = query.parameters(given, due)
    if told is None:
        return pl.DataFrame(schema=query.schema)
    found = [table.clear()]
    for device, first, last in zip(told["devices"], told["firsts"], told["lasts"], strict=True):
        stretch = pl.col("timestamp").is_between(first, last, closed="left")
        found.append(table.filter(pl.col("device_id") == device, stretch))
    return pl.concat(found).select(query.schema.names())
