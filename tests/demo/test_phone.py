"""What the simulated person does with their phone, and the networks around it: consistent with the day."""

import random
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from loom_platform.demo import networks, phone
from loom_platform.demo.day import Day, plan_day
from loom_platform.demo.events import DemoConfig, make_day
from loom_platform.demo.tracks import Point, Track, pauses, staying
from loom_platform.demo.truth import truth_document

BEGAN = datetime(2026, 1, 15, tzinfo=UTC)
NORTH = 1 / 111_195
"""A metre, in degrees of latitude."""


@pytest.fixture(scope="module")
def day() -> Day:
    return plan_day(86_400, (), random.Random(1))


@pytest.fixture(scope="module")
def uses(day: Day) -> tuple[phone.Use, ...]:
    return phone.plan_uses(day, random.Random(1))


def test_one_application_is_in_front_while_the_screen_is_on(day: Day, uses: tuple[phone.Use, ...]) -> None:
    sessions = [s for use in uses for s in use.sessions]
    assert len(sessions) > 30
    assert all(a.end < b.start for a, b in pairwise(sessions))
    assert all(a.end < b.start for a, b in pairwise(uses))
    for use in uses:
        assert use.start < use.sessions[0].start < use.sessions[-1].end <= use.end
        assert day.activity_at(use.start) is day.activity_at(use.end)
        assert day.activity_at(use.start).kind not in ("sleep", "drive")


def test_every_session_is_told_of(day: Day, uses: tuple[phone.Use, ...]) -> None:
    """From the events alone one finds the sessions; those without an end are closed by the screen."""
    told = sorted((*phone.app_events(uses), *phone.screen_events(uses)), key=lambda t: t[0])
    found, front = [], None
    for at, event in told:
        if event["event_type"] == "foreground":
            front = (event["app_identifier"], at)
        elif front and event["event_type"] in ("background", "terminate", "crash", "screen_off"):
            found.append((*front, at))
            front = None
    assert found == [(s.app, s.start, s.end) for use in uses for s in use.sessions]
    assert {s.ended_by for use in uses for s in use.sessions} >= {"background", "none"}


def test_usage_statistics_add_up(uses: tuple[phone.Use, ...]) -> None:
    hours = [phone.usage(uses, h * 3_600.0, (h + 1) * 3_600.0) for h in range(24)]
    counted = sum(seconds for hour in hours for _, _, seconds, *_ in hour)
    assert counted == pytest.approx(sum(s.end - s.start for use in uses for s in use.sessions))
    assert sum(times for hour in hours for *_, times, _, _ in hour) == sum(len(use.sessions) for use in uses)


def test_the_phone_is_in_the_network_of_the_place(day: Day) -> None:
    connections = networks.plan_connections(day, day.stays())
    assert {c.network.category for c in connections} == {"home", "work"}
    for connection in connections:
        at = day.position_at((connection.start + connection.end) / 2)
        (place,) = (p for p in day.places if abs(p.latitude - at.latitude) < 100 * NORTH)
        assert place.kind == connection.network.category
    state = networks.wifi_state(connections, connections[0].start, random.Random(1))
    assert state["ssid"] == connections[0].network.ssid
    assert networks.wifi_state((), 0.0, random.Random(1)) == {"connected": False}


def test_pauses_on_the_way_are_found_and_those_that_follow_each_other_are_one() -> None:
    walk = [Point(float(t), 45.0 + t * 1.3 * NORTH, 13.0) for t in range(0, 1_200, 10)]
    there = walk[-1].latitude
    rest = [Point(1_200.0 + t, there + (t > 700) * 80 * NORTH, 13.0) for t in range(0, 1_500, 10)]
    on = [Point(2_700.0 + t, there + (80 + t * 1.3) * NORTH, 13.0) for t in range(0, 900, 10)]
    ((start, end, at),) = pauses(Track("t", (*walk, *rest, *on)))
    assert start == pytest.approx(1_200, abs=60)
    assert end == pytest.approx(2_700, abs=60)
    assert at.latitude == pytest.approx(there)
    assert list(pauses(Track("t", tuple(walk)))) == []
    assert list(pauses(staying(walk[0], 500.0, "t"))) == []


def test_the_truth_tells_stays_and_the_ways_between_them() -> None:
    truth, _ = make_day(DemoConfig(seconds=86_400, audio=False))
    document = truth_document(truth, BEGAN)
    visits, trips = document["visits"], document["trips"]
    assert [v["place"] for v in visits] == ["Demo home", "Demo home", "Demo office", "Demo home"]
    assert [t["modes"] for t in trips] == [["walk"], ["drive"], ["drive"]]
    for before, trip, after in zip(visits, trips, visits[1:], strict=False):
        assert (trip["start"], trip["end"]) == (before["end"], after["start"])
    assert trips[1]["distance_m"] == pytest.approx(5_000, rel=0.02)
    assert len(document["app_sessions"]) > 30
    assert {w["category"] for w in document["wifi"]} == {"home", "work"}
