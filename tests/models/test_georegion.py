import json
import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_models.stage import Context
from loom_models.stages.georegion import (
    EARTH_RADIUS_M,
    FIXES,
    GEOREGION_DETECTOR,
    REGIONS,
    inside_circles,
    inside_polygons,
    transform,
)
from tests.models.frames import NOON, batch, message_id, sink_columns
from tests.models.simulate import Simulation

HOME, PARK = message_id(901), message_id(902)
SQUARE = {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]}


def region(number: int, **shape: Any) -> dict[str, Any]:
    return {
        "region_id": message_id(900 + number),
        "region_name": f"region {number}",
        "region_kind": "custom",
        "region_revision": number,
        "latitude": 0.5,
        "longitude": 0.5,
        "radius_m": None,
        "polygon": None,
    } | shape


def regions(*rows: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=REGIONS.schema, orient="row")


BOTH = regions(region(1, latitude=10.0, longitude=20.0, radius_m=100.0), region(2, polygon=json.dumps(SQUARE)))


def fixes(*places: tuple[float, float, float], device: str = "phone-001") -> pl.DataFrame:
    """Rows of (minutes after noon, latitude, longitude)."""
    rows = [
        {
            "device_id": device,
            "timestamp": NOON + timedelta(minutes=t),
            "latitude": la,
            "longitude": lo,
            "accuracy": 5.0,
        }
        for t, la, lo in places
    ]
    return batch(GPS_RAW, rows)


def answer(
    landed: pl.DataFrame, frame: pl.DataFrame | None = None, places: pl.DataFrame = BOTH
) -> list[dict[str, Any]]:
    frames = {FIXES.name: landed.select(FIXES.schema.names()), REGIONS.name: places}
    rows = transform(landed if frame is None else frame, Context("1", NOON, frames)).rows[GEOREGION_DETECTED]
    assert set(rows.columns) == sink_columns(GEOREGION_DETECTED)
    return list(rows.iter_rows(named=True))


def events(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str | None]]:
    """(number of the fix, event, region) of each row."""
    return [(int(r["source_message_id"][-4:], 16), r["event"], r["region_name"]) for r in rows]


def query(landed: pl.DataFrame, frame: pl.DataFrame, due: pl.DataFrame, now: datetime) -> Mapping[str, pl.DataFrame]:
    """What the SQL of FIXES says, in Python."""
    given = FIXES.parameters(frame, due)
    assert given is not None
    found = [landed.clear()]
    day = timedelta(hours=24)
    at = pl.col("timestamp")
    for device, first, last in zip(given["devices"], given["firsts"], given["lasts"], strict=True):  # type: ignore[call-overload]
        own = landed.filter(pl.col("device_id") == device).sort("timestamp", "message_id")
        found += [
            own.filter(at.is_between(first - day, first, closed="left")).tail(1),
            own.filter(at.is_between(first, last)),
            own.filter(at.is_between(last, last + day, closed="right")).head(1),
        ]
    return {FIXES.name: pl.concat(found).select(FIXES.schema.names()), REGIONS.name: BOTH}


def test_enter_dwell_leave_and_none() -> None:
    rows = answer(fixes((0, 0, 50), (1, 10.0, 20.0), (2, 10.0001, 20.0), (3, 0, 50), (4, 0, 51)))
    assert events(rows) == [
        (1, "none", None),
        (2, "enter", "region 1"),
        (3, "dwell", "region 1"),
        (4, "leave", "region 1"),
        (5, "none", None),
    ]
    enter, leave = rows[1], rows[3]
    assert (enter["region_id"], enter["region_revision"], enter["distance_m"]) == (HOME, 1, 0.0)
    assert (enter["previous_message_id"], enter["seconds_since_previous"]) == (message_id(1), pytest.approx(60.0))
    assert leave["distance_m"] > 100
    assert rows[0]["previous_message_id"] is None


def test_one_fix_can_leave_one_region_and_enter_another() -> None:
    rows = answer(fixes((0, 10.0, 20.0), (1, 0.5, 0.5)))
    assert sorted(events(rows)) == [(1, "enter", "region 1"), (2, "enter", "region 2"), (2, "leave", "region 1")]


def test_after_a_day_without_a_fix_one_enters_again() -> None:
    rows = answer(fixes((0, 10.0, 20.0), (24 * 60, 10.0, 20.0), (48 * 60 + 1, 10.0, 20.0)))
    assert [r["event"] for r in rows] == ["enter", "dwell", "enter"]


def test_devices_do_not_mix() -> None:
    both = pl.concat([fixes((0, 10.0, 20.0)), fixes((1, 10.0, 20.0), device="phone-002")])
    both = both.with_columns(pl.Series("message_id", [message_id(1), message_id(2)]))
    assert [r["event"] for r in answer(both)] == ["enter", "enter"]


