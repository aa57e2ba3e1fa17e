"""A stage that buries too much pauses itself before it does, and goes on from there when it is resumed."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import psycopg
import pytest

from loom_models.errors import PoisonError
from loom_models.stage import Context, Output, Stage
from loom_platform.stream import pauses
from loom_platform.stream.api import backlog, wait_for_backlog
from loom_platform.stream.pauses import LEAST, WINDOW, Threshold, TooManyDeadLettersError
from tests.stream.bench import Bench, eventually
from tests.stream.stages import LANDING, NUMBERS, number, twice


def refusing(stage: Stage, above: int) -> Stage:
    """`stage` with a fault: it refuses every n from `above` on."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        good = batch.filter(pl.col("n") < above)
        bad = batch.filter(pl.col("n") >= above)["message_id"]
        rows = stage.transform(good, context).rows if good.height else {}
        return Output(rows, poison=dict.fromkeys(bad, "too large"))

    return replace(stage, transform=transform)


def letters(count: int) -> dict[int, tuple[str, str]]:
    return dict.fromkeys(range(count), ("poison", "no"))


@pytest.mark.parametrize(
    ("batches", "raises"),
    [
        ([(1, 1)] * (LEAST - 1), False),
        ([(1, 1)] * LEAST, True),
        ([(WINDOW, LEAST - 1)], False),
        ([(100_000, 900)], False),
        ([(100_000, 1_100)], True),
        # Letters of long ago are not held against it.
        ([(40, 40), *[(WINDOW, 0)] * 2, (40, 40)], False),
        ([(40, 40), (40, 40)], True),
    ],
)
def test_the_threshold(batches: list[tuple[int, int]], raises: bool) -> None:
    threshold = Threshold(LANDING)

    def go() -> None:
        for records, bad in batches:
            threshold.check(records, letters(bad))
            threshold.add(records, bad)

    if raises:
        with pytest.raises(TooManyDeadLettersError, match="more than 1% is not normal"):
            go()
    else:
        go()


@pytest.mark.integration
def test_a_broken_stage_pauses_itself_and_nothing_is_buried(bench: Bench) -> None:
    stage = twice()
    bench.prepare(LANDING, stage)
    bench.send(NUMBERS, *(number(n / 10, n) for n in range(400)))
    bench.run(LANDING, refusing(stage, 100))
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(0,)]
    assert bench.topic_values(stage.error_topic) == []
    assert bench.rows("SELECT count(*) FROM test_number_raw") == [(400,)]
    lag = backlog([stage], bench.config)[stage.name]
    assert lag.halted is not None
    assert "300 of 400 records could not be processed" in lag.halted
    assert f"loom stages resume {stage.name}" in lag.halted
    assert not lag.has_work
    assert wait_for_backlog([stage], bench.config, 0.0) == []
    # Resumed without being mended it stands still again, in the same place.
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        assert pauses.resume(connection, stage.name)
        assert not pauses.resume(connection, stage.name)
    bench.run(refusing(stage, 100))
    assert bench.offsets(stage) in ({}, {0: 0})
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        assert pauses.resume(connection, stage.name)
    bench.drain(stage)
    assert bench.rows(f"SELECT count(*), count(superseded_at) FROM {stage.sinks[0].table.name}") == [(400, 0)]


@pytest.mark.integration
def test_a_person_may_let_it_bury_what_it_likes(bench: Bench) -> None:
    stage = refusing(LANDING, 0)
    bench.prepare(stage)
    bench.send(NUMBERS, *(number(n / 10, n) for n in range(100)))
    bench.run(stage)
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        assert pauses.resume(connection, stage.name, timedelta(minutes=5))
    bench.drain(stage)
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(100,)]


@pytest.mark.integration
def test_a_running_stage_stands_still_when_a_person_wants_it(bench: Bench) -> None:
    other = twice()
    bench.prepare(LANDING, other)
    with bench.start(LANDING, other, lease_duration=timedelta(seconds=1)) as running:
        bench.send(NUMBERS, number(1, 1))
        eventually(lambda: bench.done(other))
        with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
            assert pauses.pause(connection, other.name, "person", "to look at it")
            assert not pauses.pause(connection, other.name, "stage", "another reason")
        eventually(lambda: not backlog([other], bench.config)[other.name].has_live_run)
        bench.send(NUMBERS, number(2, 2))
        eventually(lambda: bench.done(LANDING))
        assert running.alive()
        lag = backlog([other], bench.config)[other.name]
        assert (lag.messages, "to look at it" in str(lag.halted)) == (1, True)


@pytest.mark.integration
def test_poison_now_and_then_is_buried_and_nothing_pauses(bench: Bench) -> None:
    def some(batch: pl.DataFrame, context: Context) -> Output:
        if (batch["n"] == 13).any():
            raise PoisonError("13")
        return LANDING.transform(batch, context)

    bench.prepare(LANDING)
    bench.send(NUMBERS, *(number(n / 100, 13 if n % 300 == 0 else 1) for n in range(3_000)))
    bench.drain(replace(LANDING, transform=some))
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(10,)]
