"""What the datasets of days say of literal rows."""

import json
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_platform.days.activity import ACTIVITY_MINUTES_DAILY
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.dataset import Dataset
from loom_platform.days.places import TRIPS_DAILY, VISITS_DAILY
from loom_platform.days.screens import APP_USAGE_DAILY, CHARGING_DAILY, SCREEN_TIME_DAILY
from loom_platform.days.sleep import SLEEP_ESTIMATE_DAILY
from loom_platform.days.sources import ACTIVITY, APPS, CHARGING, SCREEN, SPEECH, TRIPS, USAGE, VISITS
from loom_platform.days.stretches import MOMENT, joined, within
from loom_platform.days.timeline import DAY_TIMELINE
from tests.days.windows import HOME, WORK, app, at, charge, lit, moving, rows, screen, trip, visit, window


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.table)
def test_a_day_of_nothing(dataset: Dataset) -> None:
    assert len(rows(dataset, window({}))) == (1 if dataset.table == "person_days" else 0)


def test_a_visit_is_cut_at_the_ends_of_the_persons_day() -> None:
    home, work = rows(
        VISITS_DAILY,
        window(
            {
                VISITS: [
                    visit(at(18, day=19), at(8)),
                    visit(at(8.5), at(17), WORK),
                    visit(at(17.5), at(7, day=21)),
                    visit(at(7, day=21), at(9, day=21), WORK),
                ]
            }
        ),
    )
    assert (home["place_name"], home["first_seen_at"], home["last_seen_at"]) == ("Home", at(0), at(0, day=21))
    assert (home["total_seconds"], home["visits"]) == (14.5 * 3600, 2)
    assert (work["total_seconds"], work["visits"], work["device_ids"]) == (8.5 * 3600, 1, ["phone"])


def test_ten_devices_at_one_place_are_there_once() -> None:
    stays = [visit(at(9 + n / 10), at(17), WORK, f"device-{n}") for n in range(10)]
    (work,) = rows(VISITS_DAILY, window({VISITS: stays}))
    assert (work["total_seconds"], work["visits"], len(work["device_ids"])) == (8 * 3600, 1, 10)


def test_a_tablet_that_lies_at_home_does_not_say_where_the_person_is() -> None:
    tablet, phone = visit(at(0, day=1), at(24), HOME, "tablet"), visit(at(9), at(17), WORK)
    assert [r["place_id"] for r in rows(VISITS_DAILY, window({VISITS: [tablet, phone]}))] == [WORK]
    assert [r["place_id"] for r in rows(VISITS_DAILY, window({VISITS: [tablet]}))] == [HOME]


def test_trips_by_mode_and_one_over_midnight() -> None:
    walked, rode = rows(
        TRIPS_DAILY,
        window(
            {
                TRIPS: [
                    trip(at(23.5, day=19), at(0.5), "walking", 4000.0),
                    trip(at(8), at(8.5), "in_vehicle", 20_000.0),
                    trip(at(8), at(8.5), "in_vehicle", 19_000.0, "watch"),
                    trip(at(17), at(17.5), "in_vehicle", 21_000.0),
                    trip(at(20), at(20.5), None, None),
                ]
            }
        ),
    )
    assert (walked["mode"], walked["trips"], walked["distance_m"], walked["duration_seconds"]) == (
        "walking", 1, 2000.0, 1800.0,
    )  # fmt: skip
    assert (rode["mode"], rode["trips"], rode["distance_m"]) == ("in_vehicle", 2, 41_000.0)
    assert rode["device_ids"] == ["phone", "watch"]


def test_minutes_are_of_the_device_that_moves() -> None:
    still = moving(at(9), 60, "still", "tablet", 1.0)
    walked = moving(at(9), 30, "walking", "phone", 0.7)
    found = rows(ACTIVITY_MINUTES_DAILY, window({ACTIVITY: [*still, *walked, *moving(at(9), 40, "unknown", "phone")]}))
    assert [(r["activity"], r["minutes"], r["confidence"]) for r in found] == [
        ("still", 30.0, 1.0),
        ("walking", 30.0, 0.7),
    ]


def test_minutes_of_other_days_are_theirs() -> None:
    told = [*moving(at(23, day=19), 120, "walking"), *moving(at(23.5), 60, "running")]
    found = rows(ACTIVITY_MINUTES_DAILY, window({ACTIVITY: told}))
    assert [(r["activity"], r["minutes"]) for r in found] == [("walking", 60.0), ("running", 30.0)]


def test_screen_time_counts_two_screens_once() -> None:
    (found,) = rows(
        SCREEN_TIME_DAILY,
        window({SCREEN: [*lit((at(8), at(9)), (at(20), at(20.5))), *lit((at(8.5), at(9.5)), device="laptop")]}),
    )
    assert (found["total_seconds"], found["pickups"], found["longest_seconds"]) == (2 * 3600, 3, 1.5 * 3600)
    assert json.loads(found["seconds_by_device"]) == {"laptop": 3600.0, "phone": 5400.0}
    assert (found["first_on_at"], found["last_off_at"]) == (at(8), at(20.5))


