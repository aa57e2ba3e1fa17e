"""A day again: the same answers keep their rows, changed ones take their place, also beside a live run."""

import threading
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from loom_models.stage import BatchPolicy, Context, Output, Stage
from loom_platform.stream.api import StageReport, StageSummary, recompute
from tests.stream.bench import Bench, eventually
from tests.stream.stages import (
    ANSWERS,
    LANDING,
    NOON,
    NUMBERS,
    answers,
    breaking_on,
    counting,
    number,
    running_total,
    stage,
    twice,
)

pytestmark = pytest.mark.integration

DAY = NOON.date()
EVERYTHING = "SELECT * FROM test_number_answered ORDER BY timestamp, device_id, message_id"
CURRENT = "SELECT value FROM test_number_answered WHERE superseded_at IS NULL AND stage_version = %s ORDER BY timestamp"


def again(bench: Bench, stage: Stage, days: int = 0, stop: threading.Event | None = None) -> StageSummary:
    reports: list[StageReport] = []
    summary = recompute(
        stage,
        DAY - timedelta(days=days),
        DAY,
        bench.config,
        on_report=reports.append,
        stop=stop or threading.Event(),
    )
    assert sum(r.rows for r in reports) == summary.rows
    bench.reports.extend(reports)
    return summary


def current(bench: Bench, version: str = "1") -> list[int]:
    return [value for (value,) in bench.rows(CURRENT, version)]


def test_the_same_transform_changes_nothing(bench: Bench) -> None:
    stages = (twice(), running_total(), counting())
    bench.prepare(LANDING, *stages)
    bench.send(NUMBERS, *(number(n, n, f"phone-{n % 3}") for n in range(100)))
    bench.drain(LANDING, *stages)
    before = bench.rows(EVERYTHING)
    assert len(before) == 300
    for each in stages:
        assert again(bench, each).records == 100
    assert bench.rows(EVERYTHING) == before


def test_a_new_version_writes_beside_the_old_one(bench: Bench) -> None:
    bench.prepare(LANDING, running_total())
    bench.send(NUMBERS, *(number(n, 1) for n in range(5)))
    bench.drain(LANDING, running_total())
    before = bench.rows(EVERYTHING)

    again(bench, running_total(version="2", start=100))

    assert current(bench, "1") == [1, 2, 3, 4, 5]
    assert current(bench, "2") == [101, 102, 103, 104, 105]
    assert [r for r in bench.rows(EVERYTHING) if r in before] == before
    assert bench.rows("SELECT version FROM stage_versions WHERE stage = 'total' ORDER BY 1") == [("1",), ("2",)]
    assert bench.rows("SELECT version FROM stage_promotions WHERE stage = 'total'") == [("1",)]


def test_answers_that_have_changed_supersede_the_old_and_can_come_back(bench: Bench) -> None:
    bench.prepare(LANDING, running_total())
    bench.send(NUMBERS, *(number(n, 1) for n in range(4)))
    bench.drain(LANDING, running_total())

    again(bench, running_total(start=10))  # the same version, so the same scope: what it says now counts
    assert current(bench) == [11, 12, 13, 14]
    again(bench, running_total())
    assert current(bench) == [1, 2, 3, 4]
    assert bench.rows("SELECT count(*) FROM test_number_answered") == [(8,)]


def test_rows_that_are_no_answer_any_more_are_superseded(bench: Bench) -> None:
    wide = only_above(0)
    bench.prepare(LANDING, wide)
    bench.send(NUMBERS, *(number(n, n) for n in range(10)), number(-86_400, 3))
    bench.drain(LANDING, wide)
    again(bench, only_above(5))
    assert current(bench) == [3, 5, 6, 7, 8, 9], "the day before is another day"
    bench.execute("DELETE FROM test_number_raw WHERE n = 9")
    again(bench, only_above(5), days=1)
    assert current(bench) == [5, 6, 7, 8]


def only_above(limit: int) -> Stage:
    def transform(batch: pl.DataFrame, context: Context) -> Output:
        rows = batch.filter(pl.col("n") >= limit).with_columns(pl.col("n").alias("value"))
        return Output({ANSWERS: answers(rows, context, "above")})

    return stage("above", transform)


