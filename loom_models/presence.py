"""Stretches of time in which something was seen again and again: on a network, near a device; day by day (UTC).

What is seen lasts until it is seen again or something else is, if that comes soon enough. At midnight a stretch goes
on in another row, so the rows of a day follow from its records and those next to it: however long a stretch lasts, a
record has no more read again than its day.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import polars as pl

from loom_contracts.topic import Topic
from loom_models import stretches
from loom_models.bounds import bounded, bounds
from loom_models.frames import UTC_MICROS
from loom_models.ids import with_ids
from loom_models.stage import SPAN_SCHEMA, TIMER_SCHEMA, ContextQuery

OPEN: Final = "open:"
"""How the key of an open stretch's timer begins; its beginning in microseconds since the epoch follows."""

_DAY: Final = timedelta(days=1)
_WHERE: Final = pl.Schema(dict.fromkeys(("timestamp", "span_first", "span_last"), UTC_MICROS))


def days(
    name: str,
    table: str,
    columns: Mapping[str, pl.DataType],
    reach: timedelta,
    tells: str,
    same: Sequence[str],
    every: timedelta,
) -> ContextQuery:
    """The records of each touched day and the one on either side of it within `reach`; those that tell something (SQL).

    A day is touched by a record in it, and by one that is the next after its last or before its first. `columns` are
    read beside the envelope; `span_first` and `span_last` are the bounds of the touched days. Of records that follow
    each other with equal `same` columns only the first and the last of each stretch of time `every` (aligned to the
    epoch) are given: enough to tell when that changed, and of any pause that is longer.
    """
    near = f"SELECT * FROM {bounded(table)} t WHERE device_id = run.device_id AND {tells}"
    earlier = "ORDER BY timestamp DESC, message_id DESC LIMIT 1"
    later = "ORDER BY timestamp, message_id LIMIT 1"
    touched = f"""
        SELECT DISTINCT run.device_id, date_bin('1 day', coalesce(p.timestamp, first), 'epoch') AS lo,
               date_bin('1 day', coalesce(n.timestamp, last), 'epoch') + interval '1 day' AS hi
        FROM touched run
        LEFT JOIN LATERAL ({near} AND timestamp < first AND timestamp >= first - %(reach)s {earlier}) p ON true
        LEFT JOIN LATERAL ({near} AND timestamp > last AND timestamp <= last + %(reach)s {later}) n ON true
    """
    read = f"""
        ({near} AND timestamp < lo AND timestamp >= lo - %(reach)s {earlier})
        UNION ALL
        ({near} AND timestamp >= lo AND timestamp < hi)
        UNION ALL
        ({near} AND timestamp >= hi AND timestamp <= hi + %(reach)s {later})
    """
    number = f"floor(extract(epoch FROM r.timestamp) / {every.total_seconds():.0f})::bigint"
    parts = ", ".join([number, *(f"coalesce(r.{n}::text, '')" for n in same)])
    mark = f"concat_ws(chr(31), {parts})"
    return _query(name, columns, reach, touched, read, mark)


def days_of_many(name: str, table: str, columns: Mapping[str, pl.DataType], reach: timedelta) -> ContextQuery:
    """As `days`, for records that each tell of many things: those of a day and all within `reach` of it."""
    touched = """
        SELECT DISTINCT device_id, date_bin('1 day', first - %(reach)s, 'epoch') AS lo,
               date_bin('1 day', last + %(reach)s, 'epoch') + interval '1 day' AS hi FROM touched
    """
    read = f"""
        SELECT * FROM {bounded(table)} t WHERE device_id = run.device_id
        AND timestamp >= lo - %(reach)s AND timestamp <= hi + %(reach)s
    """
    return _query(name, columns, reach, touched, read, "r.message_id")


def _query(
    name: str, columns: Mapping[str, pl.DataType], reach: timedelta, touched: str, read: str, mark: str
) -> ContextQuery:
    texts = ("device_id", "trace_id", "span_id")
    names = ", ".join(f"r.{n}::text" if isinstance(t, pl.String) else f"r.{n}" for n, t in columns.items())
    return ContextQuery(
        name,
        f"""
        WITH touched AS (
            SELECT * FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
                          AS t (device_id, first, last)
        ), run AS ({touched}), marked AS (
            SELECT run.lo, run.hi, r.*, {mark} AS mark FROM run CROSS JOIN LATERAL ({read}) r
        ), edged AS (
            SELECT *, lag(mark) OVER w AS before, lead(mark) OVER w AS after FROM marked
            WINDOW w AS (PARTITION BY device_id, lo ORDER BY timestamp, message_id)
        )
        SELECT r.message_id::text, r.device_id, r.trace_id, r.span_id, {names}, r.timestamp, r.lo, r.hi FROM edged r
        WHERE before IS DISTINCT FROM mark OR after IS DISTINCT FROM mark
        """,
        _parameters(reach),
        pl.Schema({"message_id": pl.String(), **{n: pl.String() for n in texts}, **columns, **_WHERE}),
    )


def spans(read: pl.DataFrame) -> pl.DataFrame:
    """The days that were read, in SPAN_SCHEMA."""
    found = read.select("device_id", first="span_first", last="span_last").unique()
    return stretches.joined(found.match_to_schema(SPAN_SCHEMA), timedelta(0), timedelta(0))


