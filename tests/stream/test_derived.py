"""Derived stages: deterministic rows, answers that are superseded, dead letters, timers, state."""

import base64
import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from loom_contracts.payloads.processing import DeadLetter
from loom_models.errors import DependencyError, PoisonError
from loom_models.stage import Context, Output
from tests.stream.bench import Bench, eventually
from tests.stream.stages import (
    ANSWERS,
    LANDING,
    NUMBERS,
    Answer,
    answers,
    breaking_on,
    counting,
    delayed,
    number,
    running_total,
    stage,
    twice,
)

pytestmark = pytest.mark.integration

CURRENT = "SELECT value FROM test_number_answered WHERE superseded_at IS NULL ORDER BY timestamp, device_id"


def current(bench: Bench) -> list[int]:
    return [value for (value,) in bench.rows(CURRENT)]


def test_each_record_gives_one_row_and_one_message(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_, partitions=2)
    numbers = [number(n, n, f"phone-{n % 5}") for n in range(300)]
    bench.send(NUMBERS, *numbers, *numbers[50:80])

    landed, derived = bench.drain(LANDING, twice_)

    assert (landed.records, landed.dead_letters) == (330, 0)
    assert (derived.records, derived.dead_letters) == (330, 0)
    assert current(bench) == [2 * n for n in range(300)]
    columns = "source_message_id, stage, stage_version, schema_version, run_id, trace_id"
    rows = bench.rows(f"SELECT {columns} FROM test_number_answered ORDER BY timestamp")
    assert rows == [(n.message_id, "twice", "1", "1.0", bench.config.run_id, None) for n in numbers]
    messages = [Answer.model_validate_json(v) for v in bench.topic_values(ANSWERS)]
    stored = bench.rows("SELECT message_id, value FROM test_number_answered")
    assert {m.message_id: m.value for m in messages} == dict(stored)
    assert {m.source_message_id for m in messages} == {n.message_id for n in numbers}


def test_a_retry_within_one_batch_is_one_row(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_)
    one = number(1, 7)
    bench.send(NUMBERS, one, one, one)
    bench.drain(LANDING, twice_)
    assert current(bench) == [14]
    assert bench.rows("SELECT count(*) FROM test_number_raw") == [(1,)]


def test_a_late_record_supersedes_the_answers_it_changes(bench: Bench) -> None:
    total = running_total()
    bench.prepare(LANDING, total)
    bench.send(NUMBERS, number(10, 1), number(20, 2), number(40, 4))
    bench.drain(LANDING, total)
    assert current(bench) == [1, 3, 7]

    bench.send(NUMBERS, number(30, 100))
    bench.drain(LANDING, total)

    assert current(bench) == [1, 3, 103, 107]
    assert bench.rows("SELECT value FROM test_number_answered WHERE superseded_at IS NOT NULL") == [(7,)]


def test_an_answer_that_is_true_again_is_current_again(bench: Bench) -> None:
    """What a batch replaces may come back: here two numbers that cancel each other out."""
    total = running_total()
    bench.prepare(LANDING, total)
    bench.send(NUMBERS, number(10, 1), number(40, 4))
    bench.drain(LANDING, total)
    bench.send(NUMBERS, number(20, 50))
    bench.drain(LANDING, total)
    bench.send(NUMBERS, number(30, -50))
    bench.drain(LANDING, total)
    assert current(bench) == [1, 51, 1, 5]
    assert bench.rows("SELECT value FROM test_number_answered WHERE superseded_at IS NOT NULL") == [(55,)]


