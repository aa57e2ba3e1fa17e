"""The plan of a day and the tracks in it."""

import random
from pathlib import Path

import pytest

from loom_platform.demo import signals
from loom_platform.demo.day import HOME, plan_day
from loom_platform.demo.tracks import (
    Point,
    Track,
    bearing_deg,
    distance_m,
    out_and_back,
    read_tracks,
    reversed_track,
    straight,
    walk,
)
from loom_platform.errors import PlatformError

HIKE = Track("hike", tuple(Point(t * 60.0, 45.3 + t * 0.0006, 13.1) for t in range(120)))
DRIVE = Track("drive", tuple(Point(t * 10.0, 45.0 + t * 0.001, 13.0) for t in range(50)))


@pytest.mark.parametrize("hours", [0.01, 0.2, 1.0, 6.0, 24.0])
@pytest.mark.parametrize("tracks", [(), (DRIVE,), (HIKE,), (DRIVE, HIKE)], ids=["synthetic", "drive", "hike", "both"])
def test_a_day_is_filled_without_gaps(hours: float, tracks: tuple[Track, ...]) -> None:
    seconds = hours * 3_600
    day = plan_day(seconds, tracks, random.Random(1))
    assert day.activities[0].start == 0
    for a, b in zip(day.activities, day.activities[1:], strict=False):
        assert a.end == b.start
        assert distance_m(a.track.at(a.end - a.start), b.track.at(0.0)) < 200, "no one jumps"
    assert day.activities[-1].end == pytest.approx(seconds)
    assert sum(a.end - a.start for a in day.activities if a.moving) <= seconds / 2 + 1
    assert all(0 <= c.start < c.end <= seconds + 1e-6 for c in day.charging)


def test_a_long_day_ends_asleep_and_a_short_one_does_not() -> None:
    assert plan_day(86_400, (DRIVE,), random.Random(1)).activities[-1].kind == "sleep"
    assert all(a.kind != "sleep" for a in plan_day(3_600, (DRIVE,), random.Random(1)).activities)


def test_the_battery_follows_the_charger() -> None:
    day = plan_day(6 * 3_600, (DRIVE,), random.Random(1))
    for charge in day.charging:
        before, after = signals.battery_level(day, charge.start), signals.battery_level(day, charge.end)
        assert after > before or after == 100.0
    unplugged = day.charging[0].end, day.charging[1].start
    assert signals.battery_level(day, unplugged[1]) < signals.battery_level(day, unplugged[0])


def test_acceleration_tells_walking_from_rest() -> None:
    rest = signals.acceleration("rest", 0.0, 500, random.Random(1))
    walking = signals.acceleration("walk", 0.0, 500, random.Random(1))
    assert rest.shape == (500, 3)
    length = (rest**2).sum(axis=1) ** 0.5
    assert length.mean() == pytest.approx(signals.GRAVITY_MPS2, abs=0.05)
    assert ((walking**2).sum(axis=1) ** 0.5).std() > 10 * length.std()


def test_distance_and_bearing() -> None:
    equator = Point(0, 0.0, 0.0)
    assert distance_m(equator, Point(0, 0.0, 1.0)) == pytest.approx(111_195, abs=1)
    assert bearing_deg(equator, Point(0, 0.0, 1.0)) == pytest.approx(90)
    assert bearing_deg(equator, Point(0, -1.0, 0.0)) == pytest.approx(180)


def test_position_between_points() -> None:
    track = Track("t", (Point(0, 10.0, 20.0, 100.0), Point(10, 11.0, 22.0, 200.0)))
    assert track.at(5) == Point(5, 10.5, 21.0, 150.0)
    assert track.at(-1) == track.points[0]
    assert track.at(99) == track.points[-1]
    assert reversed_track(track).at(10).latitude == 10.0


def test_out_and_back_keeps_the_pace() -> None:
    short = out_and_back(DRIVE, 100.0)
    assert short.seconds == pytest.approx(100.0)
    assert distance_m(short.points[0], short.points[-1]) < 0.01
    assert short.metres == pytest.approx(DRIVE.metres * 100 / DRIVE.seconds, rel=0.02)


def test_a_walk_returns_at_walking_pace() -> None:
    track = walk(HOME, 1_200.0, random.Random(4))
    assert distance_m(HOME, track.points[0]) < 0.1
    assert distance_m(HOME, track.points[-1]) < 0.1
    assert 1.0 < track.metres / track.seconds < 2.2


def test_straight() -> None:
    track = straight(Point(0, 45.0, 13.0), Point(0, 45.1, 13.0), 20.0)
    assert track.metres / track.seconds == pytest.approx(20.0)


GPX = """<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{}</trkseg></trk></gpx>"""


def _trkpt(second: int, latitude: float) -> str:
    time = f"2026-01-01T10:{second // 60:02}:{second % 60:02}Z"
    return f'<trkpt lat="{latitude}" lon="13.0"><ele>5</ele><time>{time}</time></trkpt>'


def test_gpx_is_split_where_it_jumps(tmp_path: Path) -> None:
    points = [_trkpt(s, 45 + s * 1e-5) for s in range(30)] + [_trkpt(s, 46 + s * 1e-5) for s in range(60, 85)]
    (tmp_path / "a.gpx").write_text(GPX.format("".join(points)))
    tracks = read_tracks(tmp_path)
    assert [(len(t.points), t.seconds) for t in tracks] == [(30, 29.0), (25, 24.0)]
    assert tracks[0].points[0] == Point(0.0, 45.0, 13.0, 5.0)


def test_points_without_time_and_short_tracks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.gpx").write_text(GPX.format('<trkpt lat="1" lon="2"/>' + _trkpt(1, 45)))
    assert read_tracks(tmp_path) == ()


def test_a_broken_gpx_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.gpx").write_text("<gpx><trk>")
    with pytest.raises(PlatformError, match=r"bad\.gpx is not a GPX file"):
        read_tracks(tmp_path)


def test_real_tracks() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "gps"
    if not folder.is_dir():
        pytest.skip("../shared/data/gps is not on this machine")
    tracks = read_tracks(folder)
    assert [t.name for t in tracks] == ["hike", "drive"]
    day = plan_day(86_400, tracks, random.Random(1))
    assert [p.name for p in day.places] == ["Demo home", "Demo office", "Demo trailhead"]
    assert {a.track.name for a in day.activities} >= {"hike", "drive", "walk", "home"}
