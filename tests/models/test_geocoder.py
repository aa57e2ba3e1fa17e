"""Addresses of fixes on literal frames; geohashes; the towns on board."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import ADDRESS_GEOCODED
from loom_models.geohash import cells, centre, middles
from loom_models.services.offline import cities
from loom_models.stage import DUE_SCHEMA, Context
from loom_models.stages.geocoder import ANSWERS, FIXES, SERVICE, transform
from tests.models.frames import NOON, batch, message_id, sink_columns

HERE = (52.5219, 13.4132)
CELL = "u33dc1r4"


def answer(rows: pl.DataFrame, provider: str = "offline", **frames: pl.DataFrame) -> list[dict[str, Any]]:
    known = {
        FIXES.name: pl.DataFrame(schema=FIXES.schema),
        ANSWERS.name: pl.DataFrame(schema=ANSWERS.schema),
        SERVICE.name: pl.DataFrame({"provider": [provider]}, schema=SERVICE.schema),
    }
    out = transform(rows, Context("1", NOON, known | frames)).rows[ADDRESS_GEOCODED]
    assert set(out.columns) == sink_columns(ADDRESS_GEOCODED)
    return list(out.iter_rows(named=True))


def said(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {"cell": CELL, "answered": "found", "expires_at": NOON + timedelta(days=1)}
    return pl.DataFrame([{n: (base | r).get(n) for n in ANSWERS.schema} for r in rows], schema=ANSWERS.schema)


def fixes(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {"latitude": HERE[0], "longitude": HERE[1], "accuracy": 8.0}
    return batch(GPS_RAW, [base | r for r in rows])


def test_nobody_is_asked_by_default() -> None:
    (row,) = answer(fixes({}))
    told = {n: row[n] for n in ("state", "display_name", "city", "country_code", "provider", "distance_m")}
    assert told == {
        "state": "found",
        "display_name": "Berlin, Germany",
        "city": "Berlin",
        "country_code": "de",
        "provider": "offline",
        "distance_m": 300.0,
    }
    assert row["cell"] == CELL


def test_a_service_answers_for_its_cell_until_the_answer_expires() -> None:
    frame = fixes({}, {"latitude": 10.0}, {"timestamp": NOON + timedelta(days=1)})
    house = {"display_name": "Platz 1", "road": "Platz", "house_latitude": HERE[0] + 1e-4, "house_longitude": HERE[1]}
    rows = answer(frame, "nominatim", answers=said(house))
    assert [(r["state"], r["road"], r["distance_m"]) for r in rows] == [
        ("found", "Platz", 11.1),
        ("pending", None, None),
        ("pending", None, None),
    ]


def test_nothing_there_is_an_answer() -> None:
    (row,) = answer(fixes({}), "photon", answers=said({"answered": "none"}))
    assert (row["state"], row["provider"], row["display_name"]) == ("none", "photon", None)


@pytest.mark.parametrize("provider", ["offline", "nominatim"])
def test_positions_that_are_none_are_skipped(provider: str) -> None:
    frame = fixes({"latitude": 0.0, "longitude": 0.0}, {"accuracy": 30_000.0}, {"latitude": 0.0, "longitude": -30.0})
    rows = answer(frame, provider)
    assert [r["state"] for r in rows[:2]] == ["skipped", "skipped"]
    assert [(r["cell"], r["provider"]) for r in rows[:2]] == [(None, None)] * 2
    assert rows[2]["state"] == {"offline": "none", "nominatim": "pending"}[provider]


def test_a_house_wants_a_better_fix_than_a_town() -> None:
    frame = fixes({"accuracy": 2_000.0})
    assert [answer(frame, p)[0]["state"] for p in ("offline", "photon")] == ["found", "skipped"]


def test_woken_fixes_are_answered_again_under_a_new_id() -> None:
    frame = fixes({})
    (pending,) = answer(frame, "nominatim")
    woken = {"fixes": frame.select(FIXES.schema.names())}
    (found,) = answer(frame.clear(), "nominatim", **woken, answers=said({"city": "Berlin"}))
    assert (pending["source_message_id"], found["source_message_id"]) == (message_id(1),) * 2
    assert (pending["state"], found["state"]) == ("pending", "found")
    assert pending["message_id"] != found["message_id"]
    (again,) = answer(frame, "nominatim", answers=said({"city": "Berlin"}))
    assert again == found


def test_the_cells_of_the_batch_are_looked_up_and_the_minutes_of_wakes() -> None:
    due = pl.DataFrame([("phone-001", "wake:2026-01-15T12:00Z")], schema=DUE_SCHEMA, orient="row")
    parameters = ANSWERS.parameters(fixes({}, {}), due)
    assert parameters is not None
    assert (parameters["cells"], parameters["devices"]) == ([CELL], ["phone-001"])
    assert parameters["lasts"] == [NOON + timedelta(minutes=1)]
    assert FIXES.parameters(fixes({}), due.clear()) is None


positions = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@settings(max_examples=60, deadline=None)
@given(st.lists(positions, min_size=1, max_size=8), st.integers(1, 12))
def test_a_cell_holds_its_positions_and_its_middle(where: list[tuple[float, float]], characters: int) -> None:
    frame = pl.DataFrame(where, schema=["latitude", "longitude"], orient="row")
    found = cells(frame["latitude"], frame["longitude"], characters)
    middle = [centre(cell) for cell in found]
    again = pl.DataFrame(middle, schema=["latitude", "longitude"], orient="row")
    assert cells(again["latitude"], again["longitude"], characters).to_list() == found.to_list()
    expressions = frame.select(*middles(pl.col("latitude"), pl.col("longitude"), characters))
    assert expressions.rows() == [pytest.approx(point, abs=1e-9) for point in middle]
    finer = cells(frame["latitude"], frame["longitude"], 12)
    assert [text[:characters] for text in finer] == found.to_list()


def test_cells_are_those_of_others() -> None:
    """The example of Wikipedia's article on geohashes, and one of geohash.org."""
    known = cells(pl.Series([57.64911, 42.605, None]), pl.Series([10.40744, -5.603, 1.0]), 5)
    assert known.to_list() == ["u4pru", "ezs42", None]
    with pytest.raises(ValueError, match="'a'"):
        centre("abc")


def test_towns_and_their_quarters() -> None:
    known = {
        (40.7357, -74.1723): (None, "Newark", "us"),
        (40.7580, -73.9850): ("Times Square", "New York City", "us"),
        (47.5596, 7.5886): (None, "Basel", "ch"),
        (78.2200, 15.6500): (None, "Longyearbyen", "sj"),
        (-16.4333, 179.3640): (None, "Labasa", "fj"),
        (48.0000, -30.0000): (None, None, None),
        (90.0000, 0.0000): (None, None, None),
    }
    where = pl.DataFrame(list(known), schema=["latitude", "longitude"], orient="row")
    found = cities().addresses(where["latitude"], where["longitude"])
    assert found.select("suburb", "city", "country_code").rows() == list(known.values())
    assert found["distance_m"].fill_null(0).max() < 3_000  # type: ignore[operator]
