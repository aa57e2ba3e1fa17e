"""Android's UsageStats beside the events of the same time: how long each application was in front, by either.

UsageStats are the system's own count and miss nothing, but they come as sums and now and then are nonsense. Events tell
when, but get lost. Where both agree the events are believed; else UsageStats, unless they say more than the stretch is
long or lack what the events show.

The answer for a reading depends on the events up to the end of its stretch: what happens later does not change it, and
what comes late does, for readings of up to three days after.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from loom_contracts.topics.device_system import APPS_ANDROID_USAGE_RAW, APPS_ANDROID_USAGE_RECONCILED
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_models.app_categories import CATEGORIES, REVISION, with_category
from loom_models.app_moments import APP_RANK, AT_ALL, LOW, SCREEN, SCREEN_RANK, limits
from loom_models.app_sessions import MOMENT_SCHEMA, find, seconds_of
from loom_models.bounds import bounded
from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage
from loom_models.wakes import woken

COMPARED: Final = timedelta(days=2)
"""The events of a longer stretch are not counted."""
AGREE_SECONDS: Final = 10.0
AGREE_SHARE: Final = 0.1
"""So far apart are the two at most where they agree, whichever is more."""

_EARLIEST: Final = datetime(1971, 1, 1, tzinfo=UTC)
# The bounds that `limits` gives hold the readings, too: those of a moment come no later than three days after it.
_TABLE: Final = bounded(APPS_ANDROID_USAGE_RAW.table.name)
_WANTED: Final = f"""
    SELECT r.message_id, r.device_id, r.timestamp, r.trace_id, r.span_id, r.usage_stats, t.first,
        greatest(t.first, least(coalesce(r.aggregation_period_end, r.timestamp), r.timestamp)) AS last
    FROM {_TABLE} r CROSS JOIN LATERAL (
        -- a device that does not say so means the day before
        SELECT coalesce(r.aggregation_period_start,
                        coalesce(r.aggregation_period_end, r.timestamp) - interval '1 day') AS first
    ) t
"""
_READINGS: Final = f"""
    SELECT u.* FROM unnest(%(ids)s::uuid[], %(timestamps)s::timestamptz[]) AS given (id, at)
    CROSS JOIN LATERAL ({_WANTED} WHERE r.timestamp = given.at AND r.message_id = given.id) u
    UNION
    SELECT u.* FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
        AS late (device_id, first, last)
    CROSS JOIN LATERAL ({_WANTED} WHERE r.device_id = late.device_id AND r.timestamp >= late.first
        AND r.timestamp < late.first + interval '3 days') u
    WHERE u.first < late.last AND u.last >= late.first
