"""Stages whose answers depend on a second topic are woken by its landing; chains read only what stands."""

import threading
from datetime import timedelta

import polars as pl
import psycopg
import pytest

from loom_contracts.ddl import create_table
from loom_contracts.topic import Topic
from loom_models.landing import landing_stage
from loom_models.stage import Context, ContextQuery, Output, Stage
from loom_models.wakes import wakes_of, woken
from loom_platform.stream.batch import LOCK_STAGE
from tests.stream.bench import Bench, eventually
from tests.stream.stages import ANSWERS, LANDING, NOON, NUMBERS, Number, answers, number, stage, twice
from tests.stream.test_chain import chain, negative, values

pytestmark = pytest.mark.integration

SIGNALS = Topic("test.signal.raw", Number, "What adds to numbers of the same minute.", {})
LAND_SIGNALS = landing_stage(SIGNALS)
_SCHEMA = pl.Schema(
    {
        "message_id": pl.String(),
        "device_id": pl.String(),
        "timestamp": pl.Datetime("us", "UTC"),
        "value": pl.Int64(),
        "note": pl.String(),
    }
)
__all__ = ["chain"]


def _touched(batch: pl.DataFrame, due: pl.DataFrame) -> dict[str, list[object]] | None:
    minute = pl.col("timestamp").dt.truncate("1m")
    touched = pl.concat([batch.select("device_id", minute.alias("first")), woken(due).select("device_id", "first")])
    both = touched.unique()
    return {"devices": both["device_id"].to_list(), "firsts": both["first"].to_list()} if both.height else None


SUMS = ContextQuery(
    "sums",
    """
    SELECT n.message_id::text, n.device_id, n.timestamp,
           n.n + coalesce(sum(s.n), 0)::int8, string_agg(s.message_id::text, ',' ORDER BY s.message_id)
    FROM unnest(%(devices)s::text[], %(firsts)s::timestamptz[]) AS t (device_id, first)
    JOIN test_number_raw n ON n.device_id = t.device_id AND n.timestamp >= t.first
                          AND n.timestamp < t.first + interval '1 minute'
    LEFT JOIN test_signal_raw s ON s.device_id = t.device_id AND s.timestamp >= t.first
                               AND s.timestamp < t.first + interval '1 minute'
    GROUP BY n.message_id, n.device_id, n.timestamp, n.n
    """,
    _touched,
    _SCHEMA,
)


def summed() -> Stage:
    """value = n and the signals of the same minute."""

    def transform(batch: pl.DataFrame, context: Context, /) -> Output:
        rows = answers(
            context.frames["sums"], context, "summed", pl.col("source_message_id"), pl.col("note").fill_null("")
        )
        return Output({ANSWERS: rows})

    return stage("summed", transform, context=(SUMS,), wakes=(SIGNALS,))


@pytest.fixture
def signals(bench: Bench) -> Bench:
    if not bench.rows("SELECT 1 FROM pg_class WHERE relname = 'test_signal_raw'"):
        bench.execute(create_table(SIGNALS))
        bench.execute("SELECT loom_grant()")
    bench.execute("TRUNCATE test_signal_raw")
    bench.prepare(LANDING, LAND_SIGNALS, summed())
    return bench


def standing(bench: Bench) -> list[int]:
    query = "SELECT value FROM test_number_answered WHERE superseded_at IS NULL ORDER BY timestamp"
    return [value for (value,) in bench.rows(query)]


def test_minutes_are_told_once_each_and_read_back() -> None:
    landed = pl.DataFrame(
        {
            "device_id": ["b", "a", "a", "a"],
            "timestamp": [NOON, NOON, NOON + timedelta(seconds=59), NOON + timedelta(seconds=60)],
        }
    )
    wakes = wakes_of(landed)
    assert wakes["key"].to_list()[0] == f"wake:{NOON:%Y-%m-%dT%H:%M}Z"
    other = pl.DataFrame({"device_id": ["a"], "key": ["window"]})
    assert woken(pl.concat([wakes, other])).rows() == [
        (device, NOON + timedelta(minutes=n), NOON + timedelta(minutes=n + 1))
        for device, n in (("a", 0), ("a", 1), ("b", 0))
    ]


def test_a_record_of_the_second_topic_amends_the_answer(signals: Bench) -> None:
    signals.send(NUMBERS, number(0, 1), number(61, 10))
    with_all = signals.start(LANDING, LAND_SIGNALS, summed())
    eventually(lambda: standing(signals) == [1, 10])
    signals.send(SIGNALS, number(30, 100))
    eventually(lambda: standing(signals) == [101, 10])
    with_all.stop.set()
    with_all.end()
    assert signals.rows("SELECT count(*) FROM stream_timers") == [(0,)]
    assert signals.rows("SELECT count(*) FROM test_number_answered") == [(3,)]


def test_what_is_landed_by_another_run_wakes_too(signals: Bench) -> None:
    signals.send(NUMBERS, number(0, 1))
    signals.drain(LANDING, summed())
    signals.send(SIGNALS, number(1, 5))
    signals.drain(LAND_SIGNALS, stages=(summed(),))
    assert signals.rows("SELECT stage, device_id FROM stream_timers") == [("summed", "phone-001")]
    derived = signals.start(summed(), landing=(LANDING,))
    eventually(lambda: standing(signals) == [6])
    derived.stop.set()
    derived.end()


def test_a_wake_that_comes_while_it_is_answered_is_not_lost(signals: Bench) -> None:
    """A signal is landed after the answer has read its context, and before it commits."""
    signals.send(NUMBERS, number(0, 1))
    signals.drain(LANDING, summed())
    signals.send(SIGNALS, number(1, 5))
    signals.drain(LAND_SIGNALS, stages=(summed(),))
    late = threading.Event()

    def between(point: str) -> None:
        if point == "before-copy" and not late.is_set():
            late.set()
            signals.send(SIGNALS, number(2, 50))
            signals.drain(LAND_SIGNALS, stages=(summed(),))

    derived = signals.start(summed(), landing=(LANDING,), on_point=between)
    eventually(lambda: standing(signals) == [56])
    derived.stop.set()
    derived.end()
    assert late.is_set()


def test_a_chain_waits_for_the_rows_of_what_it_read_and_leaves_out_ghosts(chain: Bench) -> None:
    """Messages whose transaction is still open, and then rolled back, have no row and are no answers."""
    real = number(1, 7)
    chain.send(NUMBERS, real)
    chain.drain(LANDING, twice())
    ghost = chain.topic_values(ANSWERS)[0].replace(b'"value":14', b'"value":99')
    body = ghost.replace(chain.rows("SELECT message_id::text FROM test_number_answered")[0][0].encode(), _GHOST)
    with psycopg.connect(chain.owner_url) as sender:
        sender.execute(LOCK_STAGE, ("twice",))
        chain.send(ANSWERS, body, key="phone-001")
        chain.sent[chain.name(ANSWERS)] = 2
        running = chain.start(negative())
        threading.Event().wait(0.7)
        assert chain.rows("SELECT count(*) FROM test_number_chained") == [(0,)]
        sender.rollback()
    eventually(lambda: chain.done(negative()))
    running.stop.set()
    running.end()
    assert values(chain) == [-14]


_GHOST = b"00000000-0000-5000-8000-000000000001"
