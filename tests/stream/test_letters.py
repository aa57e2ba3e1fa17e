"""Dead letters: listed, put aside and taken back, and replayed through a stage that is mended."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg
import pytest

from loom_models.errors import PoisonError
from loom_models.stage import Context, Output, Stage
from loom_platform.stream import letters
from loom_platform.stream.api import Replayed, Wanted, replay_letters
from tests.stream.bench import Bench
from tests.stream.stages import ANSWERS, LANDING, NUMBERS, number, running_total, twice

T = ANSWERS.table.name
pytestmark = pytest.mark.integration


def broken(stage: Stage, n: int) -> Stage:
    """`stage` with a fault: it refuses `n`."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        if (batch["n"] == n).any():
            raise PoisonError(f"{n} is too much")
        return stage.transform(batch, context)

    return replace(stage, transform=transform)


def replay(bench: Bench, stage: Stage, wanted: Wanted | None = None) -> Replayed:
    return replay_letters(
        stage, wanted or Wanted(stage.name), bench.config, on_progress=lambda _: None, stop=threading.Event()
    )


def open_letters(bench: Bench, **wanted: object) -> list[letters.Letter]:
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        return letters.letters(connection, Wanted(**wanted), 1_000)  # type: ignore[arg-type]


def test_a_mended_landing_stage_lands_what_it_had_refused(bench: Bench) -> None:
    bench.prepare(LANDING)
    good, bad = number(1, 1), number(2, 13)
    bench.send(NUMBERS, good, bad)
    bench.drain(broken(LANDING, 13))
    (letter,) = open_letters(bench)
    assert (letter.stage, letter.offset, letter.error_type, letter.reason) == (
        LANDING.name,
        1,
        "poison",
        "13 is too much",
    )
    done = replay(bench, LANDING)
    assert (done.replayed, done.failed) == (1, 0)
    rows = bench.rows("SELECT n, kafka_offset, received_at FROM test_number_raw ORDER BY n")
    assert [(n, offset) for n, offset, _ in rows] == [(1, 0), (13, 1)]
    assert rows[1][2] == letter.received_at
    assert open_letters(bench) == []
    assert [(x.state, x.attempts) for x in open_letters(bench, state="all")] == [("replayed", 2)]
    assert replay(bench, LANDING).replayed == 0


def test_what_fails_again_stays_with_its_new_reason_and_its_neighbours_go(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, b"not json", number(1, 1), number(2, 2))

    def refuse(batch: pl.DataFrame, context: Context) -> Output:
        raise PoisonError("no")

    bench.drain(replace(LANDING, transform=refuse))
    assert len(open_letters(bench)) == 3
    done = replay(bench, broken(LANDING, 2))
    assert (done.replayed, done.failed) == (1, 2)
    assert sorted(done.reasons)[1] == "poison: 2 is too much"
    assert bench.rows("SELECT n FROM test_number_raw") == [(1,)]
    left = {x.offset: (x.error_type, x.attempts) for x in open_letters(bench)}
    assert left == {0: ("invalid", 2), 2: ("poison", 2)}


def test_a_derived_stage_answers_with_the_context_that_the_day_had(bench: Bench) -> None:
    total = running_total()
    bench.prepare(LANDING, total)
    bench.send(NUMBERS, number(1, 1), number(2, 13), number(3, 5))
    bench.drain(LANDING, broken(total, 13))
    assert [x.stage for x in open_letters(bench)] == [total.name]
    done = replay(bench, total)
    assert (done.replayed, done.failed) == (1, 0)
    query = f"SELECT value FROM {T} WHERE superseded_at IS NULL ORDER BY timestamp"
    assert bench.rows(query) == [(1,), (14,), (19,)]


def test_a_derived_letter_waits_for_its_record_to_be_landed(bench: Bench) -> None:
    stage = twice()
    bench.prepare(LANDING, stage)
    bench.send(NUMBERS, number(1, 13))
    bench.drain(broken(LANDING, 13), broken(stage, 13))
    done = replay(bench, stage)
    assert list(done.reasons) == [
        f"NotLandedError: {NUMBERS.name} has no such row: replay its landing stage first"[:100]
    ]
    assert replay(bench, LANDING).replayed == 1
    assert replay(bench, stage).replayed == 1
    assert bench.rows(f"SELECT value FROM {T}") == [(26,)]


def test_a_derived_letter_that_fails_again_keeps_its_reason(bench: Bench) -> None:
    stage = twice()
    bench.prepare(LANDING, stage)
    bench.send(NUMBERS, number(1, 1), number(2, 13), number(3, 3))
    bench.drain(LANDING, broken(stage, 13))
    done = replay(bench, broken(stage, 13))
    assert (done.replayed, done.reasons) == (0, {"poison: 13 is too much": 1})


def test_many_letters_go_batch_by_batch_and_a_stop_leaves_the_rest(bench: Bench) -> None:
    bench.prepare(LANDING, partitions=2)
    bench.send(NUMBERS, *(number(n / 100, n, device=f"d-{n % 7}") for n in range(1_200)))

    def refuse(batch: pl.DataFrame, context: Context) -> Output:
        return Output({}, poison=dict.fromkeys(batch["message_id"], "no"))

    bench.execute(
        "INSERT INTO stage_pauses (stage, tolerate_until) VALUES (%s, now() + interval '1 hour')", LANDING.name
    )
    bench.drain(replace(LANDING, transform=refuse))
    assert len(open_letters(bench)) == 1_000
    stop = threading.Event()
    seen: list[int] = []

    def tell(done: Replayed) -> None:
        seen.append(done.replayed)
        stop.set()

    replay_letters(LANDING, Wanted(LANDING.name), bench.config, on_progress=tell, stop=stop)
    assert seen == [500]
    assert replay(bench, LANDING).replayed == 700
    assert bench.rows("SELECT count(*), count(DISTINCT n) FROM test_number_raw") == [(1_200, 1_200)]


def test_letters_are_found_by_reason_time_and_place_put_aside_and_taken_back(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, b"not json", number(1, 13))
    bench.drain(broken(LANDING, 13))
    now = datetime.now(UTC)
    assert [x.offset for x in open_letters(bench, reason="TOO MUCH")] == [1]
    assert [x.offset for x in open_letters(bench, reason="100%")] == []
    assert [x.offset for x in open_letters(bench, partition=0, offset=0)] == [0]
    assert open_letters(bench, since=now + timedelta(minutes=1)) == []
    assert len(open_letters(bench, until=now + timedelta(minutes=1))) == 2
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        found = sorted((g.error_type, g.letters) for g in letters.groups(connection, Wanted()))
        assert found == [("invalid", 1), ("poison", 1)]
        assert letters.discard(connection, Wanted(reason="too much")) == 1
        assert letters.count(connection, Wanted()) == {LANDING.name: 1}
        assert letters.count(connection, Wanted(state="discarded")) == {LANDING.name: 1}
        assert replay(bench, LANDING).replayed == 0
        assert letters.reopen(connection, Wanted(reason="too much")) == 1
        assert letters.value_of(connection, letters.letters(connection, Wanted(offset=0), 1)[0]) == b"not json"
    assert replay(bench, LANDING).replayed == 1


def test_a_letter_that_dies_again_after_its_offsets_were_reset_is_open_again(bench: Bench) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, b"not json")
    bench.drain(LANDING)
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        assert letters.discard(connection, Wanted()) == 1
        connection.execute("UPDATE stream_offsets SET next_offset = 0")
    bench.run(LANDING)
    assert [(x.state, x.attempts) for x in open_letters(bench)] == [("open", 2)]
