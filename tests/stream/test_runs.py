"""How a run begins, shares, ends and halts: topics, leases, fences, time limits, batches, shards."""

import threading
import time
from datetime import timedelta
from itertools import pairwise

import polars as pl
import psycopg
import pytest
from confluent_kafka.cimpl import NewPartitions

from loom_models.errors import DependencyError
from loom_models.stage import BatchPolicy, Context, Output, Stage
from loom_platform.stream import lease, offsets
from loom_platform.stream.api import reset_offsets
from loom_platform.stream.database import connect
from loom_platform.stream.errors import (
    FencedError,
    LeaseHeldError,
    LeaseLostError,
    OffsetOutOfRangeError,
    TopicMissingError,
    TopicRecreatedError,
)
from loom_platform.stream.lease import Lease
from tests.stream.bench import Bench, eventually
from tests.stream.stages import ANSWERS, LANDING, NUMBERS, answers, delayed, number, stage, twice

pytestmark = pytest.mark.integration

LONG = timedelta(seconds=30)


def stored(bench: Bench) -> list[int]:
    return [n for (n,) in bench.rows("SELECT n FROM test_number_raw ORDER BY timestamp")]


def recreate(bench: Bench) -> None:
    name = bench.name(NUMBERS)
    for future in bench.admin.delete_topics([name]).values():
        future.result(timeout=20)
    eventually(lambda: name not in bench.admin.list_topics(timeout=10).topics)
    bench.create(NUMBERS)
    bench.sent[name] = 0


# --- topics that are not what they were ---


def test_a_missing_topic_is_an_error_that_names_the_remedy(bench: Bench) -> None:
    with pytest.raises(TopicMissingError, match=r"test.number.raw is not on the broker: make it with `loom topics"):
        bench.run(LANDING)


def test_a_recreated_topic_halts_its_stage_until_the_offsets_are_reset(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1), number(2, 2))
    bench.drain(LANDING)
    recreate(bench)
    bench.send(NUMBERS, number(3, 3), b"poison", number(4, 4))

    with pytest.raises(TopicRecreatedError, match=f"loom offsets reset {LANDING.name} --to earliest"):
        bench.run(LANDING)
    assert stored(bench) == [1, 2]

    assert reset_offsets(LANDING, bench.config, "earliest") == {0: 0}
    bench.drain(LANDING)
    assert stored(bench) == [1, 2, 3, 4]


def test_dead_letters_of_a_recreated_topic_are_not_lost_behind_the_old_ones(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, b"old")
    bench.drain(LANDING)
    recreate(bench)
    bench.send(NUMBERS, b"new")
    reset_offsets(LANDING, bench.config, "earliest")
    bench.drain(LANDING)
    assert [bytes(v) for (v,) in bench.rows("SELECT value FROM processing_errors")] == [b"new"]
    assert len(bench.topic_values(f"processing.errors.{LANDING.name}")) == 2


def test_a_topic_recreated_under_a_live_run_halts_it(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1), number(2, 2))
    with bench.start(LANDING, idle_timeout=LONG) as running:
        eventually(lambda: bench.done(LANDING))
        recreate(bench)
        bench.send(NUMBERS, *(number(n, n) for n in range(3, 9)))
        eventually(lambda: not running.alive())
        with pytest.raises(TopicRecreatedError):
            running.end()
    reset_offsets(LANDING, bench.config, "earliest")
    bench.drain(LANDING)
    assert stored(bench) == list(range(1, 9))


def test_records_that_were_removed_unread_halt_the_stage(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1), number(2, 2))
    bench.drain(LANDING)
    bench.send(NUMBERS, *(number(n, n) for n in range(3, 11)))
    bench.remove_before(NUMBERS, 0, 5)

    with pytest.raises(OffsetOutOfRangeError, match="3 records were removed before they were read"):
        bench.run(LANDING)
    assert reset_offsets(LANDING, bench.config, "earliest") == {0: 5}
    bench.drain(LANDING)
    assert stored(bench) == [1, 2, 6, 7, 8, 9, 10]

    bench.send(NUMBERS, number(11, 11))
    assert reset_offsets(LANDING, bench.config, "latest") == {0: 11}
    bench.send(NUMBERS, number(12, 12))
    bench.drain(LANDING)
    assert stored(bench)[-2:] == [10, 12]


