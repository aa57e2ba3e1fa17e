"""A landing stage's days again: its topic is read from Kafka, as far back as it goes, and what is missing is landed."""

import threading
from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

import polars as pl
import psycopg

from loom_models.stage import Stage
from loom_platform.stream.apply import apply, finish, no_timers
from loom_platform.stream.batch import Outcome
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.decode import decode
from loom_platform.stream.erased import unerased
from loom_platform.stream.slices import bounds
from loom_platform.stream.source import Source, offset_at
from loom_platform.stream.statistics import Statistics
from loom_platform.stream.waking import wake, woken_by
from loom_platform.stream.writer import Writer

_CLOCK_SKEW = timedelta(hours=26)
"""A record is accepted no earlier than its event time less the 24 h that the API allows, and a little."""


def land_again(
    stage: Stage,
    first_day: date,
    last_day: date,
    devices: Collection[str] | None,
    config: StreamConfig,
    connection: psycopg.Connection[Any],
    statistics: Statistics,
    stop: threading.Event,
) -> None:
    """Read the topic again from where records of `first_day` can begin, and land those of the days that are missing.

    What is there already is left alone, so that it may be broken off and repeated at any time.
    """
    start, end = bounds(first_day)[0], bounds(last_day)[1]
    topic = stage.source.on_broker(config.topic_prefix)
    source = Source(config.bootstrap_servers, topic, f"{stage.name}-recompute", max_bytes=stage.policy.max_bytes)
    wanted = pl.col("timestamp").is_between(start, end, closed="left")
    if devices is not None:
        wanted &= pl.col("device_id").is_in(list(devices))
    writer = Writer(connection)
    try:
        positions = offset_at(source, int((start - _CLOCK_SKEW).timestamp() * 1000))
        ends = {p: high for p, (_, high) in source.describe().ranges.items()}
        source.assign(positions)
        while not stop.is_set() and any(positions[p] < ends[p] for p in positions):
            records = source.poll(stage.policy, stage.policy.max_rows, 1.0)
            if not len(records):
                continue
            positions.update({p: last for p, (_, last) in records.spans.items()})
            batch = decode(records, stage.source.payload).frame.filter(wanted)
            if batch.is_empty():
                continue
            with connection.transaction():
                kept = unerased(connection, batch)
                statistics.add(_land(stage, kept, config, connection, writer))
    finally:
        source.close()


def _land(
    stage: Stage, batch: pl.DataFrame, config: StreamConfig, connection: psycopg.Connection[Any], writer: Writer
) -> Outcome:
    applied = apply(connection, stage, batch, no_timers(), blobs=config.blobs, live=False)
    outcome = Outcome(batch.height, dead_letters=len(applied.poison))
    for sink in stage.sinks:
        rows = applied.rows(sink)
        if rows is not None:
            frame = finish(rows, stage, config.run_id)
            outcome.rows_by_day[sink] = writer.write(sink.table, frame)
            wake(connection, woken_by(stage, config), frame)
    return outcome