"""
READINGS: Final = ContextQuery(
    name="readings",
    sql=f"""
        SELECT u.message_id::text, u.device_id, u.timestamp, u.trace_id, u.span_id, u.first, u.last,
            app.package_name, max(app.app_name), sum(app.total_time_foreground_ms)::float8 / 1000,
            sum(app.launch_count)::bigint
        FROM ({_READINGS}) u LEFT JOIN LATERAL jsonb_to_recordset(u.usage_stats)
            AS app (package_name text, app_name text, total_time_foreground_ms bigint, launch_count bigint) ON true
        GROUP BY u.message_id, u.device_id, u.timestamp, u.trace_id, u.span_id, u.first, u.last, app.package_name
    """,
    parameters=lambda batch, due: _parameters(batch, due),
    schema=pl.Schema(
        {
            "source_message_id": pl.String(),
            "device_id": pl.String(),
            "timestamp": UTC_MICROS,
            "trace_id": pl.String(),
            "span_id": pl.String(),
            "period_start": UTC_MICROS,
            "period_end": UTC_MICROS,
            "app_identifier": pl.String(),
            "app_name": pl.String(),
            "usage_seconds": pl.Float64(),
            "launch_count": pl.Int64(),
        }
    ),
)
EVENTS: Final = ContextQuery(
    name="events",
    sql=f"""
        WITH t AS MATERIALIZED (
            SELECT u.message_id, u.device_id, u.first, u.last FROM ({_READINGS}) u
            WHERE u.last - u.first <= %(compared)s
        ), reaching AS MATERIALIZED (SELECT t.*, {LOW} AS low FROM t)
        SELECT t.message_id::text, m.* FROM reaching t CROSS JOIN LATERAL (
            SELECT e.device_id, e.timestamp, e.message_id::text, e.trace_id, e.span_id, e.event_type, {APP_RANK},
                e.app_identifier, e.app_name, e.duration_seconds
            FROM {APP_LIFECYCLE_RAW.table.name} e
            WHERE e.device_id = t.device_id AND {AT_ALL} AND e.timestamp BETWEEN t.low AND t.last
            UNION ALL
            SELECT e.device_id, e.timestamp, e.message_id::text, e.trace_id, e.span_id, e.event_type, {SCREEN_RANK},
                NULL, NULL, NULL
            FROM {SYSTEM_EVENTS_RAW.table.name} e
            WHERE e.device_id = t.device_id AND {AT_ALL} AND e.timestamp BETWEEN t.low AND t.last
                AND e.event_type IN {SCREEN}
        ) m
    """,
    parameters=lambda batch, due: _parameters(batch, due),
    schema=pl.Schema({"reading": pl.String()} | dict(MOMENT_SCHEMA.items())),
)


def transform(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
    """A row for each application of each reading that `context.frames["readings"]` holds."""
    told = context.frames[READINGS.name]
    if told.is_empty():
        # a wake of a time that no reading is about, as nearly all are
        return Output({})
    readings = told.select(_READING).unique(maintain_order=True)
    counted = in_front(readings, context.frames[EVENTS.name])
    used = told.filter(pl.col("app_identifier").is_not_null()).select(
        "source_message_id", "app_identifier", "app_name", "usage_seconds", "launch_count"
    )
    both = used.join(counted, on=["source_message_id", "app_identifier"], how="full", coalesce=True, suffix="_seen")
    rows = (
        readings.join(both, on="source_message_id", how="inner")
        .with_columns(pl.coalesce("app_name", "app_name_seen"))
        .pipe(reconciled)
        .filter((pl.col("seconds") > 0) | (pl.col("usage_seconds") > 0))
        .pipe(with_category, context.frames[CATEGORIES.name])
        .sort("device_id", "timestamp", "source_message_id", "app_identifier")
    )
    ids = ("source_message_id", "app_identifier", "app_name", "app_category", "usage_seconds", "events_seconds")
    return Output(
        {
            APPS_ANDROID_USAGE_RECONCILED: with_ids(
                rows, namespace_of(STAGE_NAME, context.version), *(pl.col(n) for n in ids)
            ).drop("app_name_seen")
        }
    )


def in_front(readings: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Seconds in front (`events_seconds`) of each application in the stretch of each reading, by its `events` alone."""
    start, end = pl.col("period_start"), pl.col("period_end")
    found = []
    for (reading,), moments in events.partition_by("reading", as_dict=True).items():
        (stretch,) = readings.filter(pl.col("source_message_id") == reading).select(start, end).rows()
        # What has no end yet goes on to the end of the stretch.
        sessions = find(moments.select(MOMENT_SCHEMA.names()), stretch[1]).sessions
        found.append(sessions.select(pl.lit(reading).alias("source_message_id"), pl.exclude(*_ONCE)))
    if not found:
        return pl.DataFrame(schema=_COUNTED)
    first = pl.max_horizontal("timestamp", start)
    last = pl.min_horizontal(pl.col("ended_at").fill_null(end), end)
    return (
        pl.concat(found)
        .join(readings.select("source_message_id", start, end), on="source_message_id")
        .with_columns((last - first).dt.total_microseconds().clip(0).alias("micros"))
        .group_by("source_message_id", "app_identifier")
        .agg(pl.col("app_name").drop_nulls().sort().last(), pl.col("micros").sum())
        .with_columns(seconds_of(pl.col("micros")).alias("events_seconds"))
        .match_to_schema(_COUNTED, extra_columns="ignore")
    )


