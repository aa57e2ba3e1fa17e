import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loom_contracts.topics.motion import ACTIVITY_CLASSIFIED
from loom_models.stages.activity_classifier import ACTIVITY_CLASSIFIER, FIXES, WINDOWS, classified
from loom_models.wakes import wakes_of
from tests.models.frames import sink_columns
from tests.models.motion import KINDS, at, fixes, read, row_of, windows
from tests.models.simulate import Simulation

NO_FIXES = pl.DataFrame(schema=FIXES.schema)
SPEEDS = {"still": 0.0, "walking": 1.4, "running": 3.1, "cycling": 5.5, "in_vehicle": 20.0}


def rows_of(rows: Sequence[Mapping[str, Any]], positions: Sequence[Mapping[str, Any]] = ()) -> pl.DataFrame:
    told = fixes(positions).select(FIXES.schema.names()) if positions else NO_FIXES
    return classified(windows(rows).select(WINDOWS.schema.names()), told, "1", None)


def found(rows: Sequence[Mapping[str, Any]], positions: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    return rows_of(rows, positions)["activity"].to_list()


def riding(kinds: Sequence[str], speeds: Sequence[float]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Windows of `kinds`, and a fix in the middle of each that tells its speed."""
    return row_of(kinds), [{"at": 5.0 * n + 2, "speed": speed} for n, speed in enumerate(speeds)]


@pytest.mark.parametrize("kind", ["still", "walking", "running", "in_vehicle"])
def test_windows_alone(kind: str) -> None:
    rows = rows_of(row_of([kind] * 5))
    assert set(rows.columns) == sink_columns(ACTIVITY_CLASSIFIED)
    assert rows["activity"].to_list() == [kind] * 5
    assert rows["confidence"].min() > 0.6  # type: ignore[operator]


@pytest.mark.parametrize("kind", list(KINDS))
def test_windows_with_speed(kind: str) -> None:
    rows = rows_of(*riding([kind] * 5, [SPEEDS[kind]] * 5))
    assert rows["activity"].to_list() == [kind] * 5
    assert rows["confidence"].min() > 0.8  # type: ignore[operator]


def test_speed_alone() -> None:
    for kind in KINDS:
        rows, positions = riding([kind] * 4, [SPEEDS[kind]] * 4)
        few = [row | {"sample_count": 3, "rhythm_share": None} for row in rows]
        assert found(few, positions) == [kind] * 4


def test_a_phone_on_the_table_of_a_train_is_in_a_vehicle() -> None:
    assert found(*riding(["still"] * 4, [38.0] * 4)) == ["in_vehicle"] * 4


def test_who_walks_in_a_train_is_in_a_vehicle() -> None:
    assert found(*riding(["walking"] * 4, [38.0] * 4)) == ["in_vehicle"] * 4


def test_a_window_that_tells_nothing_is_unknown_or_what_its_neighbours_are() -> None:
    nothing = {"sample_count": 2, "rhythm_share": None}
    rows = rows_of([{"at": 0.0, **nothing}, {"at": 600.0, "kind": "walking"}, {"at": 605.0, **nothing}])
    assert rows["activity"].to_list() == ["unknown", "walking", "walking"]
    assert rows["confidence"][0] == 0.0


def test_a_fan_makes_no_steps() -> None:
    assert found([row | {"rhythm_share": 0.9} for row in row_of(["still"] * 3)]) == ["still"] * 3


def test_one_odd_window_is_smoothed() -> None:
    kinds = ["walking"] * 4 + ["still"] + ["walking"] * 4
    assert found(row_of(kinds)) == ["walking"] * 9


def test_a_change_is_seen_where_it_is() -> None:
    assert found(row_of(["still"] * 8 + ["walking"] * 8)) == ["still"] * 8 + ["walking"] * 8


@pytest.mark.parametrize(("stop", "wanted"), [(20, "in_vehicle"), (40, "still")], ids=["red light", "parked"])
def test_a_stop_between_two_rides(stop: int, wanted: str) -> None:
    kinds = ["in_vehicle"] * 10 + ["still"] * stop + ["in_vehicle"] * 10
    got = found(*riding(kinds, [14.0] * 10 + [0.0] * stop + [14.0] * 10))
    assert got[14 : 6 + stop] == [wanted] * (stop - 8)


def test_a_stop_between_two_walks_is_a_stop() -> None:
    kinds = ["walking"] * 10 + ["still"] * 20 + ["walking"] * 10
    assert found(*riding(kinds, [SPEEDS[k] for k in kinds]))[14:26] == ["still"] * 12


def test_devices_do_not_see_each_other() -> None:
    mine, other = row_of(["walking"] * 3), [r | {"device_id": "phone-002"} for r in row_of(["still"] * 3)]
    rows = rows_of([*mine, *other])
    assert dict(rows.group_by("device_id").agg(pl.col("activity").first()).iter_rows()) == {
        "phone-001": "walking",
        "phone-002": "still",
    }


def test_an_answer_that_stays_is_no_new_row() -> None:
    before, after = rows_of(row_of(["walking"] * 20)), rows_of(row_of(["walking"] * 21))
    same = set(before["message_id"]) & set(after["message_id"])
    assert len(same) >= 18


class World:
    """Windows and fixes in tables, as the engine lands them; a fix wakes the stage."""

    def __init__(self) -> None:
        self.positions = fixes([])
        self.simulation = Simulation(ACTIVITY_CLASSIFIER, self._frames)

    def _frames(
        self, landed: pl.DataFrame, batch: pl.DataFrame, due: pl.DataFrame, now: datetime
    ) -> Mapping[str, pl.DataFrame]:
        del now
        return {WINDOWS.name: read(WINDOWS, landed, batch, due), FIXES.name: read(FIXES, self.positions, batch, due)}

    def land(self, positions: pl.DataFrame) -> None:
        self.positions = pl.concat([self.positions, positions])
        for device, key in wakes_of(positions).iter_rows():
            self.simulation.timers[device, key] = at(0)

    def work(self, part: pl.DataFrame) -> None:
        self.simulation.land(part)
        self.simulation.run(part, at(3_600))


def test_a_late_fix_amends_what_was_answered() -> None:
    world = World()
    world.work(windows(row_of(["still"] * 3)))
    assert {r["activity"] for r in world.simulation.rows.values()} == {"still"}
    world.land(fixes([{"at": 3.0, "speed": 30.0}, {"at": 9.0, "speed": 30.0}]))
    world.work(windows([]))
    assert {r["activity"] for r in world.simulation.rows.values()} == {"in_vehicle"}
    assert world.simulation.timers == {}


def test_who_drives_on_was_at_a_red_light() -> None:
    world = World()
    ride, light = row_of(["in_vehicle"] * 6), row_of(["still"] * 31, 30.0)
    world.work(windows([*ride, *light]))
    told = {r["timestamp"]: r["activity"] for r in world.simulation.rows.values()}
    assert [told[at(row["at"])] for row in light[1:]] == ["still"] * 30
    on = windows(row_of(["in_vehicle"] * 6, 185.0)).with_columns(pl.col("message_id").str.replace("^0", "f"))
    world.work(on)
    assert {r["activity"] for r in world.simulation.rows.values()} == {"in_vehicle"}
    assert len(world.simulation.rows) == 43


@settings(max_examples=12, deadline=None)
@given(
    stretches=st.lists(
        st.tuples(st.sampled_from(["still", "walking", "in_vehicle"]), st.integers(1, 25)), min_size=1, max_size=6
    ),
    seed=st.integers(0, 2**32),
)
def test_batches_order_and_restarts_do_not_show(stretches: list[tuple[str, int]], seed: int) -> None:
    chance = random.Random(seed)
    kinds = [kind for kind, windows_of_it in stretches for _ in range(windows_of_it)]
    rows = [
        row | {"device_id": f"phone-{chance.random() < 0.1}"}
        for n, row in enumerate(row_of(kinds))
        if chance.random() < 0.9
    ]
    positions = fixes(
        [
            {"at": 5 * n + chance.randint(0, 9), "device_id": "phone-False", "latitude": 52 + chance.random() / 100}
            | ({"speed": SPEEDS[kind]} if chance.random() < 0.5 else {})
            for n, kind in enumerate(kinds)
            if chance.random() < 0.3
        ]
    )
    frame = windows(rows)
    expected = classified(
        frame.select(WINDOWS.schema.names()), positions.select(FIXES.schema.names()), ACTIVITY_CLASSIFIER.version, None
    )
    world = World()
    parts: list[tuple[str, pl.DataFrame]] = []
    for name, whole in (("windows", frame), ("fixes", positions)):
        shuffled = whole.sample(fraction=1.0, shuffle=True, seed=seed % 2**31)
        place = 0
        while place < shuffled.height:
            parts.append((name, shuffled[place : place + chance.randint(1, 6)]))
            place += parts[-1][1].height
    chance.shuffle(parts)
    for name, part in parts:
        if name == "fixes":
            world.land(part)
        else:
            for _ in range(chance.choice([1, 1, 2])):
                world.work(part)
    world.work(frame.clear())
    got = pl.DataFrame(list(world.simulation.rows.values()), schema=expected.schema, orient="row")
    order = ["device_id", "timestamp"]
    assert_frame_equal(got.sort(order), expected.sort(order), check_exact=True)