def test_a_screen_whose_end_was_not_told_counts_half_an_hour() -> None:
    (found,) = rows(SCREEN_TIME_DAILY, window({SCREEN: screen((at(8), "screen_on"), (at(12), "screen_on"))}))
    assert found["total_seconds"] == 3600.0


def test_applications_are_screen_time_where_a_device_tells_of_no_screen() -> None:
    (found,) = rows(
        SCREEN_TIME_DAILY,
        window({SCREEN: lit((at(8), at(9))), APPS: [app(at(8), at(10)), app(at(11), at(12), device="laptop")]}),
    )
    assert json.loads(found["seconds_by_device"]) == {"laptop": 3600.0, "phone": 3600.0}


def test_app_usage_over_midnight_and_on_two_devices() -> None:
    mail, news = rows(
        APP_USAGE_DAILY,
        window(
            {
                APPS: [
                    app(at(23.5, day=19), at(1)),
                    app(at(0.5), at(1.5), device="laptop"),
                    app(at(9), at(9.25), "org.news"),
                ]
            }
        ),
    )
    assert (mail["app_identifier"], mail["total_seconds"], mail["sessions"]) == ("org.mail", 1.5 * 3600, 2)
    assert (mail["first_used_at"], mail["device_ids"]) == (at(0), ["laptop", "phone"])
    assert (news["app_name"], news["app_category"], news["total_seconds"]) == ("ORG.NEWS", "communication", 900.0)


def test_statistics_add_what_events_missed() -> None:
    def told(name: str, more: float, **rest: object) -> dict[str, object]:
        shown = {"device_id": "phone", "app_identifier": name, "app_category": "video", "more_seconds": more}
        return {**shown, "started_at": at(0), "ended_at": at(24), **rest}

    mail, film = rows(
        APP_USAGE_DAILY,
        window(
            {
                APPS: [app(at(9), at(10)), app(at(11), at(11.5), "org.film")],
                USAGE: [
                    told("org.mail", 1800.0),
                    # of two days, so half of it is of this one
                    told("org.film", -1200.0, started_at=at(0, day=19)),
                ],
            }
        ),
    )
    assert (mail["app_identifier"], mail["total_seconds"], mail["sessions"]) == ("org.mail", 5400.0, 1)
    assert (film["app_identifier"], film["total_seconds"]) == ("org.film", 1200.0)
    (only,) = rows(APP_USAGE_DAILY, window({USAGE: [told("org.game", 60.0, launch_count=3)]}))
    assert (only["total_seconds"], only["sessions"], only["first_used_at"], only["device_ids"]) == (
        60.0, 3, at(0), ["phone"],
    )  # fmt: skip


def test_a_night_on_the_charger_is_one_session_in_two_days() -> None:
    sessions = [
        charge(at(23, day=19), at(1), 40.0, 80.0),  # ends with the UTC day
        charge(at(1), at(2), 80.0, 100.0),
        charge(at(12), at(12.5), 50.0, None),
    ]
    (found,) = rows(CHARGING_DAILY, window({CHARGING: sessions}))
    assert (found["sessions"], found["charging_seconds"], found["gained_percent"]) == (2, 2.5 * 3600, 40.0)
    assert (found["first_started_at"], found["last_ended_at"]) == (at(0), at(12.5))


NIGHT = [*lit((at(22, day=19), at(23, day=19)), (at(7), at(7.2)), (at(12), at(12.2)), (at(16), at(20)))]


def test_sleep_is_the_silence_of_the_night() -> None:
    (found,) = rows(SLEEP_ESTIMATE_DAILY, window({SCREEN: NIGHT}))
    assert (found["asleep_at"], found["woke_at"], found["sleep_seconds"]) == (at(23, day=19), at(7), 8 * 3600.0)
    assert found["interruptions"] == 0
    assert 0.4 < found["confidence"] < 0.6
    assert found["uncertainty_seconds"] > 3600


def test_sleep_is_surer_with_more_evidence() -> None:
    given = {
        SCREEN: NIGHT,
        ACTIVITY: moving(at(23, day=19), 8 * 60, "still"),
        CHARGING: [charge(at(23, day=19), at(7), 30.0, 100.0)],
        VISITS: [visit(at(18, day=19), at(8))],
    }
    (found,) = rows(SLEEP_ESTIMATE_DAILY, window(given))
    assert found["confidence"] == 1.0
    assert found["uncertainty_seconds"] == pytest.approx(42 * 60, rel=0.1)
    assert set(json.loads(found["evidence"]).values()) == {1.0}


def test_a_look_at_the_clock_interrupts_sleep_and_does_not_end_it() -> None:
    (found,) = rows(SLEEP_ESTIMATE_DAILY, window({SCREEN: sorted_events(NIGHT, lit((at(3), at(3.05))))}))
    assert (found["asleep_at"], found["woke_at"], found["interruptions"]) == (at(23, day=19), at(7), 1)
    assert found["sleep_seconds"] == pytest.approx(7.95 * 3600)