def test_a_late_fix_has_the_next_one_answered_again() -> None:
    landed = fixes((0, 10.0, 20.0), (1, 0.0, 50.0), (2, 10.0, 20.0), (3, 10.0, 20.0))
    rows = answer(landed, landed[1:2])
    assert events(rows) == [(2, "leave", "region 1"), (3, "enter", "region 1")]


def test_without_regions_every_fix_is_nowhere() -> None:
    assert [r["event"] for r in answer(fixes((0, 10, 20), (1, 0, 0)), places=regions())] == ["none", "none"]


def test_a_new_revision_gives_a_new_id_and_the_same_gives_the_same() -> None:
    landed = fixes((0, 10.0, 20.0))
    ids = [
        answer(landed, places=regions(region(1, latitude=10.0, longitude=20.0, radius_m=100.0, region_revision=r)))[0]
        for r in (1, 1, 2)
    ]
    assert ids[0] == ids[1]
    assert ids[0]["message_id"] != ids[2]["message_id"]


@pytest.mark.parametrize(
    ("place", "centre", "inside"),
    [
        ((0.0, 179.9995), (0.0, -179.9995), True),
        ((0.0, 179.99), (0.0, -179.99), False),
        ((90.0, 0.0), (90.0, 123.0), True),
        ((89.9995, 180.0), (89.9995, 0.0), True),
        ((-89.9995, -90.0), (-90.0, 45.0), True),
    ],
)
def test_circles_at_the_antimeridian_and_the_poles(
    place: tuple[float, float], centre: tuple[float, float], inside: bool
) -> None:
    places = regions(region(1, latitude=centre[0], longitude=centre[1], radius_m=150.0))
    assert inside_circles(fixes((0, *place)), places).height == int(inside)


def test_the_radius_of_a_circle_is_in_metres() -> None:
    metre = math.degrees(1 / EARTH_RADIUS_M)
    rows = inside_circles(
        fixes((0, 99.9 * metre, 0), (1, 100.1 * metre, 0), (2, 60, 99.9 * metre * 2)),
        regions(
            region(1, latitude=0.0, longitude=0.0, radius_m=100.0),
            region(2, latitude=60.0, longitude=0.0, radius_m=100.0),
        ),
    )
    assert rows.sort("message_id").select("message_id", "region_id").rows() == [
        (message_id(1), message_id(901)),
        (message_id(3), message_id(902)),
    ]


def test_polygons_with_holes_parts_and_borders() -> None:
    ring = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]
    far = [[[10.0, 10.0], [11.0, 10.0], [11.0, 11.0], [10.0, 10.0]]]
    shape = {"type": "MultiPolygon", "coordinates": [[*SQUARE["coordinates"], ring], far]}
    frame = fixes((0, 0.5, 0.5), (1, 0.1, 0.1), (2, 0.0, 0.5), (3, 10.2, 10.5), (4, 5, 5))
    rows = inside_polygons(frame, regions(region(2, polygon=json.dumps(shape))))
    assert rows["message_id"].to_list() == [message_id(2), message_id(3), message_id(4)]
    assert rows["region_id"].to_list() == [PARK] * 3


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 90), st.sampled_from("hpx")), min_size=1, max_size=30),
    devices=st.integers(1, 2),
    seed=st.integers(0, 2**32),
    ahead=st.booleans(),
)
def test_batches_order_and_restarts_do_not_show(
    steps: list[tuple[int, str]], devices: int, seed: int, ahead: bool
) -> None:
    chance = random.Random(seed)
    spot = {"h": (10.0, 20.0), "p": (0.5, 0.5), "x": (50.0, 50.0)}
    frame = batch(
        GPS_RAW,
        [
            {
                "device_id": f"phone-{n % devices}",
                "timestamp": NOON + timedelta(minutes=37 * minute),
                "latitude": spot[where][0] + chance.uniform(-1e-4, 1e-4),
                "longitude": spot[where][1],
            }
            for n, (minute, where) in enumerate(steps)
        ],
    )
    expected = transform(
        frame, Context("1", NOON, {FIXES.name: frame.select(FIXES.schema.names()), REGIONS.name: BOTH})
    ).rows[GEOREGION_DETECTED]
    simulation = Simulation(GEOREGION_DETECTOR, query)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed % 2**31)
    if ahead:
        simulation.land(shuffled)
    at = 0
    while at < shuffled.height:
        size = chance.randint(1, 8)
        simulation.land(shuffled[at : at + size])
        for _ in range(chance.choice([1, 1, 2])):
            simulation.run(shuffled[at : at + size], NOON)
        at += size
    got = pl.DataFrame(list(simulation.rows.values()), schema=expected.schema, orient="row")
    order = ["device_id", "timestamp", "source_message_id", "event", "region_id"]
    assert_frame_equal(got.sort(order), expected.sort(order), check_exact=True)
