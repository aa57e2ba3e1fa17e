"""Bad fixes are found, good ones are not; and a verdict depends on no more than it says."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import GPS_CLEANED
from loom_models.cleaning import REACH, clean
from loom_models.stage import Context
from loom_models.stages.gps_cleaned import FIX_SCHEMA, FIXES, GPS_CLEANER
from tests.models.frames import NOON, batch, message_id, sink_columns

HERE = {"latitude": 52.5, "longitude": 13.4, "accuracy": 8.0}
METRE = 1 / 111_195.0


def north(metres: float, **more: Any) -> dict[str, Any]:
    """A fix so far to the north of here."""
    return HERE | {"latitude": 52.5 + metres * METRE} | more


def drive(count: int, metres: float = 150.0) -> list[dict[str, Any]]:
    """On a road, with a fix every ten seconds and so many metres."""
    return [north(metres * n) for n in range(count)]


def reasons(rows: list[dict[str, Any]], seconds: float = 10.0) -> list[str | None]:
    return clean(frame(rows, seconds)).sort("kafka_offset")["reason"].to_list()


def frame(rows: list[dict[str, Any]], seconds: float = 10.0) -> pl.DataFrame:
    timed = []
    for n, row in enumerate(rows):
        at = NOON + timedelta(seconds=seconds * n)
        timed.append({"timestamp": at, "received_at": row.get("timestamp", at)} | row)
    return batch(GPS_RAW, timed)


def test_a_drive_is_believed() -> None:
    assert reasons(drive(60)) == [None] * 60


def test_nowhere_and_nobody_knows_where() -> None:
    rows = drive(6)
    rows[2] = {"latitude": 0.0, "longitude": 0.0}
    rows[4] = north(600, accuracy=3_000.0)
    assert reasons(rows) == [None, None, "null_island", None, "inaccurate", None]


def test_a_clock_that_is_two_hours_ahead() -> None:
    ahead = {"timestamp": NOON + timedelta(hours=2), "received_at": NOON + timedelta(seconds=20)}
    assert reasons([*drive(2), north(300, **ahead), *drive(2)]).count("clock") == 1


def test_of_one_moment_the_best_is_taken() -> None:
    at = NOON + timedelta(seconds=10)
    rows = [north(0), north(150, timestamp=at), north(150, timestamp=at), north(170, timestamp=at, accuracy=4.0)]
    assert reasons(rows) == [None, "duplicate", "duplicate", None]


@pytest.mark.parametrize("metres", [400.0, 5_000.0, 9_000_000.0])
def test_a_teleport(metres: float) -> None:
    """Aside and back at once, in the next street or on another continent."""
    rows = drive(20, 20.0)
    rows[9] = HERE | {"latitude": max(52.5 - metres * METRE, -20.0)}
    assert reasons(rows) == [None] * 9 + ["jump"] + [None] * 10


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_teleport_of_several_fixes(count: int) -> None:
    rows = drive(30)
    for n in range(count):
        rows[12 + n] = {"latitude": 40.0, "longitude": -3.0}
    assert [n for n, reason in enumerate(reasons(rows)) if reason] == list(range(12, 12 + count))


def test_a_flight_is_no_teleport() -> None:
    assert reasons(drive(20, 250.0 * 60), 60.0) == [None] * 20


def test_who_wakes_up_elsewhere_is_there() -> None:
    """After a long flight without fixes the first ones there are right."""
    assert reasons([*drive(10), *(north(8_000_000 + n * 10) for n in range(10))], 3_600.0) == [None] * 20


def test_a_position_from_before_is_stale() -> None:
    rows = drive(12)
    rows[7] = rows[4]
    assert [n for n, reason in enumerate(reasons(rows)) if reason] == [7]
    rows = drive(12)
    rows[7] = rows[6] | {"speed": 15.0}
    assert reasons(rows)[7] == "stale"


def test_a_phone_at_rest_may_repeat_itself() -> None:
    assert reasons([HERE] * 20) == [None] * 20
    coarse = [HERE, north(110.0)] * 10
    assert reasons(coarse, 60.0) == [None] * 20


def test_devices_and_an_empty_frame() -> None:
    rows = [HERE | {"device_id": d} for d in ("phone-b", "phone-a")] * 3
    far = {"latitude": -30.0}
    assert reasons([r | (far if r["device_id"] == "phone-a" else {}) for r in rows]) == [None] * 6
    assert clean(frame([])).is_empty()


def test_rows_of_the_stage() -> None:
    fixes = frame([*drive(3), {"latitude": 0.0, "longitude": 0.0}])
    output = GPS_CLEANER.transform(fixes[3:], Context("1", NOON, {FIXES.name: fixes.select(FIX_SCHEMA.names())}))
    rows = output.rows[GPS_CLEANED].sort("timestamp")
    assert set(rows.columns) == sink_columns(GPS_CLEANED)
    assert rows["accepted"].to_list() == [True, True, True, False]
    assert rows["source_message_id"].to_list() == [message_id(n) for n in (1, 2, 3, 4)]
    (span,) = output.spans[GPS_CLEANED].iter_rows()
    assert span[1] == NOON
    assert span[2] > NOON + timedelta(seconds=30)


moves = st.sampled_from(("on", "on", "on", "same", "far", "nowhere", "back", "twin", "wait"))


def walk(steps: list[str]) -> pl.DataFrame:
    """Fixes by what happens from one to the next."""
    rows: list[dict[str, Any]] = []
    at, metres = NOON, 0.0
    for step in steps:
        at += timedelta(seconds={"wait": 3_000, "twin": 0}.get(step, 10))
        metres += 200.0
        row = north(metres, timestamp=at)
        if step == "same" and rows:
            row = rows[-1] | {"timestamp": at}
        if step == "back" and len(rows) > 3:
            row = rows[-3] | {"timestamp": at}
        if step == "far":
            row["latitude"] = -30.0
        if step == "nowhere":
            row |= {"latitude": 0.0, "longitude": 0.0}
        rows.append(row)
    return frame(rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(moves, min_size=1, max_size=70), st.data())
def test_a_verdict_depends_on_what_is_near(steps: list[str], data: st.DataObject) -> None:
    """Whoever reads twice `REACH` moments around a fix gives it, and those within `REACH`, the verdict of the whole."""
    fixes = walk(steps)
    everything = clean(fixes)
    target = data.draw(st.integers(0, fixes.height - 1))
    moment = everything["moment"][target]
    near = everything.filter((pl.col("moment") - moment).abs() <= 2 * REACH + 1)
    part = clean(near.select(fixes.columns))
    inner = (pl.col("moment") - moment).abs() <= REACH
    expected = dict(everything.filter(inner).select("message_id", "reason").iter_rows())
    got = dict(part.select("message_id", "reason").iter_rows())
    assert {k: got[k] for k in expected} == expected