def reconciled(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` (`usage_seconds`, `events_seconds`, `period_start`, `period_end`) with what is believed, and why."""
    usage, events = pl.col("usage_seconds"), pl.col("events_seconds")
    length = seconds_of((pl.col("period_end") - pl.col("period_start")).dt.total_microseconds())
    compared = length <= COMPARED.total_seconds()
    apart = (usage - events).abs()
    return (
        rows.with_columns(pl.when(compared).then(events.fill_null(0.0)).alias("events_seconds"))
        .with_columns(
            # UsageStats may count on for a moment after they were asked
            pl.when(usage > length + AGREE_SECONDS)
            .then(pl.lit("usage_impossible"))
            .when(~compared)
            .then(pl.lit("not_compared"))
            .when(usage.is_null())
            .then(pl.lit("no_usage"))
            .when((events == 0) & (usage > 0))
            .then(pl.lit("no_events"))
            .when((apart <= AGREE_SECONDS) | (apart <= AGREE_SHARE * usage))
            .then(pl.lit("agree"))
            .otherwise(pl.lit("differ"))
            .alias("reason")
        )
        .with_columns(
            pl.when(pl.col("reason").is_in(["agree", "no_usage", "usage_impossible"]))
            .then(pl.lit("events"))
            .otherwise(pl.lit("usage"))
            .alias("believed")
        )
        .with_columns(
            pl.when(pl.col("believed") == "events").then(events.fill_null(0.0)).otherwise(usage).alias("seconds")
        )
    )


_READING: Final = (
    "source_message_id",
    "device_id",
    "timestamp",
    "trace_id",
    "span_id",
    "period_start",
    "period_end",
)
_ONCE: Final = ("source_message_id", "device_id", "trace_id", "span_id")
_COUNTED: Final = pl.Schema(
    {
        "source_message_id": pl.String(),
        "app_identifier": pl.String(),
        "app_name": pl.String(),
        "events_seconds": pl.Float64(),
    }
)


def _parameters(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
    late = woken(due)
    if batch.is_empty() and late.is_empty():
        return None
    timestamps = batch["timestamp"].to_list()
    firsts, lasts = late["first"].to_list(), late["last"].to_list()
    return {
        "ids": batch["message_id"].to_list(),
        "timestamps": timestamps,
        "devices": late["device_id"].to_list(),
        "firsts": firsts,
        "lasts": lasts,
        "compared": COMPARED,
        **limits(
            [*timestamps, *_compared_from(batch), *(first - COMPARED for first in firsts)],
            [*timestamps, *(last + COMPARED for last in lasts)],
        ),
    }


def _compared_from(batch: pl.DataFrame) -> list[datetime]:
    """When the stretches of readings begin whose events are counted: a long one would have all its days read."""
    at = pl.col("timestamp")
    end = pl.coalesce("aggregation_period_end", at)
    # A device may say that its statistics begin in the year 1.
    start = pl.coalesce("aggregation_period_start", end - timedelta(days=1)).clip(_EARLIEST)
    last = pl.max_horizontal(start, pl.min_horizontal(end, at))
    return batch.filter((last - start <= COMPARED) & (last > _EARLIEST)).select(start).to_series().to_list()


STAGE_NAME: Final = "app-usage-reconciler"
APP_USAGE_RECONCILER: Final = Stage(
    name=STAGE_NAME,
    source=APPS_ANDROID_USAGE_RAW,
    sinks=(APPS_ANDROID_USAGE_RECONCILED,),
    version="1",
    transform=transform,
    description="Android's usage statistics beside the events of the same time, and which of the two is believed.",
    policy=BatchPolicy(max_rows=200),
    context=(READINGS, EVENTS, CATEGORIES),
    inputs=REVISION,
    wakes=(APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW),
)