def test_an_offset_behind_the_end_of_the_log_halts_the_stage(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1))
    bench.drain(LANDING)
    bench.execute("UPDATE stream_offsets SET next_offset = 7")
    with pytest.raises(OffsetOutOfRangeError, match="the log was truncated"):
        bench.run(LANDING)


def test_one_stage_that_halts_ends_the_run_and_the_others_keep_what_they_did(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_)
    bench.send(NUMBERS, number(1, 1))
    bench.drain(LANDING, twice_)
    bench.execute("UPDATE stream_offsets SET next_offset = 7 WHERE stage = 'twice'")
    with pytest.raises(OffsetOutOfRangeError):
        bench.run(LANDING, twice_, idle_timeout=LONG)
    assert bench.rows("SELECT count(*) FROM stream_leases") == [(0,)]


# --- leases and fences ---


def test_a_second_run_leaves_the_stage_to_the_first(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1))
    with bench.start(LANDING, idle_timeout=LONG):
        eventually(lambda: bench.done(LANDING))
        (summary,) = bench.run(LANDING, run_id="second")
        assert summary.records == 0
        assert summary.waiting_for == "another run, which has this stage"
        bench.send(NUMBERS, number(2, 2))
        eventually(lambda: bench.done(LANDING))
    assert bench.rows("SELECT count(*) FROM stream_leases") == [(0,)]


def test_a_lease_is_free_as_soon_as_its_owners_session_is_gone(bench: Bench) -> None:
    url = bench.config.database_url
    with connect(url, "dies") as first, connect(url, "next") as second:
        long = timedelta(hours=1)
        Lease("s", 0, "first", "first", long).acquire(first)
        next_ = Lease("s", 0, "next", "next", long)
        with pytest.raises(LeaseHeldError, match="first is running it"):
            next_.acquire(second)
        first.close()
        eventually(lambda: not bench.rows(lease.LIVE))
        next_.acquire(second)
        assert bench.rows(lease.LIVE) == [("s",)]
        next_.release(second)
        assert bench.rows("SELECT count(*) FROM stream_leases") == [(0,)]


def test_a_lease_that_has_run_out_is_taken_and_its_owners_session_ended(bench: Bench) -> None:
    url = bench.config.database_url
    with connect(url, "stopped") as first, connect(url, "next") as second:
        old = Lease("s", 0, "old", "old", timedelta(milliseconds=50))
        old.acquire(first)
        Lease("other shard", 1, "old", "old", timedelta(hours=1)).acquire(first)
        time.sleep(0.1)
        assert bench.rows(lease.LIVE) == [("other shard",)]
        Lease("s", 0, "new", "new", timedelta(hours=1)).acquire(second)
        with pytest.raises(psycopg.OperationalError):
            first.execute("SELECT 1")


def test_a_lease_that_was_taken_can_not_be_renewed(bench: Bench) -> None:
    url = bench.config.database_url
    with connect(url, "first") as first, connect(url, "next") as second:
        old = Lease("s", 0, "old", "old", timedelta(0))
        old.acquire(first)
        old.renew(first)
        Lease("s", 0, "new", "new", timedelta(hours=1)).acquire(second)
        with connect(url, "again") as again:
            with pytest.raises(LeaseLostError):
                old.renew(again)
            with pytest.raises(LeaseLostError), again.transaction():
                lease.confirm(again, "s", 0, "old")
            old.release(again)  # must not free what is another's
        assert bench.rows("SELECT holder FROM stream_leases") == [("new",)]


def test_a_batch_that_was_overtaken_is_rolled_back(bench: Bench) -> None:
    """Another run moves the offset between the poll and the batch, as after a long stop."""
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1), number(2, 2))

    def overtake(point: str) -> None:
        if point == "polled":
            bench.execute("UPDATE stream_offsets SET next_offset = 1")

    (summary,) = bench.run(LANDING, on_point=overtake, idle_timeout=LONG)
    assert summary.records == 0
    assert summary.waiting_for == "another run, which has this stage"
    assert stored(bench) == []