def test_dead_letters_keep_the_bytes_in_the_table_and_on_their_topic(bench: Bench) -> None:
    broken = breaking_on(13, PoisonError("thirteen"))
    bench.prepare(broken)
    bad = [
        b"not json",
        b"",
        None,
        b'{"device_id": "\xff"}',
        number(2, 13).model_dump_json().encode(),
        number(3, 13, note="n" * 1_500_000).model_dump_json().encode(),
    ]
    bench.send(NUMBERS, number(0, 1), *bad, number(4, 4), key="phone-001")
    bench.send(NUMBERS, b"{}", key="?")

    (summary,) = bench.drain(broken)

    assert (summary.rows, summary.dead_letters) == (2, 7)
    assert current(bench) == [1, 4]
    kept = bench.rows('SELECT "offset", value, error_type, reason, device_id FROM processing_errors ORDER BY "offset"')
    assert [(o, None if v is None else bytes(v)) for o, v, *_ in kept] == [*enumerate(bad, 1), (8, b"{}")]
    assert [k[2] for k in kept] == ["invalid"] * 4 + ["poison"] * 2 + ["invalid"]
    assert kept[4][3] == "thirteen"
    letters = sorted(
        (DeadLetter.model_validate_json(v) for v in bench.topic_values("processing.errors.broken")),
        key=lambda m: m.offset,
    )
    assert [m.offset for m in letters] == [1, 2, 3, 4, 5, 6, 8]
    assert [m.device_id for m in letters] == ["phone-001"] * 6 + ["unknown"]
    for letter, (offset, value, kind, reason, _) in zip(letters, kept, strict=True):
        assert (letter.topic, letter.partition, letter.offset) == (bench.name(NUMBERS), 0, offset)
        assert (letter.stage, letter.stage_version, letter.error_type) == ("broken", "1", kind)
        if offset == 6:  # larger than a broker is sure to take: only the table has it
            assert letter.value is None
            assert letter.reason == f"{reason} (its {len(value)} bytes are kept in processing_errors)"
        else:
            assert letter.reason == reason
            assert letter.value == (base64.b64encode(value).decode() if value else None)


@pytest.mark.parametrize("at", [0, 1, 62, 99])
def test_a_record_that_breaks_the_transform_is_found_among_its_neighbours(bench: Bench, at: int) -> None:
    broken = breaking_on(-1, ZeroDivisionError("no way"))
    bench.prepare(broken)
    bench.send(NUMBERS, *(number(n, -1 if n == at else n) for n in range(100)))
    (summary,) = bench.drain(broken)
    assert summary.dead_letters == 1
    assert current(bench) == [n for n in range(100) if n != at]
    letters = bench.rows('SELECT "offset", error_type, reason FROM processing_errors')
    assert letters == [(at, "ZeroDivisionError", "no way")]


@pytest.mark.parametrize(
    ("field", "value"),
    [("note", "a\x00b"), ("note", "\ud800"), ("extra", '{"a": 1'), ("extra", '{"a": "\\u0000"}'), ("message_id", "zz")],
)
def test_a_row_that_the_database_refuses_is_its_records_fault_alone(bench: Bench, field: str, value: str) -> None:
    def transform(batch: pl.DataFrame, context: Context) -> Output:
        rows = answers(batch.with_columns(pl.col("n").alias("value")), context, "refused")
        bad = pl.Series([value if n == 7 else None for n in rows["value"]], dtype=pl.String)
        return Output({ANSWERS: rows.with_columns(pl.coalesce(bad, pl.col(field)).alias(field))})

    refused = stage("refused", transform)
    bench.prepare(refused)
    bench.send(NUMBERS, *(number(n, n) for n in range(10)))
    (summary,) = bench.drain(refused)
    assert summary.dead_letters == 1
    assert current(bench) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert bench.rows('SELECT "offset" FROM processing_errors') == [(7,)]


def test_a_broken_dependency_is_waited_for_and_nothing_is_dead_lettered(bench: Bench) -> None:
    away = [True]
    calls = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        calls.append(batch.height)
        if away[0]:
            raise DependencyError("the model is away\nfor now")
        return Output({ANSWERS: answers(batch.with_columns(pl.col("n").alias("value")), context, "needy")})

    needy = stage("needy", transform)
    bench.prepare(needy)
    bench.send(NUMBERS, *(number(n, n) for n in range(20)))
    with bench.start(needy) as running:
        eventually(lambda: len(calls) >= 2)
        running.stop.set()
        (summary,) = running.end()
    assert (summary.records, summary.dead_letters) == (0, 0)
    assert summary.waiting_for == "the model is away"
    assert set(calls) == {20}
    assert bench.rows("SELECT sum(next_offset)::int FROM stream_offsets") == [(0,)]

    with bench.start(needy) as running:
        eventually(lambda: len(calls) > 5)
        away[0] = False
        eventually(lambda: bench.done(needy))
        running.stop.set()
        (summary,) = running.end()
    assert summary.waiting_for is None
    assert current(bench) == list(range(20))
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(0,)]


def test_keyed_state_survives_runs_and_batches(bench: Bench) -> None:
    count = counting()
    bench.prepare(count)
    for first in (0, 10, 20):
        bench.send(NUMBERS, *(number(first + n, 0, f"phone-{n % 2}") for n in range(10)))
        bench.drain(count)
    by_device = bench.rows("SELECT device_id, array_agg(value ORDER BY timestamp) FROM test_number_answered GROUP BY 1")
    assert dict(by_device) == {"phone-0": list(range(15)), "phone-1": list(range(15))}


