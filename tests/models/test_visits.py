"""Visits and trips on literal days, on the real tracks, and on bad input."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import pytest

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.location import TRIP_DETECTED, VISIT_DETECTED
from loom_models.stages.visit_detected import VISIT_DETECTOR
from loom_models.trips import polyline, way
from loom_platform.demo.tracks import Track, read_tracks
from tests.models.days import CAFE, HOME, METRES_PER_DEGREE, WORK, Spot, fixes, whole
from tests.models.frames import NOON, sink_columns

GPS = Path(__file__).parents[3] / "shared" / "data" / "gps"
LATER = NOON + timedelta(days=10)
H = 3_600.0
COMMUTE: tuple[Spot, ...] = ((0, HOME), (H, HOME), (H + 200, WORK), (3 * H, WORK), (3 * H + 200, HOME), (5 * H, HOME))


def rows(records: list[GpsFix], now: Any = LATER) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Visits and trips in order of time."""
    output = whole(records, now)
    assert set(output.rows[VISIT_DETECTED].columns) == sink_columns(VISIT_DETECTED)
    assert set(output.rows[TRIP_DETECTED].columns) == sink_columns(TRIP_DETECTED)
    visits, trips = (output.rows[t].sort("timestamp").to_dicts() for t in VISIT_DETECTOR.sinks)
    return visits, trips


def minutes(row: dict[str, Any]) -> list[int]:
    """When it began and ended."""
    return [round((row[n] - NOON).total_seconds() / 60) for n in ("timestamp", "ended_at")]


@pytest.mark.parametrize("every", [1.0, 10.0, 60.0])
def test_a_commute(every: float) -> None:
    visits, trips = rows(fixes(COMMUTE, NOON, every=every))
    for row, (start, end) in zip(visits, ((0, 60), (63, 180), (183, 300)), strict=True):
        assert minutes(row) == pytest.approx([start, end], abs=2)
    assert visits[0]["place_id"] == visits[2]["place_id"] != visits[1]["place_id"]
    assert all(row["radius_m"] < 20 for row in visits)
    assert [row["mode"] for row in trips] == ["in_vehicle"] * 2
    assert trips[0]["distance_m"] == pytest.approx(2_224, rel=0.03, abs=60)
    assert trips[0]["origin_place_id"] == trips[1]["destination_place_id"] == visits[0]["place_id"]
    assert (trips[0]["timestamp"], trips[0]["ended_at"]) == (visits[0]["ended_at"], visits[1]["timestamp"])


def test_rare_fixes_still_tell_of_stays() -> None:
    visits, _ = rows(fixes(COMMUTE, NOON, every=1_200.0))
    assert len(visits) == 3


@pytest.mark.parametrize("noise_m", [10.0, 25.0])
def test_indoors_the_receiver_errs(noise_m: float) -> None:
    records = [r.model_copy(update={"accuracy": 2 * noise_m}) for r in fixes(COMMUTE, NOON, noise_m=noise_m)]
    visits, _ = rows(records)
    assert len(visits) == 3


def test_a_walk_round_the_block_is_a_trip_and_a_look_at_the_letterbox_is_none() -> None:
    around = (HOME[0] + 700 / METRES_PER_DEGREE, HOME[1])
    visits, trips = rows(fixes(((0, HOME), (H, HOME), (H + 540, around), (H + 1_080, HOME), (3 * H, HOME)), NOON))
    assert len(visits) == 2
    assert len({row["place_id"] for row in visits}) == 1
    assert [row["mode"] for row in trips] == ["walking"]
    letterbox = (HOME[0] + 150 / METRES_PER_DEGREE, HOME[1])
    visits, trips = rows(fixes(((0, HOME), (H, HOME), (H + 120, letterbox), (H + 240, HOME), (3 * H, HOME)), NOON))
    assert (len(visits), trips) == (1, [])


def test_a_stop_at_a_traffic_light_is_no_visit() -> None:
    half = ((HOME[0] + WORK[0]) / 2, HOME[1])
    spots: tuple[Spot, ...] = ((0, HOME), (H, HOME), (H + 100, half), (H + 280, half), (H + 380, WORK), (2 * H, WORK))
    visits, trips = rows(fixes(spots, NOON, every=10.0))
    assert (len(visits), len(trips)) == (2, 1)


def test_what_goes_on_is_open_and_silence_ends_it() -> None:
    records = fixes(COMMUTE, NOON)
    last = records[-1].timestamp
    visits, _ = rows(records, last + timedelta(hours=11))
    assert (visits[-1]["is_open"], visits[-1]["ended_at"], visits[-1]["duration_seconds"]) == (True, None, None)
    visits, _ = rows(records, last + timedelta(hours=12))
    assert (visits[-1]["is_open"], visits[-1]["ended_at"]) == (False, last)
    backlog = whole(records, LATER, LATER - timedelta(minutes=14)).rows[VISIT_DETECTED]
    assert backlog.sort("timestamp")["is_open"].to_list() == [False, False, True]
    on_the_way = fixes(((0, HOME), (H, HOME), (2 * H, CAFE)), NOON, every=30.0)[:160]
    visits, trips = rows(on_the_way, on_the_way[-1].timestamp)
    assert [v["is_open"] for v in visits] == [False]
    assert [(t["is_open"], t["distance_m"], t["mode"], t["path"]) for t in trips] == [(True, None, None, None)]


