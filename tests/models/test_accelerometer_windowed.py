import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED
from loom_models.stage import Context
from loom_models.stages.accelerometer_windowed import (
    ACCELEROMETER_WINDOW,
    GRACE,
    SAMPLES,
    WINDOW,
    features,
)
from tests.models.frames import NOON, batch, message_id, sink_columns
from tests.models.simulate import Simulation

COLUMNS = list(SAMPLES.schema)


def samples(*rows: tuple[float, float, float, float], device: str = "phone-001") -> pl.DataFrame:
    """Rows of (seconds after noon, x, y, z)."""
    frame = batch(
        ACCELEROMETER_RAW,
        [
            {"device_id": device, "timestamp": NOON + timedelta(seconds=t), "x": x, "y": y, "z": z}
            for t, x, y, z in rows
        ],
    )
    return frame


def query(landed: pl.DataFrame, frame: pl.DataFrame, due: pl.DataFrame, now: datetime) -> Mapping[str, pl.DataFrame]:
    """What the SQL of SAMPLES says, in Python."""
    given = SAMPLES.parameters(frame, due)
    if given is None:
        return {SAMPLES.name: pl.DataFrame(schema=SAMPLES.schema)}
    rows = landed.with_columns(pl.col("timestamp").dt.truncate("5s").alias("start"))
    wanted = set()
    columns = [given[k] for k in ("devices", "starts", "ready_at", "first")]
    for device, start, ready_at, first in zip(*columns, strict=True):
        if ready_at <= now:
            wanted.add((device, start))
        earlier = rows.filter(
            (pl.col("device_id") == device)
            & pl.col("timestamp").is_between(start - timedelta(minutes=1), start, closed="left")
        )
        if first and not earlier.is_empty():
            wanted.add((device, earlier["start"].max()))
    keys = pl.DataFrame(sorted(wanted), schema={"device_id": pl.String, "start": rows.schema["start"]}, orient="row")
    return {SAMPLES.name: rows.join(keys, on=["device_id", "start"], how="semi").select(COLUMNS)}


def test_features_of_a_window_by_hand() -> None:
    rows = features(samples((0.0, 0.0, 0.0, 3.0), (1.0, 0.0, 4.0, 0.0), (2.0, 0.0, 0.0, 5.0)).select(COLUMNS), "1")
    row = rows.row(0, named=True)
    assert set(rows.columns) == sink_columns(ACCELEROMETER_WINDOWED)
    assert (row["timestamp"], row["window_end"], row["window_ms"]) == (NOON, NOON + WINDOW, 5_000)
    assert (row["sample_count"], row["rate_hz"]) == (3, 0.6)
    assert (row["y_mean_mps2"], row["y_min_mps2"], row["y_max_mps2"]) == (pytest.approx(4 / 3), 0.0, 4.0)
    assert row["y_std_mps2"] == pytest.approx(math.sqrt(32 / 9))
    assert row["magnitude_mean_mps2"] == 4.0
    assert row["dynamic_rms_mps2"] == pytest.approx(math.sqrt(32 / 9 + 38 / 9))
    # The steps are (0, 4, -3) and (0, -4, 5), a second each.
    assert row["jerk_rms_mps3"] == pytest.approx(math.sqrt((25 + 41) / 2))
    assert row["crossing_rate_hz"] == 0.5
    assert row["source_message_id"] == message_id(3)


def test_one_sample_has_no_change() -> None:
    row = features(samples((0.0, 1.0, 2.0, 2.0)).select(COLUMNS), "1").row(0, named=True)
    assert row["jerk_rms_mps3"] is None
    assert row["crossing_rate_hz"] is None
    assert row["magnitude_mean_mps2"] == 3.0
    assert row["x_std_mps2"] == 0.0


def test_samples_of_one_time_have_no_jerk() -> None:
    row = features(samples((1.0, 1.0, 2.0, 2.0), (1.0, 5.0, 2.0, 2.0)).select(COLUMNS), "1").row(0, named=True)
    assert row["jerk_rms_mps3"] is None
    assert row["crossing_rate_hz"] is None


