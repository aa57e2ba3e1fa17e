"""Which application is in front: sessions, and the session of each event, from the events of a device.

An application comes to the front by `launch` or `foreground`. It leaves it by its own `background`, `terminate` or
`crash`, when another one comes, when the screen goes off or the device is locked. The end of an application that is
not in front changes nothing, as systems often tell of it after the next one's beginning.

Ends get lost. Where the next thing that is heard is another application (or the same once more) after more than
TIMEOUT, or an end after more than LONGEST, or the screen coming on, nobody knows when the end was: the session ends by
`timeout`, at the last sign of it. So does one that nothing is heard of for TIMEOUT. Where only an end was seen and it
says how long the application had been in front, that is a session too, begun no earlier than the event before it and
than midnight (UTC), so that the answers of a day come of events of that day.

All is a function of the events in order of (time, kind, id), so batches and their order do not show. What comes at one
moment is taken in the order of ends, screen off, beginnings, screen on.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from loom_models.frames import UTC_MICROS
from loom_models.ids import namespace_of, with_ids

TIMEOUT: Final = timedelta(hours=2)
"""So long an application is believed to be in front when nothing is heard."""
LONGEST: Final = timedelta(hours=12)
"""An end that comes later belongs to no beginning."""
SCREEN_ON_GRACE: Final = timedelta(seconds=10)
"""A screen that comes on so soon after something else does not tell of an end that was lost."""

END, OFF, START, ON = range(4)
"""Ranks of events: their order at one moment."""
MOMENT_SCHEMA: Final = pl.Schema(
    {
        "device_id": pl.String(),
        "timestamp": UTC_MICROS,
        "message_id": pl.String(),
        "trace_id": pl.String(),
        "span_id": pl.String(),
        "kind": pl.String(),
        "rank": pl.Int32(),
        "app_identifier": pl.String(),
        "app_name": pl.String(),
        "told_seconds": pl.Float64(),
    }
)
"""Events of applications and of the screen; `told_seconds` is how long an event says that what ended has lasted."""

_IDENTITY: Final = namespace_of("app-session", "")
_KEY: Final = ("timestamp", "message_id")
_SOURCE: Final = ("message_id", "trace_id", "span_id")


class Found(NamedTuple):
    """What `find` gives.

    `sessions` has a row for each: what its table has but for the category and the row's id, and `last_sign`. `events`
    are those of applications, with `session_id`, `session_started_at` and `previous_app_identifier`.
    """

    sessions: pl.DataFrame
    events: pl.DataFrame


def find(moments: pl.DataFrame, now: datetime) -> Found:
    """The sessions that `moments` (MOMENT_SCHEMA, any order) tell of, and the session of each event of an application.

    A session that nothing has ended is open until `now` is TIMEOUT after the last sign of it.
    """
    ordered = _ordered(moments)
    heads = _heads(ordered, now)
    only_ends = _only_ends(ordered)
    known = only_ends.select(
        "device_id",
        pl.col("source_message_id").alias("message_id"),
        pl.col("session_id").alias("only_id"),
        pl.col("timestamp").alias("only_at"),
    )
    of_head = heads.select(
        "device_id", "head", "session_id", "previous_app_identifier", pl.col("first_timestamp").alias("began")
    )
    belongs = (pl.col("rank") == START) | pl.col("ends")
    events = (
        ordered.filter(pl.col("rank").is_in([START, END]))
        .join(of_head, on=["device_id", "head"], how="left")
        .join(known, on=["device_id", "message_id"], how="left")
        .with_columns(
            pl.when(belongs).then("session_id").otherwise("only_id").alias("session_id"),
            pl.when(belongs).then("began").otherwise("only_at").alias("session_started_at"),
            pl.when(belongs).then("previous_app_identifier"),
        )
    )
    return Found(pl.concat([_sessions(heads), only_ends]), events)


def seconds_of(micros: pl.Expr) -> pl.Expr:
    """Whole microseconds as seconds: the nearest number to the decimal, in a frame of any size."""
    return (micros * 1e-6).round(6)


def _ordered(moments: pl.DataFrame) -> pl.DataFrame:
    """The moments in order. `head` numbers the stretches that begin with an application's start or with the screen.

    Of its stretch each moment has `front` and `since`: who came to the front then, and when. `ends`: it is the end of
    that one. `live`: that one was still in front just before. `before` is the time of the moment before.
    """
    at, rank = pl.col("timestamp"), pl.col("rank")
    same = pl.col("app_identifier") == pl.col("front")
    ordered = (
        moments.unique(_KEY, keep="first")
        .sort("device_id", "timestamp", "rank", "message_id")
        .with_columns(at.shift(1).over("device_id").alias("before"))
        .with_columns(
            (
                rank.is_in([OFF, START]) | ((rank == ON) & ((at - pl.col("before")) > SCREEN_ON_GRACE).fill_null(True))
            ).alias("is_head")
        )
        .with_columns(pl.col("is_head").cum_sum().over("device_id").alias("head"))
        .with_columns(
            pl.when("is_head").then("app_identifier").first().over("device_id", "head").alias("front"),
            pl.when("is_head").then(at).first().over("device_id", "head").alias("since"),
        )
        .with_columns(
            ((rank == END) & same & (at - pl.col("since") <= LONGEST)).fill_null(False).alias("own"),
        )
    )
    earlier = pl.col("own").cum_sum().over("device_id", "head") - pl.col("own").cast(pl.UInt32)
    return ordered.with_columns(
        (pl.col("own") & (earlier == 0)).alias("ends"),
        (pl.col("front").is_not_null() & (earlier == 0) & (at - pl.col("since") <= LONGEST)).alias("live"),
    ).drop("own")


def _heads(ordered: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Each beginning, with its session's own beginning (`first_*`) and with how its time in front ended (`end_*`)."""
    at, gap = pl.col("timestamp"), pl.col("next_timestamp") - pl.col("timestamp")
    ends = ordered.filter("ends").select("device_id", "head", pl.col("timestamp", "kind", *_SOURCE).name.prefix("own_"))
    following = ("timestamp", "rank", "kind", *_SOURCE)
    own = pl.col("own_timestamp").is_not_null()
    off = (pl.col("next_rank") == OFF) & (gap <= LONGEST)
    other = (pl.col("next_rank") == START) & (gap <= TIMEOUT)
    lost = pl.col("next_timestamp").is_not_null() | (at + TIMEOUT <= pl.lit(now, UTC_MICROS))

    def end(name: str) -> pl.Expr:
        return pl.coalesce(f"own_{name}", pl.when(off | other).then(f"next_{name}"), pl.when(lost).then(name))

    return (
        ordered.filter("is_head")
        .join(ends, on=["device_id", "head"], how="left", maintain_order="left")
        .with_columns(
            *(pl.col(n).shift(-1).over("device_id").alias(f"next_{n}") for n in following),
            pl.when(at.diff() <= LONGEST)
            .then(pl.col("app_identifier").shift(1))
            .over("device_id")
            .alias("previous_app_identifier"),
            # the same application once more, not ended and not long ago: that is one session
            (
                (pl.col("app_identifier") == pl.col("app_identifier").shift(1))
                & pl.col("own_timestamp").shift(1).is_null()
                & (at.diff() <= TIMEOUT)
            )
            .over("device_id")
            .fill_null(False)
            .alias("goes_on"),
        )
        .with_columns(
            (~pl.col("goes_on")).cum_sum().over("device_id").alias("session"),
            *(end(name).alias(f"end_{name}") for name in ("timestamp", *_SOURCE)),
            pl.when(own)
            .then("own_kind")
            .when(off)
            .then("next_kind")
            .when(other)
            .then(pl.lit("other_app"))
            .when(lost)
            .then(pl.lit("timeout"))
            .alias("ended_by"),
        )
        .filter(pl.col("app_identifier").is_not_null())
        .with_columns(
            pl.col("timestamp", "kind", *_SOURCE).first().over("device_id", "session").name.prefix("first_"),
            pl.col("previous_app_identifier").first().over("device_id", "session"),
            pl.col("app_name").drop_nulls().first().over("device_id", "session"),
        )
        .pipe(_with_session_ids, pl.col("first_message_id"))
    )