def test_a_day_of_nothing_parts_what_it_parts() -> None:
    records = fixes(((0, HOME), (H, HOME)), NOON) + fixes(((30 * H, HOME), (31 * H, HOME)), NOON)
    visits, trips = rows(records)
    assert [row["duration_seconds"] for row in visits] == [H, H]
    assert trips == []


def test_teleports_nowhere_and_twins_change_nothing() -> None:
    records = fixes(COMMUTE, NOON)
    twins = [r.model_copy(update={"message_id": uuid4()}) for r in records[::7]]
    faults = ((20, {"latitude": -33.0}), (100, {"latitude": 0.0, "longitude": 0.0}), (101, {"accuracy": 5_000.0}))
    bad = [
        records[n].model_copy(
            update={"message_id": uuid4(), "timestamp": records[n].timestamp + timedelta(seconds=9), **w}
        )
        for n, w in faults
    ]
    wanted = ("timestamp", "ended_at")
    clean, dirty = rows(records), rows([*records, *bad])
    for before, after in zip(clean, dirty, strict=True):
        assert [[r[w] for w in wanted] for r in before] == [[r[w] for w in wanted] for r in after]
    assert [minutes(r) for r in rows([*records, *twins])[0]] == [minutes(r) for r in clean[0]]


def test_no_fix_that_can_be_believed() -> None:
    nowhere = [r.model_copy(update={"latitude": 0.0, "longitude": 0.0}) for r in fixes(COMMUTE, NOON)]
    assert rows(nowhere) == ([], [])


def test_across_the_antimeridian() -> None:
    fiji = (-16.8, 179.9999)
    spots: tuple[Spot, ...] = ((0, fiji), (H, fiji), (H + 300, (-16.83, 180.0)), (2 * H, (-16.83, 180.0)))
    records = fixes(spots, NOON, noise_m=15.0)
    visits, trips = rows(records)
    assert len(visits) == 2
    assert abs(visits[1]["longitude"]) == pytest.approx(180.0, abs=1e-3)
    assert trips[0]["distance_m"] == pytest.approx(3_336, rel=0.05)


def test_a_polyline_is_google_s() -> None:
    """The example of https://developers.google.com/maps/documentation/utilities/polylinealgorithm."""
    points = np.array([[38.5, -120.2], [40.7, -120.95], [43.252, -126.453]])
    assert polyline(points[:, 0], points[:, 1]) == "_p~iF~ps|U_ulLnnqC_mqNvxq`@"


@pytest.mark.parametrize(
    ("mps", "mode"), [(1.3, "walking"), (3.2, "running"), (6.0, "cycling"), (14.0, "in_vehicle"), (60.0, "in_vehicle")]
)
def test_modes(mps: float, mode: str) -> None:
    records = fixes(((0, HOME), (1_200, (HOME[0] + 1_200 * mps / METRES_PER_DEGREE, HOME[1]))), NOON, every=5.0)
    told = way(
        np.array([int((r.timestamp - NOON).total_seconds() * 1e6) for r in records]),
        *(np.array([getattr(r, n) for r in records]) for n in ("latitude", "longitude", "accuracy")),
    )
    assert told.mode == mode
    assert told.share > 0.9
    assert told.distance_m == pytest.approx(1_200 * mps, rel=0.03)


@pytest.mark.skipif(not GPS.is_dir(), reason="the real tracks are not here")
@pytest.mark.parametrize(("number", "mode"), [(0, "walking"), (1, "in_vehicle")], ids=["hike", "drive"])
@pytest.mark.parametrize("noise_m", [0.0, 2.0])
def test_the_real_tracks(number: int, mode: str, noise_m: float) -> None:
    """Their own fixes, and as a phone would tell them: every ten seconds, with an error."""
    track = read_tracks(GPS)[number]
    at, latitude, longitude = sampled(track, noise_m)
    accuracy = np.full(len(at), np.nan if noise_m == 0.0 else 3 * noise_m)
    told = way((at * 1e6).astype(np.int64), latitude, longitude, accuracy)
    assert told.mode == mode
    assert told.distance_m == pytest.approx(track.metres, rel=0.03)


@pytest.mark.skipif(not GPS.is_dir(), reason="the real tracks are not here")
def test_the_pauses_of_the_hike_are_visits() -> None:
    """Three: before it begins, on the top, and at the hut; the ways between them are walked."""
    track = read_tracks(GPS)[0]
    at, latitude, longitude = sampled(track, 0.0)
    records = [
        GpsFix(device_id="phone-001", timestamp=NOON + timedelta(seconds=t), latitude=a, longitude=b)
        for t, a, b in zip(at.tolist(), latitude.tolist(), longitude.tolist(), strict=True)
    ]
    visits, trips = rows(records)
    assert [round(v["duration_seconds"] / 60) for v in visits] == [12, 23, 40]
    assert [t["mode"] for t in trips] == ["walking"] * 3


def sampled(track: Track, noise_m: float) -> tuple[Any, Any, Any]:
    """Seconds, latitudes and longitudes: those of the track's own fixes, or one each ten seconds with an error."""
    points = list(track.points) if noise_m == 0.0 else [track.at(t) for t in np.arange(0.0, track.seconds, 10.0)]
    frame = pl.DataFrame([(p.at, p.latitude, p.longitude) for p in points], schema=["at", "a", "b"], orient="row")
    error = np.random.default_rng(3).normal(0, noise_m / METRES_PER_DEGREE, (2, len(points)))
    east = error[1] / np.cos(np.radians(frame["a"][0]))
    return frame["at"].to_numpy(), frame["a"].to_numpy() + error[0], frame["b"].to_numpy() + east