def test_due_timers_of_a_run_that_lost_its_lease_are_left_alone(bench: Bench) -> None:
    late = delayed()
    bench.prepare(late)
    bench.send(NUMBERS, number(1, 2_000))
    bench.drain(late)

    def overtake(point: str) -> None:
        if point == "polled":
            bench.execute("UPDATE stream_leases SET holder = 'another'")

    (summary,) = bench.run(late, on_point=overtake, idle_timeout=LONG)
    assert summary.waiting_for == "another run, which has this stage"
    assert bench.rows("SELECT count(*) FROM test_number_answered") == [(0,)]
    assert bench.rows("SELECT count(*) FROM stream_timers") == [(1,)]


def test_the_fence_names_where_it_stands(bench: Bench) -> None:
    bench.execute("INSERT INTO stream_offsets VALUES ('s', 't', 0, 'id', 5)")
    with connect(bench.config.database_url, "fence") as connection:
        with pytest.raises(FencedError, match=r"t\[0\] stands at 5, this run expected 4"):
            offsets.advance(connection, "s", "t", "id", {0: (4, 9)})
        with pytest.raises(FencedError):
            offsets.advance(connection, "s", "t", "other id", {0: (5, 9)})
        offsets.advance(connection, "s", "t", "id", {0: (5, 9)})
    assert bench.rows("SELECT next_offset FROM stream_offsets") == [(9,)]


def test_a_batch_may_take_longer_than_the_lease(bench: Bench) -> None:
    slow = slowly(1.5)
    bench.prepare(slow)
    bench.send(NUMBERS, number(1, 1))
    short = timedelta(milliseconds=500)
    with bench.start(slow, lease_duration=short, idle_timeout=LONG):
        eventually(lambda: bool(bench.rows(lease.LIVE)))
        time.sleep(1)
        (summary,) = bench.run(slow, lease_duration=short, run_id="second")
        assert summary.waiting_for == "another run, which has this stage"
        eventually(lambda: bench.done(slow))
    assert bench.rows("SELECT value FROM test_number_answered") == [(1,)]


# --- when a run ends ---


def test_a_run_ends_when_idle(bench: Bench) -> None:
    bench.prepare(LANDING)
    started = time.monotonic()
    bench.run(LANDING, idle_timeout=timedelta(milliseconds=300))
    assert 0.3 <= time.monotonic() - started < 5


def test_a_run_ends_at_its_time_between_two_batches(bench: Bench) -> None:
    slow = slowly()
    bench.prepare(slow)
    bench.send(NUMBERS, *(number(n, n) for n in range(1000)))
    (summary,) = bench.run(slow, max_duration=timedelta(seconds=1), idle_timeout=LONG)
    assert 0 < summary.batches < 50
    assert sum(bench.offsets(slow).values()) == summary.records
    assert bench.rows("SELECT count(*) FROM test_number_answered") == [(summary.records,)]


def test_a_stop_ends_the_run_between_two_batches(bench: Bench) -> None:
    slow = slowly()
    bench.prepare(slow)
    bench.send(NUMBERS, *(number(n, n) for n in range(1000)))
    with bench.start(slow, idle_timeout=LONG) as running:
        eventually(lambda: sum(bench.offsets(slow).values()) > 0)
        running.stop.set()
        stopped = time.monotonic()
        (summary,) = running.end()
    assert time.monotonic() - stopped < 5
    assert 0 < summary.records < 1000
    assert sum(bench.offsets(slow).values()) == summary.records
    assert bench.rows("SELECT count(*) FROM stream_leases") == [(0,)]


def test_a_stop_ends_a_run_that_waits_for_a_dependency(bench: Bench) -> None:
    def away(batch: pl.DataFrame, context: Context) -> Output:
        raise DependencyError("away")

    needy = stage("needy", away)
    bench.prepare(needy)
    bench.send(NUMBERS, number(1))
    with bench.start(needy, idle_timeout=LONG) as running:
        eventually(lambda: bool(bench.offsets(needy)))
        running.stop.set()
        stopped = time.monotonic()
        running.end()
    assert time.monotonic() - stopped < 5