def _sessions(heads: pl.DataFrame) -> pl.DataFrame:
    """A row for each session: its end is that of its last beginning."""
    is_open = pl.col("end_timestamp").is_null()
    # An open session is of its beginning, so that it stays the same row however often it is told of. So is one that the
    # screen has ended: a row's source is of its stage's own source.
    of_first = is_open | pl.col("ended_by").is_in(["screen_off", "device_lock", "screen_on"])
    return (
        heads.group_by("device_id", "session", maintain_order=True)
        .last()
        .select(
            "device_id",
            pl.col("first_timestamp").alias("timestamp"),
            "session_id",
            "app_identifier",
            "app_name",
            pl.col("first_kind").alias("started_by"),
            is_open.alias("is_open"),
            pl.col("end_timestamp").alias("ended_at"),
            "ended_by",
            pl.col("timestamp").alias("last_sign"),
            pl.when(of_first).then("first_message_id").otherwise("end_message_id").alias("source_message_id"),
            *(pl.when(of_first).then(f"first_{n}").otherwise(f"end_{n}").alias(n) for n in ("trace_id", "span_id")),
        )
    )


def _only_ends(ordered: pl.DataFrame) -> pl.DataFrame:
    """A row for each session of which only the end was seen."""
    at = pl.col("timestamp")
    told = pl.col("told_seconds")
    began = pl.max_horizontal(at - pl.duration(microseconds=told * 1e6), pl.col("before"), at.dt.truncate("1d"))
    return (
        ordered.filter(
            (pl.col("rank") == END) & ~pl.col("ends") & ~pl.col("live") & told.is_between(0, LONGEST.total_seconds())
        )
        .with_columns(began.alias("began"))
        .filter(pl.col("began") < at)
        .pipe(_with_session_ids, pl.col("message_id"))
        .select(
            "device_id",
            pl.col("began").alias("timestamp"),
            "session_id",
            "app_identifier",
            "app_name",
            pl.lit("duration").alias("started_by"),
            pl.lit(False).alias("is_open"),
            at.alias("ended_at"),
            pl.col("kind").alias("ended_by"),
            at.alias("last_sign"),
            pl.col("message_id").alias("source_message_id"),
            "trace_id",
            "span_id",
        )
    )


def _with_session_ids(frame: pl.DataFrame, first: pl.Expr) -> pl.DataFrame:
    return with_ids(frame, _IDENTITY, pl.col("device_id"), first, into="session_id")
