"""Landing wakes the stages whose answers depend on what was landed, in the transaction that lands it."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import psycopg

from loom_models.stage import Stage
from loom_models.wakes import wakes_of
from loom_platform.stream.config import StreamConfig

_WAKE = """
INSERT INTO stream_timers (stage, stage_version, device_id, key, due_at)
SELECT s.stage, s.version, w.device_id, w.key, clock_timestamp()
FROM unnest(%s::text[], %s::text[]) AS s (stage, version)
CROSS JOIN unnest(%s::text[], %s::text[]) AS w (device_id, key)
ORDER BY 1, 2, 3, 4
ON CONFLICT (stage, stage_version, device_id, key) DO UPDATE SET due_at = EXCLUDED.due_at
"""


def woken_by(stage: Stage, config: StreamConfig) -> tuple[Stage, ...]:
    """The stages that are to be woken when `stage` lands records."""
    return tuple(s for s in config.stages if stage.source in s.wakes) if stage.landing else ()


def wake(connection: psycopg.Connection[Any], stages: Sequence[Stage], landed: pl.DataFrame) -> None:
    """Set the timers that tell `stages` of the minutes of `landed` rows (`device_id`, `timestamp`)."""
    if not stages or landed.is_empty():
        return
    wakes = wakes_of(landed)
    names, versions = [s.name for s in stages], [s.version for s in stages]
    connection.execute(_WAKE, (names, versions, wakes["device_id"].to_list(), wakes["key"].to_list()))
