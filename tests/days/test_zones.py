"""The person's days: where they begin and end, by their own word, by position, by the setting."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_platform.zones import Choice, Clock, Sample, TimeZoneError, midnight, replaced, zone, zone_of_position

ZURICH, NEW_YORK, TOKYO = "Europe/Zurich", "America/New_York", "Asia/Tokyo"
PLACES = {ZURICH: (47.4, 8.5), NEW_YORK: (40.7, -74.0), TOKYO: (35.7, 139.7), "Pacific/Kiritimati": (1.9, -157.4)}
ZONES = [*PLACES, "Pacific/Pago_Pago", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Cairo"]


def at(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def sample(when: datetime, name: str, device: str = "phone", wander: float = 0.0) -> Sample:
    latitude, longitude = PLACES.get(name, (0.0, 0.0))
    return Sample(device, when, latitude + wander, longitude, name)


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23.0), (date(2026, 10, 25), 25.0), (date(2026, 10, 24), 24.0)],
    ids=["spring", "autumn", "other"],
)
def test_the_days_of_a_change_of_the_clock_have_23_and_25_hours(day: date, hours: float) -> None:
    found = Clock(ZURICH).day(day)
    assert (found.hours, found.source) == (hours, "setting")


def test_a_day_begins_where_its_date_does_when_midnight_is_left_out() -> None:
    # Cairo puts its clock forward from 00:00 to 01:00.
    assert midnight(date(2026, 4, 24), "Africa/Cairo") == at(23, 22, month=4)
    assert Clock("Africa/Cairo").day(date(2026, 4, 24)).hours == 23.0


def test_a_flight_to_the_west_makes_its_day_longer() -> None:
    clock = Clock("UTC", samples=[sample(at(19, 7), ZURICH), sample(at(20, 8), ZURICH), sample(at(20, 17), NEW_YORK)])
    before, flight, after = (clock.day(date(2026, 11, d)) for d in (19, 20, 21))
    assert (flight.time_zone, flight.hours, flight.source, flight.device_ids) == (ZURICH, 30.0, "position", ("phone",))
    assert (after.time_zone, after.hours) == (NEW_YORK, 24.0)
    assert before.ends_at == flight.starts_at == at(19, 23)
    assert clock.zone_at(at(20, 9)) == ZURICH
    assert clock.zone_at(at(20, 18)) == NEW_YORK


def test_a_day_that_the_date_line_leaves_out_is_empty() -> None:
    clock = Clock("UTC", choices=[Choice(date(2026, 11, 1), date(2026, 11, 19), "Pacific/Pago_Pago"),
                                  Choice(date(2026, 11, 20), None, "Pacific/Kiritimati")])  # fmt: skip
    assert clock.day(date(2026, 11, 19)).hours == 0.0
    assert clock.day(date(2026, 11, 20)).hours == 23.0


def test_the_person_is_where_their_moving_device_is() -> None:
    tablet = [sample(at(19, h), ZURICH, "tablet") for h in range(0, 24, 6)]
    phone = [sample(at(19, h, 30), TOKYO, "phone", wander=h / 100) for h in range(0, 24, 6)]
    clock = Clock("UTC", samples=sorted(tablet + phone, key=lambda s: s.at))
    assert (clock.day(date(2026, 11, 20)).time_zone, clock.day(date(2026, 11, 20)).device_ids) == (TOKYO, ("phone",))


def test_a_stray_fix_changes_no_day() -> None:
    samples = [sample(at(19, h), TOKYO if h == 22 else ZURICH) for h in range(24)]
    assert Clock("UTC", samples=samples).day(date(2026, 11, 20)).starts_at == at(19, 23)


def test_what_the_person_says_wins() -> None:
    clock = Clock("UTC", [Choice(date(2026, 11, 20), date(2026, 11, 20), TOKYO)], [sample(at(19, 0), ZURICH)])
    found = clock.day(date(2026, 11, 20))
    assert (found.time_zone, found.source, found.starts_at) == (TOKYO, "hand", at(19, 15))
    assert clock.day(date(2026, 11, 21)).time_zone == ZURICH


def test_a_choice_takes_the_place_of_what_was_said_of_its_days() -> None:
    always = Choice(date(2026, 1, 1), None, ZURICH)
    trip = Choice(date(2026, 7, 1), date(2026, 7, 14), TOKYO)
    held = replaced([always], trip)
    assert held == [
        Choice(date(2026, 1, 1), date(2026, 6, 30), ZURICH),
        trip,
        Choice(date(2026, 7, 15), None, ZURICH),
    ]
    assert replaced(held, trip, remove=True) == [held[0], held[2]]


def test_zones_of_positions_and_names() -> None:
    assert zone_of_position(*PLACES[ZURICH]) == ZURICH
    assert zone_of_position(40.0, -40.0) == "Etc/GMT+3"
    with pytest.raises(TimeZoneError, match="Europe/Zurich"):
        zone("Europe/Zürich")
    with pytest.raises(TimeZoneError):
        zone("../etc/passwd")


hours = st.integers(0, 15 * 24)
fixes = st.lists(st.tuples(hours, st.sampled_from(ZONES), st.sampled_from(["a", "b"]), st.floats(0, 1)), max_size=12)
choices = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15) | st.none(), st.sampled_from(ZONES)), max_size=3)


@settings(max_examples=60, deadline=None)
@given(fixes, choices)
def test_every_moment_is_of_one_day(
    fixes: list[tuple[int, str, str, float]], choices: list[tuple[int, int | None, str]]
) -> None:
    first = date(2026, 10, 20)
    midnight_of_first = datetime(2026, 10, 20, tzinfo=UTC)
    samples = sorted(
        (sample(midnight_of_first + timedelta(hours=h), name, d, w) for h, name, d, w in fixes), key=lambda s: s.at
    )
    held: list[Choice] = []
    for start, length, name in choices:
        day = first + timedelta(days=start)
        held = replaced(held, Choice(day, None if length is None else day + timedelta(days=length), name))
    clock = Clock(ZURICH, held, samples)
    days = [clock.day(first + timedelta(days=n)) for n in range(15)]
    for one, after in pairwise(days):
        assert one.ends_at == after.starts_at
        assert timedelta(0) <= one.ends_at - one.starts_at <= timedelta(hours=51)
    for hour in range(48, 13 * 24, 5):
        moment = midnight_of_first + timedelta(hours=hour)
        its = clock.day(clock.day_at(moment))
        assert its.starts_at <= moment < its.ends_at
    # read for one day alone, it is the same
    alone = days[7].day
    near = [s for s in samples if abs(s.at.date() - alone) <= timedelta(days=6)]
    assert Clock(ZURICH, held, near).day(alone) == days[7]
