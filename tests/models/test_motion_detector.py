import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loom_contracts.topics.motion import SIGNIFICANT_MOTION
from loom_models.stages.motion_detector import GAP, GRACE, MOTION_DETECTOR, WINDOWS, events
from tests.models.frames import message_id, sink_columns
from tests.models.motion import at, read, row_of, windows
from tests.models.simulate import Simulation

LATER = at(86_400)


def found(rows: list[dict[str, Any]], now: datetime = LATER) -> list[tuple[float, str]]:
    """(seconds after noon, event) of each."""
    got, _ = events(windows(rows).select(WINDOWS.schema.names()), now, "1")
    return [((t - at(0)).total_seconds(), e) for t, e in got.select("timestamp", "event").iter_rows()]


def query(landed: pl.DataFrame, frame: pl.DataFrame, due: pl.DataFrame, now: datetime) -> Mapping[str, pl.DataFrame]:
    return {WINDOWS.name: read(WINDOWS, landed, frame, due)}


def test_a_walk_begins_and_ends() -> None:
    assert found(row_of(["still"] * 3 + ["walking"] * 4 + ["still"] * 8)) == [(15.0, "start"), (35.0, "stop")]


def test_what_a_row_says() -> None:
    rows, _ = events(windows(row_of(["walking"] * 3)).select(WINDOWS.schema.names()), LATER, "1")
    assert set(rows.columns) == sink_columns(SIGNIFICANT_MOTION)
    assert rows["intensity_mps2"].to_list() == [3.4, 3.4]
    assert rows["source_message_id"].to_list() == [message_id(1), message_id(3)]


def test_a_bump_is_no_motion_and_a_short_pause_no_end() -> None:
    assert found(row_of(["still"] * 9 + ["walking"] + ["still"] * 9)) == []
    paused = ["walking", "walking", *["still"] * 6, "walking", *["still"] * 9]
    assert found(row_of(paused)) == [(0.0, "start"), (45.0, "stop")]
    apart = ["walking", "walking", *["still"] * 7, "walking", "walking", *["still"] * 9]
    assert found(row_of(apart)) == [(0.0, "start"), (10.0, "stop"), (45.0, "start"), (55.0, "stop")]


def test_an_end_waits_for_what_may_come() -> None:
    rows = row_of(["walking"] * 3)
    end = at(15)
    assert found(rows, end + GAP + GRACE - timedelta(seconds=1)) == [(0.0, "start")]
    assert found(rows, end + GAP + GRACE) == [(0.0, "start"), (15.0, "stop")]
    assert found([*rows, {"at": 45.0, "kind": "still"}], end) == [(0.0, "start"), (15.0, "stop")]


def test_the_timer_ends_a_motion_and_a_later_window_unsets_it() -> None:
    simulation = Simulation(MOTION_DETECTOR, query)
    frame = windows(row_of(["walking"] * 3))
    for part, now in ((frame[:2], at(12)), (frame[2:], at(17))):
        simulation.land(part)
        simulation.run(part, now)
    assert list(simulation.timers.values()) == [at(15) + GAP + GRACE]
    assert [r["event"] for r in simulation.rows.values()] == ["start"]
    simulation.run(frame.clear(), at(15) + GAP + GRACE)
    assert [r["event"] for r in simulation.rows.values()] == ["start", "stop"]
    assert simulation.timers == {}


def test_a_late_window_joins_two_motions() -> None:
    """As far from either as it can be."""
    simulation = Simulation(MOTION_DETECTOR, query)
    frame = windows([{"at": float(second), "kind": "walking"} for second in (0, 5, 75, 80, 40)])
    simulation.land(frame[:4])
    simulation.run(frame[:4], LATER)
    assert [r["event"] for r in simulation.rows.values()] == ["start", "stop", "start", "stop"]
    simulation.land(frame[4:])
    simulation.run(frame[4:], LATER)
    assert sorted((r["timestamp"], r["event"]) for r in simulation.rows.values()) == [
        (at(0), "start"),
        (at(85), "stop"),
    ]


@pytest.mark.parametrize(
    ("row", "event"),
    [
        ({"magnitude_max_mps2": 45.0, "magnitude_std_mps2": 3.0, "dynamic_rms_mps2": 3.2}, "impact"),
        ({"dynamic_rms_mps2": 18.0, "magnitude_std_mps2": 9.0, "magnitude_max_mps2": 38.0}, "shake"),
        ({"x_mean_mps2": 9.8, "z_mean_mps2": 0.0}, "orientation_change"),
        ({"kind": "running"}, None),
    ],
    ids=["fall", "shaken", "turned", "running"],
)
def test_sudden_ones(row: dict[str, Any], event: str | None) -> None:
    rows = [*row_of(["still"]), {"at": 5.0, **row}]
    assert found(rows) == ([] if event is None else [(5.0, event)])


def test_a_turn_needs_the_window_before() -> None:
    turned = {"x_mean_mps2": 9.8, "z_mean_mps2": 0.0}
    assert found([*row_of(["still"]), {"at": 15.0, **turned}]) == []
    assert found([*row_of(["still"]), {"at": 5.0, **turned, "device_id": "phone-002"}]) == []
    assert found([*row_of(["still"]), {"at": 5.0, **turned, "dynamic_rms_mps2": 4.0}]) == []


def test_an_impact_tells_its_peak_without_gravity() -> None:
    hit = {"at": 0.0, "magnitude_max_mps2": 39.80665, "magnitude_std_mps2": 3.0}
    rows, _ = events(windows([hit]).select(WINDOWS.schema.names()), LATER, "1")
    assert rows["intensity_mps2"].to_list() == [pytest.approx(30.0)]


@settings(max_examples=15, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["still", "still", "still", "walking"]), min_size=1, max_size=30),
    devices=st.integers(1, 2),
    seed=st.integers(0, 2**32),
)
def test_batches_order_and_restarts_do_not_show(kinds: list[str], devices: int, seed: int) -> None:
    chance = random.Random(seed)
    rows = [row | {"device_id": f"phone-{n % devices}"} for n, row in enumerate(row_of(kinds))]
    frame = windows([row for row in rows if chance.random() < 0.7] or rows)
    expected, _ = events(frame.select(WINDOWS.schema.names()), LATER, MOTION_DETECTOR.version)
    simulation = Simulation(MOTION_DETECTOR, query)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed % 2**31)
    place, now = 0, at(0)
    while place < shuffled.height:
        part = shuffled[place : place + chance.randint(1, 3)]
        simulation.land(part)
        now += timedelta(seconds=chance.choice([0, 4, 60]))
        for _ in range(chance.choice([1, 1, 2])):
            simulation.run(part, now)
        place += part.height
    simulation.finish(frame, lambda: now)
    got = pl.DataFrame(list(simulation.rows.values()), schema=expected.schema, orient="row")
    order = ["device_id", "timestamp", "event"]
    assert_frame_equal(got.sort(order), expected.sort(order), check_exact=True)