def test_an_open_window_waits_and_a_closed_one_does_not() -> None:
    simulation = Simulation(ACCELEROMETER_WINDOW, query)
    first = samples((1.0, 0, 0, 9.8), (4.9, 0, 0, 9.8))
    simulation.land(first)
    assert simulation.run(first, NOON + timedelta(seconds=5)).rows[ACCELEROMETER_WINDOWED].is_empty()
    assert list(simulation.timers.values()) == [NOON + WINDOW + GRACE]
    second = samples((5.0, 0, 0, 9.8)).with_columns(pl.lit(message_id(9)).alias("message_id"))
    simulation.land(second)
    rows = simulation.run(second, NOON + timedelta(seconds=5.1)).rows[ACCELEROMETER_WINDOWED]
    assert rows["timestamp"].to_list() == [NOON]
    assert list(simulation.timers.values()) == [NOON + 2 * WINDOW + GRACE]


def test_a_sample_from_the_future_does_not_make_each_batch_answer() -> None:
    simulation = Simulation(ACCELEROMETER_WINDOW, query)
    glitch = samples((3600.0, 0, 0, 9.8)).with_columns(pl.lit(message_id(999)).alias("message_id"))
    simulation.land(glitch)
    simulation.run(glitch, NOON)
    for i in range(20):
        sample = samples((i * 0.02, 0, 0, 9.8)).with_columns(pl.lit(message_id(i + 1)).alias("message_id"))
        simulation.land(sample)
        simulation.run(sample, NOON + timedelta(seconds=i * 0.02))
    assert simulation.answers == 0


def test_a_late_sample_gives_its_window_a_new_answer() -> None:
    simulation = Simulation(ACCELEROMETER_WINDOW, query)
    now = NOON + timedelta(hours=1)
    for number, at in enumerate((1.0, 6.0, 2.0), 1):
        sample = samples((at, 0, 0, 9.8)).with_columns(
            pl.lit(message_id(number)).alias("message_id"),
            pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("received_at"),
        )
        simulation.land(sample)
        simulation.run(sample, now)
    simulation.finish(sample, lambda: now)
    rows = sorted(simulation.rows.values(), key=lambda r: str(r["timestamp"]))
    assert [r["sample_count"] for r in rows] == [2, 1]


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    devices=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    ahead=st.booleans(),
)
def test_batches_order_and_restarts_do_not_show(times: list[int], devices: int, seed: int, ahead: bool) -> None:
    chance = random.Random(seed)
    frame = batch(
        ACCELEROMETER_RAW,
        [
            {
                "device_id": f"phone-{n % devices}",
                "timestamp": NOON + timedelta(milliseconds=100 * t),
                "received_at": NOON + timedelta(milliseconds=100 * t),
                "x": chance.uniform(-5, 5),
                "y": chance.uniform(-5, 5),
                "z": chance.uniform(-5, 5),
            }
            for n, t in enumerate(times)
        ],
    )
    expected = features(frame.select(COLUMNS), ACCELEROMETER_WINDOW.version)
    simulation = Simulation(ACCELEROMETER_WINDOW, query)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed % 2**31)
    if ahead:
        simulation.land(shuffled)
    now, at = NOON, 0
    while at < shuffled.height:
        size = chance.randint(1, 12)
        part = shuffled[at : at + size]
        simulation.land(part)
        now += timedelta(seconds=chance.choice([0, 0.05, 3, 20]))
        simulation.run(part, now)
        if chance.random() < 0.2:
            # A crash before the commit of the offset: the batch comes again.
            simulation.run(part, now)
        at += size
    simulation.finish(frame, lambda: now)
    got = pl.DataFrame(list(simulation.rows.values()), schema=expected.schema, orient="row")
    order = ["device_id", "timestamp"]
    assert_frame_equal(got.sort(order), expected.sort(order), check_exact=True)


def test_a_recompute_answers_every_past_window() -> None:
    simulation = Simulation(ACCELEROMETER_WINDOW, query, live=False)
    frame = samples(*((t * 0.5, 0.0, 0.0, 9.8) for t in range(40)))
    simulation.land(frame)
    rows = simulation.run(frame, NOON + timedelta(days=3)).rows[ACCELEROMETER_WINDOWED]
    assert rows.height == 4


def test_an_empty_batch_asks_for_nothing() -> None:
    empty = samples()
    assert SAMPLES.parameters(empty, Context("1", NOON).due) is None
