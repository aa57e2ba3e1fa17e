"""Small stages over topics of the tests' own, with answers that can be worked out by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from pydantic import Field

from loom_contracts.ddl import create_table
from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import JsonObject
from loom_contracts.topic import Topic
from loom_models.errors import PoisonError
from loom_models.ids import namespace_of, with_ids
from loom_models.landing import landing_stage
from loom_models.stage import BatchPolicy, Context, ContextQuery, Output, Stage

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


class Number(Message):
    n: int = Field(ge=-10_000_000, le=10_000_000)
    note: str | None = None


class Answer(DerivedMessage):
    value: int
    note: str | None = None
    extra: JsonObject | None = None


NUMBERS = Topic("test.number.raw", Number, "Numbers.", {})
ANSWERS = Topic("test.number.answered", Answer, "Answers.", {}, scope=("timestamp", "source_message_id"))
LANDING = landing_stage(NUMBERS)
TABLES = f"{create_table(NUMBERS)}\n{create_table(ANSWERS)}"

Transform = Callable[[pl.DataFrame, Context], Output]


def number(seconds: float, n: int = 0, device: str = "phone-001", **changes: object) -> Number:
    """A number sensed `seconds` after yesterday noon (UTC)."""
    return Number.model_validate(
        {"device_id": device, "timestamp": NOON + timedelta(seconds=seconds), "n": n} | changes
    )


def answers(frame: pl.DataFrame, context: Context, stage: str, *over: pl.Expr) -> pl.DataFrame:
    """Rows of ANSWERS from rows with `message_id`, `device_id`, `timestamp`, `value`; identities over `over`."""
    rows = frame.select(
        "timestamp",
        "device_id",
        pl.lit(None, pl.String).alias("trace_id"),
        pl.lit(None, pl.String).alias("span_id"),
        pl.col("message_id").alias("source_message_id"),
        pl.col("value").cast(pl.Int64),
        (pl.col("note") if "note" in frame.columns else pl.lit(None, pl.String)).alias("note"),
        (pl.col("extra") if "extra" in frame.columns else pl.lit(None, pl.String)).alias("extra"),
    )
    return with_ids(rows, namespace_of(stage, context.version), *(over or (pl.col("source_message_id"),)))


def stage(name: str, transform: Transform, version: str = "1", **changes: Any) -> Stage:
    policy = BatchPolicy(max_rows=10_000, max_wait=timedelta(milliseconds=10))
    return Stage(name, NUMBERS, (ANSWERS,), version, transform, **{"policy": policy, **changes})


def twice(name: str = "twice", version: str = "1", **changes: Any) -> Stage:
    """value = 2 n; one row a record."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        rows = batch.with_columns((pl.col("n") * 2).alias("value"))
        return Output({ANSWERS: answers(rows, context, name)})

    return stage(name, transform, version, **changes)


_NUMBER = pl.Schema(
    {"message_id": pl.String(), "device_id": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "n": pl.Int64()}
)
_EARLIER = ContextQuery(
    "numbers",
    "SELECT message_id::text, device_id, timestamp, n FROM test_number_raw WHERE device_id = ANY(%(devices)s)",
    lambda batch, due: {"devices": batch["device_id"].unique().to_list()} if batch.height else None,
    pl.Schema(
        {"message_id": pl.String(), "device_id": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "n": pl.Int64()}
    ),
)


def running_total(name: str = "total", version: str = "1", start: int = 0, **changes: Any) -> Stage:
    """value = the sum of the device's numbers up to this one, by event time: a late number changes later answers."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        first = batch.group_by("device_id").agg(pl.col("timestamp").min().alias("first"))
        totals = context.frames["numbers"].sort("device_id", "timestamp", "message_id")
        totals = totals.with_columns((pl.col("n").cum_sum() + start).over("device_id").alias("value"))
        if not context.live:
            rows = totals.join(batch.select("message_id"), on="message_id", how="semi")
        else:
            rows = totals.join(first, on="device_id").filter(pl.col("timestamp") >= pl.col("first"))
        return Output({ANSWERS: answers(rows, context, name, pl.col("source_message_id"), pl.col("value"))})

    return stage(name, transform, version, context=(_EARLIER,), **changes)


def counting(name: str = "count", **changes: Any) -> Stage:
    """value = how many records of the device came before, kept as state."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        counts = {device: int(kept) for device, kept in context.state.items()}
        values = []
        for device in batch["device_id"]:
            values.append(counts.get(device, 0))
            counts[device] = values[-1] + 1
        rows = batch.with_columns(pl.Series("value", values))
        state = {device: str(count).encode() for device, count in counts.items()}
        return Output({ANSWERS: answers(rows, context, name)}, state=state)

    return stage(name, transform, keyed_state=True, **changes)


def delayed(name: str = "delayed", **changes: Any) -> Stage:
    """Answers each record `n` milliseconds after it was seen, by a timer whose key is the record's identity."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        timers = batch.select(
            "device_id",
            pl.col("message_id").alias("key"),
            (pl.lit(context.now) + pl.duration(milliseconds=pl.col("n")))
            .cast(pl.Datetime("us", "UTC"))
            .alias("due_at"),
        )
        rows = context.due.select(
            pl.lit(NOON).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
            "device_id",
            pl.col("key").alias("message_id"),
            pl.lit(1).alias("value"),
        )
        return Output({ANSWERS: answers(rows, context, name)} if rows.height else {}, timers=timers)

    return stage(name, transform, **changes)


def breaking_on(n: int, error: Exception | None = None, name: str = "broken") -> Stage:
    """value = n; raises where a batch has `n`."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        if (batch["n"] == n).any():
            raise error or PoisonError("this one")
        return Output({ANSWERS: answers(batch.with_columns(pl.col("n").alias("value")), context, name)})

    return stage(name, transform)