def slowly(seconds: float = 0.1, rows: int = 10) -> Stage:
    def transform(batch: pl.DataFrame, context: Context) -> Output:
        time.sleep(seconds)
        return Output({ANSWERS: answers(batch.with_columns(pl.col("n").alias("value")), context, "slow")})

    return stage("slow", transform, policy=BatchPolicy(max_rows=rows))


# --- batches and shards ---


def test_shards_share_a_stage_by_partition(bench: Bench) -> None:
    bench.prepare(LANDING, partitions=3)
    for partition in range(3):
        bench.send(NUMBERS, *(number(n + partition / 10, n) for n in range(10)), partition=partition)
    (first,) = bench.run(LANDING, shard=(0, 2), run_id="a")
    assert first.records == 20
    assert bench.offsets(LANDING) == {0: 10, 2: 10}
    bench.send(NUMBERS, *(number(n, n) for n in range(20, 30)), partition=1)
    with (
        bench.start(LANDING, shard=(0, 2), run_id="b", idle_timeout=LONG),
        bench.start(LANDING, shard=(1, 2), run_id="c", idle_timeout=LONG),
    ):
        eventually(lambda: bench.done(LANDING))
    assert bench.rows("SELECT count(*) FROM test_number_raw") == [(40,)]


def test_many_partitions_are_read_in_order(bench: Bench) -> None:
    seen: dict[int, list[int]] = {}
    lock = threading.Lock()

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        with lock:
            for partition, offset in batch.select("kafka_partition", "kafka_offset").iter_rows():
                seen.setdefault(partition, []).append(offset)
        return Output({})

    ordered = stage("ordered", transform, policy=BatchPolicy(max_rows=70))
    bench.prepare(ordered, partitions=5)
    bench.send(NUMBERS, *(number(n, n, f"phone-{n % 23}") for n in range(1_000)))
    bench.drain(ordered)
    assert sum(map(len, seen.values())) == 1_000
    assert all(o == list(range(len(o))) for o in seen.values())


def test_partitions_that_are_added_are_read_from_their_first_record(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, number(1, 1))
    with bench.start(LANDING, idle_timeout=LONG):
        eventually(lambda: bench.done(LANDING))
        for future in bench.admin.create_partitions([NewPartitions(bench.name(NUMBERS), 2)]).values():
            future.result(timeout=20)
        eventually(lambda: len(bench.admin.list_topics(timeout=10).topics[bench.name(NUMBERS)].partitions) == 2)
        bench.fresh_producer()
        bench.send(NUMBERS, number(2, 2), partition=1)
        eventually(lambda: bench.done(LANDING))
    assert stored(bench) == [1, 2]


def test_reports_add_up_to_what_was_done(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_)
    with bench.start(LANDING, twice_, report_interval=timedelta(milliseconds=200), idle_timeout=LONG) as running:
        for first in (0, 100, 200):
            bench.send(NUMBERS, *(number(first + n - 43_200 * (n % 2), n) for n in range(100)), b"poison")
            eventually(lambda: bench.done(LANDING) and bench.done(twice_))
            time.sleep(0.3)
        running.stop.set()
        summaries = running.end()
    for summary in summaries:
        reports = [r for r in bench.reports if r.stage == summary.stage]
        assert len(reports) >= 2
        assert sum(r.rows for r in reports) == summary.rows == 300
        assert sum(r.dead_letters for r in reports) == summary.dead_letters == 3
        assert sum(r.batches for r in reports) == summary.batches
        assert reports[0].offsets[0][0] == 0
        assert reports[-1].offsets[0][1] == 303
        for earlier, later in pairwise(reports):
            assert earlier.offsets[0][1] == later.offsets[0][0]
        assert all(r.latency_p50_seconds is not None and r.latency_p50_seconds >= 0 for r in reports)
