"""A stage taken back to an earlier time or offset: from Kafka, from the tables, and beside a live run."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from loom_models.stage import BatchPolicy, Context, Output, Stage
from loom_platform.stream.api import recompute
from loom_platform.stream.replay import Replay, ReplayError, plan, rewind
from tests.stream.bench import Bench, eventually
from tests.stream.stages import ANSWERS, LANDING, NOON, NUMBERS, answers, counting, number, stage, twice

pytestmark = pytest.mark.integration

VALUES = "SELECT value FROM test_number_answered WHERE superseded_at IS NULL ORDER BY value"
STANDS = "SELECT next_offset FROM stream_offsets WHERE stage = %s ORDER BY partition"


def values(bench: Bench) -> list[int]:
    return [value for (value,) in bench.rows(VALUES)]


def mended(factor: int) -> tuple[Stage, list[int]]:
    """The stage `twice` with another factor, and the numbers that it is given."""
    seen: list[int] = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        seen.extend(batch["n"])
        return Output(
            {
                ANSWERS: answers(
                    batch.with_columns((pl.col("n") * factor).alias("value")),
                    context,
                    "twice",
                    pl.col("source_message_id"),
                    pl.col("value"),
                )
            }
        )

    return stage("twice", transform), seen


@pytest.fixture
def halves(bench: Bench) -> datetime:
    """Twenty numbers, and the moment between the first ten and the last."""
    bench.prepare(LANDING, twice())
    bench.send(NUMBERS, *(number(n, n) for n in range(10)))
    time.sleep(0.05)
    return datetime.now(UTC)


def second_half(bench: Bench) -> None:
    time.sleep(0.05)
    bench.send(NUMBERS, *(number(n, n) for n in range(10, 20)))
    bench.drain(LANDING, twice())


def test_from_a_time_what_kafka_has_is_read_again(bench: Bench, halves: datetime) -> None:
    second_half(bench)
    found = plan(twice(), bench.config, since=halves)
    assert (found.records, found.days, found.missing) == (10, (), None)
    assert bench.rows(STANDS, "twice") == [(20,)], "a plan changes nothing"

    rewind(found, bench.config)
    other, seen = mended(3)
    bench.drain(LANDING, other)
    assert seen == list(range(10, 20))
    assert values(bench) == sorted([2 * n for n in range(10)] + [3 * n for n in range(10, 20)])


def test_what_comes_out_the_same_changes_nothing(bench: Bench, halves: datetime) -> None:
    second_half(bench)
    everything = "SELECT * FROM test_number_answered ORDER BY timestamp"
    landed = "SELECT * FROM test_number_raw ORDER BY timestamp"
    before = bench.rows(everything), bench.rows(landed)
    for each in (twice(), LANDING):
        rewind(plan(each, bench.config, at={0: 3}), bench.config)
    bench.drain(LANDING, twice())
    assert (bench.rows(everything), bench.rows(landed)) == before
    assert bench.rows(STANDS, "twice") == [(20,)]


def test_what_kafka_has_no_more_comes_from_the_table(bench: Bench, halves: datetime) -> None:
    second_half(bench)
    bench.remove_before(NUMBERS, 0, 15)
    found = plan(twice(), bench.config, since=halves)
    assert (found.kafka[0].to, found.records) == (15, 5)
    assert (found.days, found.devices, found.rows) == ((NOON.date(),), ("phone-001",), 5)

    found = plan(twice(), bench.config, at={0: 2})
    assert (found.kafka[0].to, found.rows) == (15, 13)
    other, seen = mended(3)
    day = found.days[0]
    recompute(other, day, day, bench.config, on_report=lambda _: None, stop=threading.Event(), devices=found.devices)
    assert sorted(seen) == list(range(20)), "whole days are computed again"
    assert values(bench) == [3 * n for n in range(20)]


def test_a_time_before_everything_needs_the_table_only_for_what_was_removed(bench: Bench, halves: datetime) -> None:
    second_half(bench)
    long_ago = halves - timedelta(days=300)
    assert plan(twice(), bench.config, since=long_ago).days == (), "Kafka has it from its first record on"
    bench.remove_before(NUMBERS, 0, 20)
    found = plan(twice(), bench.config, since=long_ago)
    assert (found.records, found.rows) == (0, 20), "Kafka has nothing any more"
    landing = plan(LANDING, bench.config, since=long_ago)
    assert (landing.kafka, landing.days) == ({}, ())
    assert landing.missing == "what Kafka has no more is in test_number_raw already, as far as retention has kept it"


def test_a_stage_is_never_taken_forward(bench: Bench, halves: datetime) -> None:
    bench.drain(LANDING)
    second_half(bench)
    bench.execute("UPDATE stream_offsets SET next_offset = 4 WHERE stage = 'twice'")
    assert plan(twice(), bench.config, at={0: 9}).kafka == {}
    found = plan(twice(), bench.config, at={0: 1})
    bench.execute("UPDATE stream_offsets SET next_offset = 0 WHERE stage = 'twice'")
    rewind(found, bench.config)
    assert bench.rows(STANDS, "twice") == [(0,)]


@pytest.mark.parametrize(
    ("at", "says"), [({7: 0}, "has no partition 7, it has 0"), ({0: 21}, "no offset 21, its next is 20")]
)
def test_a_place_that_is_not_there_is_named(bench: Bench, halves: datetime, at: dict[int, int], says: str) -> None:
    second_half(bench)
    with pytest.raises(ReplayError, match=says):
        plan(twice(), bench.config, at=at)


def test_state_begins_anew(bench: Bench) -> None:
    bench.prepare(LANDING, counting())
    bench.send(NUMBERS, *(number(n, n) for n in range(6)))
    bench.drain(LANDING, counting())
    assert values(bench) == [0, 1, 2, 3, 4, 5]
    rewind(plan(counting(), bench.config, at={0: 0}), bench.config)
    bench.drain(LANDING, counting())
    assert values(bench) == [0, 1, 2, 3, 4, 5]


def test_a_live_run_goes_back_by_itself(bench: Bench, halves: datetime) -> None:
    """An idle one notices within a third of its lease, a busy one at its next commit; no other run is needed."""
    other, seen = mended(2)
    lease = timedelta(seconds=3)
    with bench.start(LANDING, other, idle_timeout=timedelta(seconds=60), lease_duration=lease) as running:
        bench.send(NUMBERS, *(number(n, n) for n in range(10, 20)))
        eventually(lambda: len(values(bench)) == 20)
        seen.clear()
        rewind(plan(other, bench.config, at={0: 5}), bench.config)
        eventually(lambda: seen == list(range(5, 20)), 10)
        eventually(lambda: bench.rows(STANDS, "twice") == [(20,)])
        assert running.alive()


def test_a_busy_run_is_taken_back_between_two_batches(bench: Bench) -> None:
    small = twice(policy=BatchPolicy(max_rows=10))
    bench.prepare(LANDING, small)
    bench.send(NUMBERS, *(number(n, n) for n in range(300)))
    bench.drain(LANDING)
    commits = 0
    found: list[Replay] = []

    def on_point(point: str) -> None:
        nonlocal commits
        if point == "after-commit":
            commits += 1
            if commits == 8:
                found.append(plan(small, bench.config, at={0: 0}))
                rewind(found[0], bench.config)

    bench.config = replace(bench.config, on_point=on_point)
    bench.drain(small, landing=[LANDING])
    assert found
    assert commits >= 8 + 30, "all of it was read again"
    assert values(bench) == [2 * n for n in range(300)]
    assert bench.rows(STANDS, "twice") == [(300,)]
