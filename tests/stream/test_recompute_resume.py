"""A recompute that was killed goes on where it was, and ends with the rows that it would have had in one go."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_contracts.table import ColumnType
from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED
from loom_models.stage import BatchPolicy, Context, Output, Stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_platform.stream.api import StageSummary, recompute
from loom_platform.stream.writer import Writer
from tests.stream.bench import Bench
from tests.stream.process import STAGES
from tests.stream.stages import LANDING, NOON, NUMBERS, counting, number, running_total

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DAY = NOON.date()
ANSWERED = """
SELECT timestamp, device_id, message_id, value FROM test_number_answered WHERE superseded_at IS NULL ORDER BY 1, 2, 3
"""
LEFT = "SELECT (SELECT count(*) FROM recompute_progress) + (SELECT count(*) FROM recompute_confirmed)"


class Killed(BaseException):
    """As if the process had ended here: the transaction is rolled back."""


def again(bench: Bench, stage: Stage, on_point: Callable[[str], None] | None = None, **how: Any) -> StageSummary:
    config = replace(bench.config, on_point=on_point) if on_point else bench.config
    return recompute(stage, DAY, DAY, config, on_report=lambda _: None, stop=threading.Event(), **how)


def watched(stage: Stage) -> tuple[Stage, list[str]]:
    """`stage`, and the identities of the records that its transform is given."""
    seen: list[str] = []

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        seen.extend(batch["message_id"])
        return stage.transform(batch, context)

    return replace(stage, transform=transform), seen


def land(bench: Bench, count: int = 150, devices: int = 3) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, *(number(n * 7 % 1_009, n, f"phone-{n % devices}") for n in range(count)))
    bench.drain(LANDING)


def kill_at(point: str, after: int) -> Callable[[str], None]:
    passed = 0

    def on_point(name: str) -> None:
        nonlocal passed
        if name == point:
            passed += 1
            if passed > after:
                raise Killed

    return on_point


@pytest.mark.parametrize("stage", [STAGES["count"], STAGES["total"]], ids=lambda s: s.name)
@pytest.mark.parametrize(("point", "after"), [("slice", 3), ("sliced", 3), ("end", 1)])
def test_kill_9(bench: Bench, stage: Stage, point: str, after: int) -> None:
    """Three devices of fifty records in slices of thirty: six slices, three ends."""
    land(bench)
    config = bench.config
    order = {
        "config": {
            "database_url": config.database_url,
            "bootstrap_servers": config.bootstrap_servers,
            "run_id": "dead",
        },
        "stages": [stage.name],
        "at": (point, after),
        "signal": int(signal.SIGKILL),
        "day": DAY.isoformat(),
    }
    command = [sys.executable, "-m", "tests.stream.process", json.dumps(order)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    before = bench.rows(ANSWERED)

    stage, seen = watched(stage)
    summary = again(bench, stage)

    assert summary.records == 150, "the summary is of the whole"
    assert len(seen) == {"slice": 70, "sliced": 50, "end": 50}[point], "what was done is not done again"
    resumed = bench.rows(ANSWERED)
    assert set(before) <= set(resumed)
    assert bench.rows(LEFT) == [(0,)]
    again(bench, stage)
    assert bench.rows(ANSWERED) == resumed
    assert len(resumed) == 150


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.lists(st.tuples(st.sampled_from(("slice", "sliced", "end")), st.integers(0, 6)), max_size=4),
    rows=st.integers(5, 60),
    changed=st.booleans(),
)
def test_any_kills(bench: Bench, kills: Sequence[tuple[str, int]], rows: int, changed: bool) -> None:
    """Killed anywhere, any number of times, also with other answers before: the end is that of one go."""
    if not bench.sent:
        land(bench, 90)
    stage = counting(policy=BatchPolicy(max_rows=rows))
    bench.execute("DELETE FROM test_number_answered")
    again(bench, running_total("count", start=7) if changed else stage, anew=True)
    for point, after in kills:
        try:
            again(bench, stage, kill_at(point, after))
        except Killed:
            continue
    again(bench, stage)
    found = bench.rows(
        "SELECT value FROM test_number_answered WHERE superseded_at IS NULL ORDER BY device_id, timestamp"
    )
    assert found == [(n,) for _ in range(3) for n in range(30)]
    assert bench.rows(LEFT) == [(0,)]


def test_only_the_same_request_goes_on(bench: Bench) -> None:
    land(bench)
    stage, seen = watched(counting(policy=BatchPolicy(max_rows=30)))
    with pytest.raises(Killed):
        again(bench, stage, kill_at("sliced", 1))
    seen.clear()
    again(bench, stage, devices=["phone-0"])
    assert len(seen) == 50, "another request is another recompute"
    again(bench, stage)
    assert len(seen) == 50 + 150

    with pytest.raises(Killed):
        again(bench, stage, kill_at("sliced", 1))
    seen.clear()
    again(bench, stage, anew=True)
    assert len(seen) == 150


def test_what_has_changed_meanwhile_begins_anew(bench: Bench) -> None:
    land(bench)
    stage, seen = watched(
        replace(counting(policy=BatchPolicy(max_rows=30)), inputs="(SELECT count(*) FROM georegions)")
    )
    with pytest.raises(Killed):
        again(bench, stage, kill_at("sliced", 2))
    bench.execute(
        "INSERT INTO georegions (name, kind, shape, latitude, longitude, radius_m) "
        "VALUES ('x', 'home', 'circle', 1, 1, 1)"
    )
    seen.clear()
    again(bench, stage)
    assert len(seen) == 150


def test_what_is_long_ago_begins_anew(bench: Bench) -> None:
    land(bench)
    stage, seen = watched(counting(policy=BatchPolicy(max_rows=30)))
    with pytest.raises(Killed):
        again(bench, stage, kill_at("sliced", 2))
    bench.execute("UPDATE recompute_progress SET updated_at = now() - interval '25 hours'")
    seen.clear()
    again(bench, stage)
    assert len(seen) == 150


def test_only_some_devices(bench: Bench) -> None:
    land(bench)
    again(bench, running_total())
    before = bench.rows(ANSWERED)
    summary = again(bench, running_total(start=1_000), devices=["phone-1", "nobody"])
    assert (summary.records, summary.rows) == (50, 50)
    changed = {row for row in bench.rows(ANSWERED) if row not in before}
    assert {device for _, device, _, _ in changed} == {"phone-1"}
    assert len(changed) == 50


def test_rows_that_came_while_it_was_broken_off_stand(bench: Bench) -> None:
    """What live has answered since the recompute began is not superseded by it, however long it was away."""
    land(bench)
    stage = counting(policy=BatchPolicy(max_rows=30))
    with pytest.raises(Killed):
        again(bench, stage, kill_at("sliced", 2))
    live = """
        INSERT INTO test_number_answered SELECT timestamp, gen_random_uuid(), device_id, schema_version, trace_id,
            span_id, source_message_id, stage, stage_version, 4711, note, extra FROM test_number_answered LIMIT 1
    """
    bench.execute(live)
    again(bench, stage)
    assert bench.rows("SELECT count(*) FROM test_number_answered WHERE value = 4711 AND superseded_at IS NULL") == [
        (1,)
    ]


def test_a_database_that_goes_away_is_waited_for(bench: Bench) -> None:
    land(bench)
    ended = False

    def on_point(name: str) -> None:
        nonlocal ended
        if name == "slice" and not ended:
            ended = True
            bench.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
                "loom recompute count%",
            )

    summary = again(bench, counting(policy=BatchPolicy(max_rows=30)), on_point)
    assert ended
    assert (summary.records, summary.rows) == (150, 150)


def test_two_at_once_follow_each_other(bench: Bench) -> None:
    land(bench)
    stage = counting(policy=BatchPolicy(max_rows=10))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            assert again(bench, stage).records == 150
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    found = bench.rows(
        "SELECT value FROM test_number_answered WHERE superseded_at IS NULL ORDER BY device_id, timestamp"
    )
    assert found == [(n,) for _ in range(3) for n in range(50)]


@pytest.mark.parametrize("rows", [1, 7, 40, 10_000])
def test_windows_from_their_slices_are_those_from_the_table(bench: Bench, rows: int) -> None:
    """Slices end between windows, however many samples one has; context from the slice is what the SQL says."""
    chance = random.Random(rows)
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    at = sorted(chance.choice([chance.uniform(0, 60), chance.uniform(86_300, 86_400 - 1e-6)]) for _ in range(300))
    frame = pl.DataFrame(
        {
            "timestamp": [start + timedelta(seconds=s) for s in at],
            "message_id": [f"{chance.getrandbits(128):032x}" for _ in at],
            "device_id": [f"phone-{n % 2}" for n in range(len(at))],
            "kafka_offset": range(len(at)),
        }
    ).with_columns(
        pl.lit("1.0").alias("schema_version"),
        pl.lit(None, pl.String).alias("trace_id"),
        pl.lit(None, pl.String).alias("span_id"),
        pl.int_range(pl.len()).cast(pl.Float64).alias("x"),
        y=1.0,
        z=9.81,
        kafka_partition=0,
        received_at=pl.col("timestamp"),
    )
    with psycopg.connect(bench.config.database_url) as connection:
        Writer(connection).write(ACCELEROMETER_RAW.table, frame)
    every = (
        f"SELECT {', '.join(c.name for c in ACCELEROMETER_WINDOWED.table.columns)} "
        "FROM device_sensor_accelerometer_windowed WHERE superseded_at IS NULL ORDER BY timestamp, device_id"
    )
    numbers = [n for n, c in enumerate(ACCELEROMETER_WINDOWED.table.columns) if c.type is ColumnType.FLOAT]

    policy = replace(ACCELEROMETER_WINDOW.policy, max_rows_again=rows)
    again(bench, replace(ACCELEROMETER_WINDOW, policy=policy))
    found = bench.rows(every)
    bench.execute("DELETE FROM device_sensor_accelerometer_windowed")
    context = tuple(replace(q, window=None, from_batch=None) for q in ACCELEROMETER_WINDOW.context)
    again(bench, replace(ACCELEROMETER_WINDOW, context=context, policy=replace(policy, max_rows_again=None)))
    expected = bench.rows(every)
    assert len(found) > 30
    assert [row[:3] for row in found] == [row[:3] for row in expected], "the same samples, so the same identities"
    for one, two in zip(found, expected, strict=True):
        assert [one[n] for n in numbers] == pytest.approx([two[n] for n in numbers])


def test_a_day_is_not_left_in_the_way(bench: Bench) -> None:
    """Between two slices the recompute holds no lock: partitions can come and go."""
    land(bench)
    locks: list[Any] = []

    def on_point(name: str) -> None:
        if name == "sliced":
            locks.extend(
                bench.rows(
                    "SELECT a.application_name, c.relname FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                    "JOIN pg_class c ON c.oid = l.relation WHERE a.application_name LIKE 'loom recompute%%' "
                    "AND c.relname LIKE 'test_number%%'"
                )
            )

    again(bench, counting(policy=BatchPolicy(max_rows=30)), on_point)
    assert locks == []