def test_a_poisoned_record_is_left_out_as_it_is_live(bench: Bench) -> None:
    broken = breaking_on(13)
    bench.prepare(LANDING, broken)
    bench.send(NUMBERS, *(number(n, n) for n in range(10, 16)))
    bench.drain(LANDING, broken)
    summary = again(bench, broken)
    assert summary.dead_letters == 1
    assert current(bench) == [10, 11, 12, 14, 15]


def test_a_row_that_the_database_refuses_is_left_out_and_the_state_goes_on(bench: Bench) -> None:
    count = counting()

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        out = count.transform(batch, context)
        bad = pl.when(pl.col("value") == 4).then(pl.lit("a\x00b")).otherwise(pl.col("note"))
        return Output({ANSWERS: out.rows[ANSWERS].with_columns(bad.alias("note"))}, state=out.state)

    refused = stage("count", transform, keyed_state=True)
    bench.prepare(LANDING, refused)
    bench.send(NUMBERS, *(number(n, n) for n in range(9)))
    bench.drain(LANDING)
    summary = again(bench, refused)
    assert (summary.records, summary.dead_letters) == (9, 5)
    assert current(bench) == [0, 1, 2, 3], "a record that is refused leaves no state: the next one is the fifth again"


def test_memory_is_bounded_by_slices_in_order_of_device_and_time(bench: Bench) -> None:
    seen: list[tuple[int, list[tuple[str, Any]]]] = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        assert not context.live
        seen.append((batch.height, list(batch.select("device_id", "timestamp").iter_rows())))
        return Output({})

    sliced = stage("sliced", transform, policy=BatchPolicy(max_rows=40))
    bench.prepare(LANDING, sliced)
    bench.send(NUMBERS, *(number(n * 7 % 101, n, f"phone-{n % 3}") for n in range(150)))
    bench.drain(LANDING)
    summary = again(bench, sliced)
    assert summary.records == 150
    assert [height for height, _ in seen] == [40, 10] * 3
    rows = [row for _, slice_ in seen for row in slice_]
    assert rows == sorted(rows)


def test_a_stop_leaves_the_day_as_it_was(bench: Bench) -> None:
    stop = threading.Event()

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        stop.set()
        return Output({})

    bench.prepare(LANDING, twice())
    bench.send(NUMBERS, *(number(n, n) for n in range(20)))
    bench.drain(LANDING, twice())
    stopped = again(bench, stage("twice", transform, policy=BatchPolicy(max_rows=5)), stop=stop)
    assert stopped.records == 5
    assert current(bench) == [2 * n for n in range(20)], "a day that is not finished supersedes nothing"


def test_landing_again_restores_what_was_deleted(bench: Bench) -> None:
    bench.prepare(LANDING, partitions=2)
    numbers = [number(n, n, f"phone-{n}") for n in range(30)]
    bench.send(NUMBERS, *numbers, b"poison", number(-86_400, 99))
    bench.drain(LANDING)
    everything = (
        "SELECT timestamp, message_id, n, kafka_partition, kafka_offset, received_at FROM test_number_raw ORDER BY 1"
    )
    before = bench.rows(everything)
    bench.execute("DELETE FROM test_number_raw WHERE n >= 10")

    again(bench, LANDING)
    assert bench.rows(everything) == before[1:], "only the day that was asked for"
    again(bench, LANDING, days=1)
    assert bench.rows(everything) == before
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(1,)]


def test_live_and_recompute_at_once_end_with_the_newest_answer(bench: Bench) -> None:
    """Late records keep changing the answers while the day is computed again and again."""
    total = running_total(policy=BatchPolicy(max_rows=25))
    bench.prepare(LANDING, total)
    order = [n * 37 % 100 for n in range(100)]
    failed: list[BaseException] = []
    done = threading.Event()

    def keep_on() -> None:
        try:
            while not done.is_set():
                again(bench, total)
        except BaseException as error:
            failed.append(error)

    beside = threading.Thread(target=keep_on)
    with bench.start(LANDING, total, idle_timeout=timedelta(seconds=30)):
        beside.start()
        try:
            for first in range(0, 100, 10):
                bench.send(NUMBERS, *(number(n, 2**n % 1_000) for n in order[first : first + 10]))
                eventually(lambda: bench.done(total))
        finally:
            done.set()
            beside.join(30)
    assert failed == []
    sums = [sum(2**n % 1_000 for n in range(last + 1)) for last in range(100)]
    assert current(bench) == sums
    again(bench, total)
    assert current(bench) == sums