def pieces(
    seen: pl.DataFrame, by: Sequence[str], key: str, reach: timedelta, quiet: timedelta, now: datetime
) -> pl.DataFrame:
    """`seen` (`by`, `timestamp`, `message_id`, `key`, ..), cut at midnights, as pieces of stretches of one `key` each.

    Groups of `by`, which begins with the device, are apart. A record lasts until the next one of its group, or no time
    where that comes later than `reach`. The last of all is open until it is `quiet` ago. Added are `start`, `until`
    (null: open), `stretch` (the same for the pieces of one stretch on one day), and `links` (it goes on from the piece
    before).
    """
    at, until, start = pl.col("timestamp"), pl.col("until"), pl.col("start")
    following = at.shift(-1).over(by)
    lasting = seen.sort(*by, "timestamp", "message_id").with_columns(
        pl.when(following - at <= reach)
        .then(following)
        .when(following.is_null() & (at + quiet > now))
        .then(None)
        .otherwise(at)
        .alias("until"),
        (at.dt.truncate("1d") + _DAY).alias("midnight"),
    )
    cut = until > pl.col("midnight")
    parts = pl.concat(
        [
            lasting.with_columns(at.alias("start"), pl.when(cut).then("midnight").otherwise("until").alias("until")),
            lasting.filter(cut).with_columns(pl.col("midnight").alias("start")),
        ]
    ).sort(*by, "start", "timestamp", "message_id")
    same = pl.all_horizontal(pl.col(n) == pl.col(n).shift(1) for n in by)
    links = (same & pl.col(key).eq_missing(pl.col(key).shift(1)) & (until.shift(1) == start)).fill_null(False)
    begins = links.not_() | (start.dt.truncate("1d") != start.shift(1).dt.truncate("1d"))
    return parts.drop("midnight").with_columns(links.alias("links"), begins.fill_null(True).cum_sum().alias("stretch"))


def stretch_of() -> list[pl.Expr]:
    """What a row has of its stretch, as aggregations of its `pieces` in order.

    `begun` and `last_at` are when it began and was last seen; the rest are columns of the table. A stretch's source is
    its first record, or, where it goes on from the day before, the last one there.
    """
    is_open = pl.col("until").is_null().any()
    ended = pl.when(~is_open).then(pl.col("until").max())
    return [
        pl.col("start").first().alias("begun"),
        pl.col("message_id").first().alias("source_message_id"),
        pl.col("trace_id", "span_id").first(),
        pl.col("timestamp").max().alias("last_at"),
        ended.alias("ended_at"),
        is_open.alias("is_open"),
        pl.col("links").first().alias("is_continued"),
        ((ended - pl.col("start").first()).dt.total_microseconds() * 1e-6).alias("duration_seconds"),
    ]


def timers(rows: pl.DataFrame, quiet: timedelta) -> pl.DataFrame:
    """A timer (TIMER_SCHEMA) for each open stretch of `rows` (`device_id`, `begun`, `last_at`, `is_open`)."""
    key = pl.format("{}{}", pl.lit(OPEN), pl.col("begun").dt.epoch("us")).alias("key")
    return (
        rows.filter("is_open")
        .group_by("device_id", key, maintain_order=True)
        .agg((pl.col("last_at").max() + quiet).alias("due_at"))
        .match_to_schema(TIMER_SCHEMA)
    )


def identified(rows: pl.DataFrame, namespace: UUID, topic: Topic, at: str = "begun") -> pl.DataFrame:
    """`rows` with `timestamp` and an id over the device and all that the row says, as columns of `topic`'s table."""
    rows = rows.drop("timestamp", strict=False).rename({at: "timestamp"})
    said = [c.name for c in topic.table.columns if c.name in rows.columns and c.name not in ("trace_id", "span_id")]
    parts = (pl.col(n).dt.epoch("us") if rows.schema[n] == UTC_MICROS else pl.col(n) for n in said)
    return with_ids(rows, namespace, *parts).select("message_id", "trace_id", "span_id", *said)


def within(rows: pl.DataFrame, answered: pl.DataFrame) -> pl.DataFrame:
    """The `rows` (`device_id`, `begun`) of stretches that begin in one of the `answered` (SPAN_SCHEMA)."""
    return stretches.within(rows.with_columns(timestamp="begun"), answered)


def _parameters(reach: timedelta) -> Callable[[pl.DataFrame, pl.DataFrame], Mapping[str, object] | None]:
    def parameters(batch: pl.DataFrame, due: pl.DataFrame) -> Mapping[str, object] | None:
        timed = due.filter(pl.col("key").str.starts_with(OPEN)).select(
            "device_id", timestamp=pl.col("key").str.strip_prefix(OPEN).cast(pl.Int64).cast(UTC_MICROS)
        )
        touched = (
            pl.concat([batch.select("device_id", "timestamp"), timed])
            .group_by("device_id", pl.col("timestamp").dt.truncate("1d").alias("day"))
            .agg(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
            .sort("device_id", "first")
        )
        given = stretches.parameters(touched)
        if given is None:
            return None
        # A touched day may be that of a record within reach, and what is read of it begins within reach of that day.
        far = 2 * reach + _DAY
        return {**given, "reach": reach, **bounds([*touched["first"], *touched["last"]], far, far)}

    return parameters
