"""Businesses on literal frames; and that batches, order and late fixes do not show."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import BUSINESS_IDENTIFIED
from loom_models.geohash import cells
from loom_models.stage import DUE_SCHEMA, Context
from loom_models.stages.business import ANSWERS, BUSINESS_MATCHER, FIXES, OWN, SERVICE, VISITS, transform
from tests.models.frames import NOON, batch, message_id, sink_columns
from tests.models.simulate import Simulation

HERE = (52.5219, 13.4132)
METRE = 1 / 111_195.08


def fix(minutes: float, north_m: float = 0.0, **more: Any) -> dict[str, Any]:
    """A fix so many minutes after noon, so many metres north of HERE."""
    return {
        "timestamp": NOON + timedelta(minutes=minutes),
        "latitude": HERE[0] + north_m * METRE,
        "longitude": HERE[1],
        "accuracy": 10.0,
    } | more


def place(number: int, north_m: float, **more: Any) -> dict[str, Any]:
    cell = cells(pl.Series([HERE[0]]), pl.Series([HERE[1]]), 7)[0]
    return {
        "cell": cell,
        "expires_at": NOON + timedelta(days=1),
        "provider_place_id": f"node/{number}",
        "name": f"place {number}",
        "category": "cafe",
        "place_latitude": HERE[0] + north_m * METRE,
        "place_longitude": HERE[1],
    } | more


def known(*rows: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{n: r.get(n) for n in ANSWERS.schema} for r in rows], schema=ANSWERS.schema)


def own(number: int, north_m: float, radius_m: float) -> pl.DataFrame:
    row = place(number, north_m, radius_m=radius_m, name="Ada's", provider_place_id=message_id(number))
    return pl.DataFrame([{n: row.get(n) for n in OWN.schema}], schema=OWN.schema)


def visited(*visits: tuple[date, float]) -> pl.DataFrame:
    rows = [(day, HERE[0] + north_m * METRE, HERE[1]) for day, north_m in visits]
    return pl.DataFrame(rows, schema=VISITS.schema, orient="row")


def context(landed: pl.DataFrame, provider: str = "overpass", **frames: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {
        FIXES.name: landed.select(FIXES.schema.names()),
        SERVICE.name: pl.DataFrame({"provider": [provider]}, schema=SERVICE.schema),
        OWN.name: pl.DataFrame(schema=OWN.schema),
        ANSWERS.name: pl.DataFrame(schema=ANSWERS.schema),
        VISITS.name: pl.DataFrame(schema=VISITS.schema),
    } | frames


def answer(fixes: Sequence[dict[str, Any]], provider: str = "overpass", **frames: pl.DataFrame) -> list[dict[str, Any]]:
    frame = batch(GPS_RAW, fixes)
    rows = transform(frame, Context("1", NOON, context(frame, provider, **frames))).rows[BUSINESS_IDENTIFIED]
    assert set(rows.columns) == sink_columns(BUSINESS_IDENTIFIED)
    return list(rows.iter_rows(named=True))


def states(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [r["state"] for r in rows]


STAY = [fix(0), fix(1), fix(2)]


def test_who_stays_is_at_the_place_at_hand() -> None:
    rows = answer(STAY, answers=known(place(1, 5.0), place(2, 60.0)))
    assert states(rows) == ["moving", "identified", "identified"]
    told = {n: rows[2][n] for n in ("name", "category", "distance_m", "provider", "provider_place_id", "visit_count")}
    assert told == {
        "name": "place 1",
        "category": "cafe",
        "distance_m": 5.0,
        "provider": "overpass",
        "provider_place_id": "node/1",
        "visit_count": 0,
    }
    assert rows[2]["confidence"] == pytest.approx(0.78, abs=0.01)
    assert rows[0]["provider"] is None


def test_who_moves_is_nowhere() -> None:
    walk = [fix(n / 6, 15.0 * n) for n in range(30)]
    assert set(states(answer(walk, answers=known(place(1, 5.0))))) == {"moving"}
    tram = [fix(0), fix(1), fix(2, speed=9.0)]
    assert states(answer(tram, answers=known(place(1, 5.0)))) == ["moving", "identified", "moving"]


def test_a_client_that_seldom_sends_stays_too() -> None:
    seldom = [fix(0), fix(15), fix(30, 2_000.0), fix(70, 2_000.0)]
    assert states(answer(seldom, "none")) == ["moving", "none", "moving", "moving"]


def test_what_is_not_known_is_not_said() -> None:
    assert states(answer(STAY)) == ["moving", "pending", "pending"]
    assert states(answer(STAY, answers=known(place(1, 0, expires_at=NOON)))) == ["moving", "pending", "pending"]
    assert states(answer(STAY, "none")) == ["moving", "none", "none"]
    nothing = dict.fromkeys(("provider_place_id", "name", "place_latitude", "place_longitude"))
    rows = answer(STAY, answers=known(place(1, 0, **nothing)))
    assert states(rows) == ["moving", "none", "none"]
    assert rows[1]["provider"] == "overpass"


def test_nothing_stands_out_in_a_row_of_shops() -> None:
    shops = known(*(place(n, n - 5.0) for n in range(10)))
    assert states(answer(STAY, answers=shops)) == ["moving", "none", "none"]


def test_earlier_visits_break_the_tie() -> None:
    shops = known(place(1, -12.0), place(2, 12.0))
    assert answer(STAY, answers=shops)[2]["name"] == "place 1"
    days = [date(2026, 1, 3), date(2026, 1, 3), date(2026, 1, 9)]
    here = answer(STAY, answers=shops, visits=visited(*((d, 14.0) for d in days)))
    assert (here[2]["name"], here[2]["visit_count"]) == ("place 2", 2)
    # not of the day itself, not of long ago, not of elsewhere
    others = visited((NOON.date(), 12.0), (date(2025, 12, 1), 12.0), (date(2026, 1, 9), 400.0))
    assert answer(STAY, answers=shops, visits=others)[2]["name"] == "place 1"


def test_a_place_of_ones_own_wins() -> None:
    rows = answer(STAY, answers=known(place(1, 0.0)), own=own(7, 30.0, 40.0))
    assert (rows[2]["name"], rows[2]["provider"], rows[2]["confidence"]) == ("Ada's", "own", 1.0)
    assert rows[2]["provider_place_id"] == message_id(7)
    assert answer(STAY, answers=known(place(1, 0.0)), own=own(7, 30.0, 20.0))[2]["name"] == "place 1"
    assert states(answer(STAY, "none", own=own(7, 30.0, 40.0))) == ["moving", "identified", "identified"]


def test_odd_positions() -> None:
    odd = [fix(0), fix(0.5, latitude=0.0, longitude=0.0), fix(1), fix(1.5, accuracy=900.0), fix(2), fix(2)]
    assert states(answer(odd, "none")) == ["moving", "skipped", "none", "skipped", "none", "none"]
    border = [fix(n, longitude=179.99999 if n % 2 else -179.99999) for n in range(3)]
    assert states(answer(border, "none")) == ["moving", "none", "none"]


def test_devices_do_not_mix() -> None:
    both = [fix(n / 2, device_id=f"phone-{n % 2}") for n in range(8)]
    far = [fix(n / 2 + 0.1, 5_000.0, device_id="phone-9", message_id=message_id(90 + n)) for n in range(8)]
    rows = answer([*both, *far], "none")
    assert states([r for r in rows if r["device_id"] == "phone-0"]) == ["moving", "none", "none", "none"]


def query(landed: pl.DataFrame, frame: pl.DataFrame, due: pl.DataFrame, now: datetime) -> Mapping[str, pl.DataFrame]:
    """What the SQL of FIXES says, in Python."""
    given = FIXES.parameters(frame, due)
    found, at = [landed.clear()], pl.col("timestamp")
    usable = ((pl.col("latitude") != 0) | (pl.col("longitude") != 0)) & (pl.col("accuracy").fill_null(0) <= 150)
    if given is not None:
        window, reach = timedelta(minutes=3), timedelta(minutes=30)
        for device, first, last in zip(given["devices"], given["firsts"], given["lasts"], strict=True):  # type: ignore[call-overload]
            mine = landed.filter(pl.col("device_id") == device).sort("timestamp", "message_id")
            before = mine.filter((at < first - window) & (at >= first - reach) & usable)
            after = mine.filter((at > last + window) & (at <= last + reach) & usable)
            found += [before.tail(1), mine.filter(at.is_between(first - window, last + window)), after.head(1)]
    return context(pl.concat(found), answers=known(place(1, 5.0), place(2, 60.0)))


minutes = st.floats(0, 90).map(lambda m: round(m, 2))
records = st.lists(
    st.tuples(minutes, st.sampled_from([0.0, 8.0, 70.0, 140.0]), st.sampled_from([10.0, 900.0]), st.booleans()),
    min_size=1,
    max_size=10,
)


@settings(max_examples=5, deadline=None)
@given(records, st.integers(0, 10_000), st.integers(1, 6), st.booleans())
def test_batches_and_order_do_not_show(
    rows: list[tuple[float, float, float, bool]], seed: int, size: int, ahead: bool
) -> None:
    frame = batch(
        GPS_RAW,
        [fix(m, north, accuracy=a, speed=0.0 if s else None) for m, north, a, s in rows],
    )
    at_once = Simulation(BUSINESS_MATCHER, query)
    at_once.land(frame)
    at_once.run(frame, NOON)
    pieces = Simulation(BUSINESS_MATCHER, query)
    if ahead:
        pieces.land(frame)
    for piece in frame.sample(fraction=1.0, shuffle=True, seed=seed).iter_slices(size):
        pieces.land(piece)
        pieces.run(piece, NOON)
    assert pieces.rows == at_once.rows


def test_the_woken_minutes_are_answered() -> None:
    frame = batch(GPS_RAW, STAY)
    due = pl.DataFrame([("phone-001", "wake:2026-01-15T12:01Z")], schema=DUE_SCHEMA, orient="row")
    frames = query(frame, frame.clear(), due, NOON)
    out = transform(frame.clear(), Context("1", NOON, frames, due)).rows[BUSINESS_IDENTIFIED]
    assert out.select("timestamp", "state").rows() == [(NOON + timedelta(minutes=1), "identified")]
    at_once = transform(frame, Context("1", NOON, context(frame, answers=frames[ANSWERS.name])))
    assert_frame_equal(out, at_once.rows[BUSINESS_IDENTIFIED][1:2])


def test_a_late_fix_has_those_after_it_answered_again() -> None:
    frame = batch(GPS_RAW, [fix(0), fix(20), fix(20.5)])
    late, rest = frame[:1], frame[1:]
    simulation = Simulation(BUSINESS_MATCHER, query)
    for piece in (rest, late):
        simulation.land(piece)
        simulation.run(piece, NOON)
    told = sorted((row["timestamp"], row["state"]) for row in simulation.rows.values())
    assert [state for _, state in told] == ["moving", "identified", "moving"]
