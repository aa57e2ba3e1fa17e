"""How large the batches of a run are: by rows, by bytes, by the time that they take."""

import time
from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest

from loom_models.stage import BatchPolicy, Context, Output
from tests.stream.bench import Bench
from tests.stream.stages import NUMBERS, number, stage

pytestmark = pytest.mark.integration


def sizes(bench: Bench, seconds: float, policy: BatchPolicy, **changes: Any) -> list[int]:
    heights: list[int] = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        heights.append(batch.height)
        time.sleep(seconds)
        return Output({})

    sized = stage("sized", transform, policy=policy)
    bench.prepare(sized)
    bench.send(NUMBERS, *(number(n, n) for n in range(4_000)))
    bench.drain(sized, **changes)
    assert sum(heights) == 4_000
    return heights


def test_batches_grow_while_they_are_quick_and_end_at_the_stages_limit(bench: Bench) -> None:
    heights = sizes(bench, 0, BatchPolicy(max_rows=1_500, max_wait=timedelta(milliseconds=500)))
    assert heights[0] <= 1_000
    assert max(heights) == 1_500


def test_batches_shrink_when_one_takes_too_long(bench: Bench) -> None:
    policy = BatchPolicy(max_rows=2_000, max_wait=timedelta(milliseconds=500))
    heights = sizes(bench, 0.05, policy, batch_target=timedelta(milliseconds=20))
    assert heights[0] == 1_000
    # but no smaller than is of use: here it is not the number of rows that takes the time
    assert min(heights[:-1]) == 20


def test_a_batch_ends_at_its_bytes(bench: Bench) -> None:
    heights: list[int] = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        heights.append(batch.height)
        return Output({})

    sized = stage("sized", transform, policy=BatchPolicy(max_bytes=1_000_000, max_wait=timedelta(milliseconds=500)))
    bench.prepare(sized)
    bench.send(NUMBERS, *(number(n, n, note="x" * 100_000) for n in range(60)))
    bench.send(NUMBERS, number(100, note="x" * 3_000_000))  # larger than a batch: it comes alone
    bench.drain(sized)
    assert sum(heights) == 61
    assert max(heights) <= 25


def test_a_batch_that_is_too_much_for_the_server_is_made_smaller(bench: Bench) -> None:
    """As when a time limit of the server ends the statement: at the same size it would fail for ever."""
    heights: list[int] = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        heights.append(batch.height)
        if batch.height > 50:
            raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
        return Output({})

    heavy = stage("heavy", transform)
    bench.prepare(heavy)
    bench.send(NUMBERS, *(number(n, n) for n in range(100)))
    bench.drain(heavy)
    assert max(heights) > 50
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(0,)]
