"""Rates of charge, and the time to full and empty, on literal readings."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import POWER_ENRICHED, POWER_RAW
from loom_models.power import COUNTS_SQL, PLUGGED_SQL, PLUGGED_WORDS
from loom_models.stage import Context
from loom_models.stages.power_enriched import READINGS, transform
from tests.models.frames import NOON, batch, message_id, sink_columns

Reading = tuple[float, float, bool]
"""Minutes after noon, percent, whether it is charging."""


def frame(readings: Sequence[Reading], **more: Any) -> pl.DataFrame:
    rows = []
    for number, (minutes, level, charging) in enumerate(readings):
        at = NOON + timedelta(minutes=minutes)
        rows.append(
            {"message_id": message_id(number + 1), "timestamp": at, "received_at": at, "battery_level": level}
            | {"is_charging": charging, "power_source": "USB" if charging else "Battery"}
            | more
        )
    return batch(POWER_RAW, rows)


def answers(landed: pl.DataFrame, given: pl.DataFrame | None = None) -> pl.DataFrame:
    """The rows of `given`, or of all that is landed, and of all that comes after it."""
    part = landed if given is None else given
    target = pl.col("timestamp") >= part["timestamp"].min()
    frames = {READINGS.name: landed.with_columns(target.alias("target")).select(READINGS.schema.names())}
    rows = transform(part, Context("1", NOON, frames)).rows[POWER_ENRICHED]
    assert set(rows.columns) == sink_columns(POWER_ENRICHED)
    return rows.sort("timestamp", "source_message_id")


def test_draining_by_whole_percents() -> None:
    rows = answers(frame([(m, float(80 - m // 12), False) for m in range(0, 180, 2)]))
    last = rows.row(-1, named=True)
    assert last["rate_percent_per_hour"] == pytest.approx(-5.0, abs=0.4)
    assert last["seconds_to_empty"] == pytest.approx(last["battery_level"] / 5.0 * 3600, rel=0.1)
    assert (last["seconds_to_full"], last["is_plugged"], last["power_source"]) == (None, False, "battery")
    assert last["rate_seconds"] == 3600 + 120
    assert rows.head(3)["rate_percent_per_hour"].to_list() == [None] * 3, "a percent in two minutes says nothing"


def test_charging_up_to_full() -> None:
    rows = answers(frame([(m, min(100.0, 40.0 + m), True) for m in range(0, 100, 5)]))
    at_half = rows.filter(pl.col("battery_level") == 70.0).row(0, named=True)
    assert at_half["rate_percent_per_hour"] == 60.0
    assert at_half["seconds_to_full"] == 1800.0
    last = rows.row(-1, named=True)
    assert (last["rate_percent_per_hour"], last["seconds_to_full"], last["seconds_to_empty"]) == (0.0, 0.0, None)


def test_the_charger_begins_a_rate_anew() -> None:
    rows = answers(frame([(0, 50, False), (10, 49, False), (20, 50, True), (30, 60, True)]))
    assert rows["rate_percent_per_hour"].to_list() == [None, -6.0, None, 60.0]


def test_rare_readings_have_a_rate_and_a_long_pause_ends_it() -> None:
    rows = answers(frame([(0, 90, False), (180, 75, False), (600, 60, False)]))
    assert rows["rate_percent_per_hour"].to_list() == [None, -5.0, None]
    assert rows["rate_seconds"].to_list() == [None, 180 * 60, None]


def test_a_battery_that_jumps() -> None:
    """A glitch of one reading: there is no rate across it."""
    rows = answers(frame([(0, 80, False), (10, 79, False), (10.1, 14, False), (10.2, 79, False), (20, 78, False)]))
    assert rows["quality"].to_list() == ["ok", "ok", "jump", "jump", "ok"]
    assert rows["rate_percent_per_hour"].to_list() == [
        None,
        -6.0,
        None,
        pytest.approx(-5.9, abs=0.1),
        pytest.approx(-6.0, abs=0.3),
    ]


def test_a_clock_that_is_two_hours_ahead() -> None:
    readings = frame([(0, 80, False), (30, 78, False), (60, 76, False)])
    wrong = frame([(50, 20, True)], message_id=message_id(9), received_at=NOON - timedelta(minutes=70))
    rows = answers(pl.concat([readings, wrong]))
    assert rows["quality"].to_list() == ["ok", "ok", "clock_ahead", "ok"]
    assert rows["rate_percent_per_hour"].to_list() == [None, -4.0, None, -4.0]
    assert rows["seconds_to_full"][2] is None


def test_the_same_reading_twice_is_answered_twice_and_counts_once() -> None:
    readings = frame([(0, 80, False), (30, 78, False)])
    twice = pl.concat([readings, readings.with_columns(pl.lit(message_id(7)).alias("message_id"))[-1:]])
    rows = answers(twice)
    assert rows["rate_percent_per_hour"].to_list() == [None, -4.0, -4.0]
    assert answers(pl.concat([twice, twice])).equals(rows)


@pytest.mark.parametrize(
    ("word", "charging", "source", "is_plugged"),
    [
        ("USB", True, "usb", True),
        ("AC", False, "ac", True),
        ("Wireless", False, "wireless", True),
        ("unplugged", False, "battery", False),
        ("full", True, "unknown", True),
        (None, False, "unknown", False),
    ],
)
def test_words_of_devices(word: str | None, charging: bool, source: str, is_plugged: bool) -> None:
    rows = answers(frame([(0, 80, charging)], power_source=word))
    assert rows.select("power_source", "is_plugged").row(0) == (source, is_plugged)


def test_the_condition_in_sql_is_that_of_the_frames() -> None:
    assert ", ".join(f"'{word}'" for word in PLUGGED_WORDS) in PLUGGED_SQL
    assert COUNTS_SQL == "timestamp <= received_at + interval '300 seconds'"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 200).map(lambda n: n * 2.5), st.integers(0, 100).map(float), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    st.data(),
)
def test_any_order_and_any_batches_give_the_answers_of_one_batch(readings: list[Reading], data: st.DataObject) -> None:
    whole = frame(readings)
    left = whole[data.draw(st.permutations(range(whole.height)))]
    landed, standing = whole.clear(), dict[str, dict[str, Any]]()
    while left.height:
        count = data.draw(st.integers(1, left.height))
        landed, given, left = pl.concat([landed, left[:count]]), left[:count], left[count:]
        standing |= {row["source_message_id"]: row for row in answers(landed, given).iter_rows(named=True)}
    expected = {row["source_message_id"]: row for row in answers(whole).iter_rows(named=True)}
    assert standing == expected