def test_whoever_works_at_night_sleeps_by_day() -> None:
    worked = lit(
        *[(at(h, day=19), at(h + 0.9, day=19)) for h in range(14, 24)], *[(at(h), at(h + 0.9)) for h in range(9)]
    )
    (found,) = rows(SLEEP_ESTIMATE_DAILY, window({SCREEN: [*worked, *lit((at(16), at(17)))]}))
    assert (found["asleep_at"], found["woke_at"]) == (at(8.9), at(16))


def test_nothing_is_said_of_a_silence_at_work_or_of_one_without_an_end() -> None:
    busy = lit(*[(at(h / 2, day=20), at(h / 2 + 0.3)) for h in range(18)])
    desk = [*busy, *lit((at(15), at(16)))]
    at_work = {SCREEN: desk, VISITS: [visit(at(8), at(17), WORK)]}
    assert rows(SLEEP_ESTIMATE_DAILY, window(at_work)) == []
    assert rows(SLEEP_ESTIMATE_DAILY, window({SCREEN: lit((at(22, day=19), at(23, day=19)))})) == []
    assert rows(SLEEP_ESTIMATE_DAILY, window({SCREEN: lit((at(6, day=19), at(7, day=19)), (at(23), at(23.5)))})) == []


def sorted_events(*events: list[dict[str, object]]) -> list[dict[str, object]]:
    """All of them in order of time."""
    return sorted((e for some in events for e in some), key=lambda e: str(e["timestamp"]))


def test_the_timeline_is_in_order_and_from_all_flows() -> None:
    found = rows(
        DAY_TIMELINE,
        window(
            {
                VISITS: [visit(at(18, day=19), at(8)), visit(at(8.5), at(17), WORK), visit(at(18), at(19), "x" * 36)],
                TRIPS: [trip(at(8), at(8.5), "cycling", 6_410.0), trip(at(17), at(17.2), None, None)],
                APPS: [app(at(9), at(9.1)), app(at(9.11), at(9.2)), app(at(10), at(10.001), "org.glance")],
                CHARGING: [charge(at(10), at(11), 41.0, 100.0)],
                SPEECH: [{"device_id": "phone", "started_at": at(14), "ended_at": at(14.05)}],
                ACTIVITY: [*moving(at(8), 30, "cycling"), *moving(at(12), 20, "running")],
                SCREEN: NIGHT,
            }
        ),
    )
    assert [(r["number"], r["kind"], r["title"]) for r in found] == [
        (1, "visit", "Home"),
        (2, "sleep", "Slept about 8.0 h"),
        (3, "trip", "Cycled 6.4 km"),
        (4, "visit", "Office"),
        (5, "app", "ORG.MAIL"),
        (6, "charging", "phone charged from 41 to 100 %"),
        (7, "activity", "Running"),
        (8, "speech", "Speech"),
        (9, "trip", "On the way"),
        (10, "visit", "Somewhere at 47.4000, 8.5000"),
    ]
    assert all(a["started_at"] <= b["started_at"] for a, b in pairwise(found))
    assert all(at(0) <= r["started_at"] <= r["ended_at"] <= at(24) for r in found)
    assert {r["time_zone"] for r in found} == {"Europe/Zurich"}
    assert json.loads(found[2]["details"]) == {"mode": "cycling", "distance_m": 6410.0}
    assert (found[3]["message_id"], found[4]["message_id"]) == ("visits-1", "apps-0")


spans = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 120), st.sampled_from("ab")).map(
        lambda s: {"device_id": s[2], "started_at": at(s[0] / 10, 18), "ended_at": at((s[0] + s[1]) / 10, 18)}
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(spans, st.permutations(range(8)), st.integers(0, 500))
def test_joined_stretches_cover_what_the_stretches_do(
    stretches: list[dict[str, object]], order: list[int], cut: int
) -> None:
    schema = {"device_id": pl.String(), "started_at": MOMENT, "ended_at": MOMENT}
    frame = pl.DataFrame(stretches, schema=schema)
    mixed = pl.DataFrame([stretches[n] for n in order if n < len(stretches)], schema=schema)
    found = joined(frame)
    assert found.equals(joined(mixed))
    tenths = pl.DataFrame({"at": [at(n / 10, 18) for n in range(620)]}, schema={"at": MOMENT})
    inside = (pl.col("started_at") <= pl.col("at")) & (pl.col("at") < pl.col("ended_at"))
    covered, told = (
        tenths.join_where(f, inside).select("at").unique().sort("at") for f in (frame, found.select(frame.columns[1:]))
    )
    assert covered.equals(told)
    assert found["seconds"].sum() == pytest.approx(covered.height * 360.0)
    # a day and the next share a stretch out between them
    middle = at(cut / 10, 18)
    halves = [within(frame, at(0, 18), middle), within(frame, middle, at(62, 18))]
    lengths = [(pl.col("ended_at") - pl.col("started_at")).sum().dt.total_microseconds()]
    whole = frame.select(lengths).item() or 0
    assert sum(h.select(lengths).item() or 0 for h in halves) == whole