def test_state_is_right_around_a_poisoned_record(bench: Bench) -> None:
    count = counting()
    inner = count.transform

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        out = inner(batch, context)
        if (batch["n"] == 13).any():
            raise PoisonError("thirteen")
        return out

    count = counting()
    object.__setattr__(count, "transform", transform)
    bench.prepare(count)
    bench.send(NUMBERS, *(number(n, 13 if n == 4 else 0) for n in range(9)))
    bench.drain(count)
    assert current(bench) == list(range(8))


def timers(bench: Bench) -> int:
    return int(bench.rows("SELECT count(*) FROM stream_timers")[0][0])


def test_a_timer_fires_in_a_quiet_stream(bench: Bench) -> None:
    late = delayed()
    bench.prepare(late)
    bench.send(NUMBERS, number(1, 600), number(2, 3_600_000))
    with bench.start(late):
        eventually(lambda: timers(bench) == 2)
        assert current(bench) == []
        eventually(lambda: current(bench) == [1], 5)
        assert timers(bench) == 1


def test_a_timer_survives_a_restart_and_is_due_in_the_next_run(bench: Bench) -> None:
    late = delayed()
    bench.prepare(late)
    bench.send(NUMBERS, number(1, 2_500))
    bench.drain(late)
    assert current(bench) == []
    with bench.start(late):
        eventually(lambda: current(bench) == [1])
    assert timers(bench) == 0


def test_a_timer_that_breaks_the_transform_is_put_off_and_the_others_fire(bench: Bench) -> None:
    late = delayed()
    inner = late.transform

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        if "phone-bad" in context.due["device_id"]:
            raise ValueError("this device has no past")
        return inner(batch, context)

    object.__setattr__(late, "transform", transform)
    bench.prepare(late)
    bench.send(NUMBERS, *(number(n, 1, d) for n, d in enumerate(["phone-1", "phone-bad", "phone-2"])))
    bench.drain(late)
    bench.send(NUMBERS, number(9, 3_600_000, "phone-3"))
    with bench.start(late):
        eventually(lambda: len(current(bench)) == 2 and bench.done(late))
    left = bench.rows("SELECT device_id, due_at > now() + interval '50 minutes' FROM stream_timers ORDER BY 1")
    assert left == [("phone-3", True), ("phone-bad", True)]
    assert bench.rows("SELECT count(*) FROM processing_errors") == [(0,)]


def test_json_and_text_reach_the_table_as_they_were(bench: Bench) -> None:
    value: dict[str, Any] = {"a": 'say "no"\\ \n é 漢 \U0001f600', "b": [1, 2.5, None, True, {"c": {}}]}

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        rows = batch.with_columns(pl.col("n").alias("value"), pl.lit(json.dumps(value)).alias("extra"))
        return Output({ANSWERS: answers(rows, context, "json")})

    made = stage("json", transform)
    bench.prepare(made)
    note = 'line\nfeed\r\ttab "quote" \\ é 漢 \U0001f600 \x01'
    bench.send(NUMBERS, number(1, 1, note=note))
    bench.drain(made)
    assert bench.rows("SELECT note, extra FROM test_number_answered") == [(note, value)]
    (message,) = (Answer.model_validate_json(v) for v in bench.topic_values(ANSWERS))
    assert (message.note, message.extra) == (note, value)


def test_a_derived_stage_never_runs_ahead_of_its_landing(bench: Bench) -> None:
    total = running_total()
    bench.prepare(LANDING, total)
    bench.send(NUMBERS, *(number(n, 1) for n in range(50)))
    with bench.start(total, landing=[LANDING]) as running:
        eventually(lambda: sum(bench.offsets(total).values()) == 0 and len(bench.offsets(total)) == 1)
        assert current(bench) == []
        running.stop.set()
        (summary,) = running.end()
    assert summary.records == 0
    (summary,) = bench.run(total, landing=[LANDING], idle_timeout=timedelta(seconds=2))
    assert summary.records == 0
    assert summary.waiting_for == f"{LANDING.name}, which lands {bench.name(NUMBERS)}"
    # landing in another run, as in another process
    with bench.start(total, landing=[LANDING]):
        bench.drain(LANDING)
        eventually(lambda: bench.done(total))
    assert current(bench) == list(range(1, 51))
