"""Answers that stretch over time, such as visits: late records join, split and end them, and a recompute agrees."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_models.stage import Context, ContextQuery, Output, Stage
from loom_platform.stream.api import recompute
from tests.stream.bench import Bench
from tests.stream.conftest import empty
from tests.stream.stages import ANSWERS, LANDING, NOON, NUMBERS, Answer, answers, number, stage

pytestmark = pytest.mark.integration

GAP = timedelta(seconds=60)
"""A session ends where no number comes for so long; a number below nought belongs to none."""

_SCHEMA = pl.Schema(
    {"message_id": pl.String(), "device_id": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "n": pl.Int64()}
)
NEARBY = ContextQuery(
    "numbers",
    "SELECT message_id::text, device_id, timestamp, n FROM test_number_raw WHERE device_id = ANY(%(devices)s)",
    lambda batch, due: {"devices": batch["device_id"].unique().to_list()} if batch.height else None,
    _SCHEMA,
)


def sessions(version: str = "1") -> Stage:
    """One row for each session, at its first number; value = how many numbers. Answers the whole of a device anew."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        numbers = context.frames["numbers"].sort("device_id", "timestamp", "message_id")
        # What is below nought ends the session before it, and is in none itself.
        ends = (pl.col("timestamp").diff() > GAP) | (pl.col("n") < 0) | (pl.col("n").shift(1) < 0)
        grouped = (
            numbers.with_columns(ends.fill_null(True).cum_sum().over("device_id").alias("session"))
            .filter(pl.col("n") >= 0)
            .group_by("device_id", "session", maintain_order=True)
            .agg(
                pl.col("timestamp").first(),
                pl.col("message_id").first(),
                pl.col("message_id").str.join("").alias("note"),
                pl.len().alias("value"),
            )
        )
        spans = numbers.group_by("device_id").agg(
            pl.col("timestamp").min().alias("first"), (pl.col("timestamp").max() + GAP).alias("last")
        )
        return Output({ANSWERS: answers(grouped, context, "sessions", pl.col("note"))}, spans={ANSWERS: spans})

    def answers_of(batch: pl.DataFrame, context: Context, /) -> Output:
        return transform(batch, context)

    return stage("sessions", answers_of, version, context=(NEARBY,))


def standing(bench: Bench, version: str = "1") -> list[tuple[int, int]]:
    """(second of its start, how many numbers) of each session."""
    found = bench.rows(
        "SELECT timestamp, value FROM test_number_answered WHERE superseded_at IS NULL "
        f"AND stage_version = '{version}' ORDER BY timestamp"
    )
    return [(int((timestamp - NOON).total_seconds()), value) for timestamp, value in found]


def send(bench: Bench, *numbers: tuple[int, int]) -> None:
    bench.send(NUMBERS, *(number(at, n) for at, n in numbers))
    bench.drain(LANDING, sessions())


def test_a_late_record_joins_two_answers_into_one(bench: Bench) -> None:
    bench.prepare(LANDING, sessions())
    send(bench, (0, 1), (30, 1), (120, 1), (150, 1))
    assert standing(bench) == [(0, 2), (120, 2)]
    send(bench, (75, 1))
    assert standing(bench) == [(0, 5)]
    assert bench.rows("SELECT count(*) FROM test_number_answered WHERE superseded_at IS NOT NULL") == [(2,)]


def test_a_late_record_splits_an_answer_and_can_leave_none(bench: Bench) -> None:
    bench.prepare(LANDING, sessions())
    send(bench, (0, 1), (50, 1), (100, 1))
    assert standing(bench) == [(0, 3)]
    send(bench, (60, -1))
    assert standing(bench) == [(0, 2), (100, 1)]


def test_an_answer_that_goes_without_another_is_superseded(bench: Bench) -> None:
    """Here a session whose only record is gone."""
    bench.prepare(LANDING, sessions())
    send(bench, (0, 1), (200, 1))
    bench.execute("DELETE FROM test_number_raw WHERE timestamp = (SELECT min(timestamp) FROM test_number_raw)")
    send(bench, (230, -1))
    # The first lies before what was answered now, so it is the recompute of its day that takes it away.
    assert standing(bench) == [(0, 1), (200, 1)]
    again(bench)
    assert standing(bench) == [(200, 1)]


def test_an_answer_that_stands_is_not_sent_again(bench: Bench) -> None:
    bench.prepare(LANDING, sessions())
    send(bench, (0, 1))
    send(bench, (300, 1))
    send(bench, (600, 1))
    sent = [Answer.model_validate_json(v) for v in bench.topic_values(ANSWERS)]
    assert sorted((m.timestamp - NOON).total_seconds() for m in sent) == [0, 300, 600]


def test_only_the_same_device_and_version_are_settled(bench: Bench) -> None:
    bench.prepare(LANDING, sessions())
    bench.send(NUMBERS, number(0, 1, "phone-001"), number(10, 1, "phone-002"))
    bench.drain(LANDING, sessions())
    recompute(sessions("2"), NOON.date(), NOON.date(), bench.config, on_report=lambda _: None, stop=threading.Event())
    bench.send(NUMBERS, number(5, -1, "phone-001"), number(300, 1, "phone-001"))
    bench.drain(LANDING, sessions())
    query = (
        "SELECT device_id, stage_version, count(*) FROM test_number_answered WHERE superseded_at IS NULL GROUP BY 1, 2"
    )
    assert sorted(bench.rows(query)) == [
        ("phone-001", "1", 2),
        ("phone-001", "2", 1),
        ("phone-002", "1", 1),
        ("phone-002", "2", 1),
    ]


def again(bench: Bench) -> None:
    day = NOON.date()
    recompute(sessions(), day, day, bench.config, on_report=lambda _: None, stop=threading.Event(), anew=True)


records = st.lists(
    st.tuples(st.integers(0, 600), st.sampled_from((1, 1, 1, -1))), min_size=1, max_size=14, unique_by=lambda r: r[0]
)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(records, st.data())
def test_any_order_and_any_batches_give_the_answers_of_one_batch(
    bench: Bench, numbers: list[tuple[int, int]], data: st.DataObject
) -> None:
    bench = replace(bench, config=replace(bench.config, topic_prefix=f"{bench.config.topic_prefix}.{uuid4().hex[:6]}"))
    empty(bench.owner_url)
    bench.prepare(LANDING, sessions())
    shuffled: Sequence[tuple[int, int]] = data.draw(st.permutations(numbers))
    cut = data.draw(st.integers(0, len(numbers)))
    for part in (shuffled[:cut], shuffled[cut:]):
        if part:
            send(bench, *part)
    live = standing(bench)
    again(bench)
    assert standing(bench) == live == in_one(numbers)


def in_one(numbers: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The sessions, worked out plainly."""
    found: list[tuple[int, int]] = []
    last: int | None = None
    for at, n in sorted(numbers):
        if n < 0:
            last = None
            continue
        if last is None or at - last > GAP.total_seconds():
            found.append((at, 1))
        else:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        last = at
    return found
