"""Who is in front: what ends a session, and the same answers from any batches in any order."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_contracts.topics.os_events import APP_LIFECYCLE_ENRICHED, APP_LIFECYCLE_RAW, APP_SESSION_DETECTED
from loom_models.app_sessions import END, MOMENT_SCHEMA, find
from loom_models.stage import DUE_SCHEMA
from loom_models.stages.app_enriched import APP_ENRICHMENT
from loom_models.stages.app_sessions import APP_SESSIONS
from loom_models.wakes import wakes_of
from tests.models.apps import RANKS, Event, Table, land, plainly, records
from tests.models.frames import batch, message_id, sink_columns

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
LATE = NOON + timedelta(days=3)
NO_TIMERS = pl.DataFrame(schema=DUE_SCHEMA)


def moments(*events: tuple[float, str, str | None] | tuple[float, str, str | None, float]) -> pl.DataFrame:
    """Events at seconds after noon."""
    rows = [
        {
            "device_id": "phone-001",
            "timestamp": NOON + timedelta(seconds=event[0]),
            "message_id": message_id(number),
            "kind": event[1],
            "rank": RANKS.get(event[1], END),
            "app_identifier": event[2],
            "told_seconds": event[3] if len(event) == 4 else None,
        }
        for number, event in enumerate(events)
    ]
    return pl.DataFrame([{n: r.get(n) for n in MOMENT_SCHEMA} for r in rows], schema=MOMENT_SCHEMA)


def told(frame: pl.DataFrame, now: datetime = LATE) -> list[tuple[str, float, float | None, str | None]]:
    """(application, from, to, ended by) of each session, in seconds after noon."""
    found = find(frame, now).sessions.sort("timestamp")
    return [
        (r["app_identifier"], _seconds(r["timestamp"]), r["ended_at"] and _seconds(r["ended_at"]), r["ended_by"])
        for r in found.iter_rows(named=True)
    ]


def _seconds(at: datetime) -> float:
    return (at - NOON).total_seconds()


def test_a_launch_and_what_follows_it_is_one_session() -> None:
    frame = moments((0, "launch", "a"), (0.4, "foreground", "a"), (60, "background", "a"), (90, "terminate", "a"))
    assert told(frame) == [("a", 0, 60, "background")]


def test_another_application_ends_it_and_its_own_late_end_does_not_end_the_other() -> None:
    frame = moments((0, "foreground", "a"), (30, "foreground", "b"), (30.5, "background", "a"), (70, "crash", "b"))
    assert told(frame) == [("a", 0, 30, "other_app"), ("b", 30, 70, "crash")]


@pytest.mark.parametrize("off", ["screen_off", "device_lock"])
def test_a_missing_end_is_that_of_the_screen(off: str) -> None:
    assert told(moments((0, "foreground", "a"), (45, off, None))) == [("a", 0, 45, off)]


def test_without_any_end_it_lasts_to_the_last_sign() -> None:
    frame = moments((0, "foreground", "a"), (100, "foreground", "a"), (8_000, "foreground", "b"))
    assert told(frame) == [("a", 0, 100, "timeout"), ("b", 8_000, 8_000, "timeout")]


def test_the_screen_comes_on_so_it_had_gone_off() -> None:
    frame = moments((0, "foreground", "a"), (3_000, "screen_on", None), (3_600, "screen_off", None))
    assert told(frame) == [("a", 0, 0, "timeout")]
    # a camera's button: the application is there before the screen
    frame = moments((0, "foreground", "a"), (0.5, "screen_on", None), (60, "screen_off", None))
    assert told(frame) == [("a", 0, 60, "screen_off")]


def test_a_film_of_three_hours_is_one_session_when_its_end_is_seen() -> None:
    assert told(moments((0, "foreground", "a"), (10_800, "background", "a"))) == [("a", 0, 10_800, "background")]
    assert told(moments((0, "foreground", "a"), (43_201, "background", "a"))) == [("a", 0, 0, "timeout")]


def test_an_end_alone_says_how_long_it_lasted_but_not_beyond_what_was_before_or_midnight() -> None:
    assert told(moments((100, "background", "a", 60.0))) == [("a", 40, 100, "background")]
    assert told(moments((43_230, "background", "a", 60.0))) == [("a", 43_200, 43_230, "background")]
    frame = moments((90, "screen_on", None), (100, "background", "a", 60.0))
    assert told(frame) == [("a", 90, 100, "background")]
    frame = moments((0, "foreground", "b"), (100, "background", "a", 60.0), (120, "background", "b"))
    assert told(frame) == [("b", 0, 120, "background")]


def test_an_end_before_its_beginning_makes_no_time_run_backwards() -> None:
    frame = moments((0, "background", "a", 1e9), (10, "foreground", "a"), (20, "foreground", "b"))
    assert told(frame) == [("a", 10, 20, "other_app"), ("b", 20, 20, "timeout")]


def test_what_goes_on_is_open_until_the_time_out_and_looks_the_same_all_the_time() -> None:
    first = moments((0, "foreground", "a"))
    more = moments((0, "foreground", "a"), (50, "foreground", "a"))
    soon = NOON + timedelta(minutes=100)
    assert told(first, soon) == told(more, soon) == [("a", 0, None, None)]
    one, other = find(first, soon).sessions, find(more, soon).sessions
    assert one.drop("last_sign").equals(other.drop("last_sign"))
    assert told(first, NOON + timedelta(hours=2)) == [("a", 0, 0, "timeout")]


def test_ten_devices_do_not_disturb_each_other() -> None:
    one = moments((0, "foreground", "a"), (10, "foreground", "b"), (20, "screen_off", None))
    many = pl.concat(
        one.with_columns(pl.lit(f"phone-{n}").alias("device_id"), pl.format("{}-{}", "message_id", pl.lit(n)))
        for n in range(10)
    )
    found = find(many.sample(fraction=1.0, shuffle=True, seed=1), LATE).sessions
    assert found["session_id"].n_unique() == 20
    assert found.group_by("device_id", "app_identifier", "ended_at").len()["len"].to_list() == [1] * 20


def test_the_session_of_each_event() -> None:
    frame = moments(
        (0, "foreground", "a"), (30, "foreground", "b"), (31, "background", "a"), (60, "background", "b"),
        (70, "foreground", "b"), (80, "screen_off", None), (90, "foreground", "c"),
    )  # fmt: skip
    found = find(frame, LATE)
    ids = dict(found.sessions.select("timestamp", "session_id").iter_rows())
    a, b, again, c = (ids[NOON + timedelta(seconds=n)] for n in (0, 30, 70, 90))
    assert found.events["session_id"].to_list() == [a, b, None, b, again, c]
    assert found.events["previous_app_identifier"].to_list() == [None, "a", None, "a", "b", None]


times = st.one_of(st.integers(0, 900), st.integers(0, 120).map(lambda n: n * 600))
kinds = st.sampled_from(
    ("launch", "foreground", "foreground", "foreground", "background", "background", "terminate", "crash")
)
app_events = st.tuples(times, kinds, st.sampled_from("aabc"), st.none() | st.sampled_from((5.0, 700.0)))
screen_events = st.tuples(times, st.sampled_from(("screen_off", "device_lock", "screen_on")), st.none(), st.none())
days = st.lists(
    st.one_of(app_events, app_events, screen_events), min_size=1, max_size=14, unique_by=lambda e: e[0]
).map(lambda events: [(NOON + timedelta(seconds=e[0]), *e[1:]) for e in events])


@settings(max_examples=40, deadline=None)
@given(days)
def test_sessions_are_those_that_one_finds_event_by_event(events: list[Event]) -> None:
    now = NOON + timedelta(hours=20, minutes=30)
    rows = [(_seconds(at), kind, app, said) for at, kind, app, said in events]
    frame = moments(*[(s, k, a, d) if d is not None else (s, k, a) for s, k, a, d in rows])
    found = find(frame, now).sessions.select("app_identifier", "timestamp", "ended_at", "ended_by")
    assert sorted(found.iter_rows()) == plainly(events, now)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.mark.integration
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(days, st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_order_and_any_batches_give_the_answers_of_one_batch(
    connection: psycopg.Connection[Any], events: list[Event], chance: random.Random, parts: int
) -> None:
    """System events come by wakes, some of them after the applications' events; timers run at the end."""
    connection.execute("TRUNCATE os_events_app_lifecycle_raw, os_events_system_raw")
    named = [(message_id(number), event) for number, event in enumerate(sorted(events, key=lambda e: e[0]))]
    chance.shuffle(named)
    live = [Table(stage, connection) for stage in (APP_SESSIONS, APP_ENRICHMENT)]
    now = NOON + timedelta(hours=20, minutes=30)
    for part in range(parts):
        apps, system = records(named[part::parts])
        land(connection, apps, system)
        wakes = wakes_of(system) if system.height else NO_TIMERS
        for table in live:
            table.apply(apps, wakes, NOON)
    for table in live:
        due = [("phone-001", key) for key, at in table.timers.items() if at <= now]
        table.apply(batch(APP_LIFECYCLE_RAW, []), pl.DataFrame(due, schema=DUE_SCHEMA, orient="row"), now)
    whole = [Table(stage, connection) for stage in (APP_SESSIONS, APP_ENRICHMENT)]
    apps, _ = records(named)
    for table, again in zip(live, whole, strict=True):
        if apps.height:
            again.apply(apps, NO_TIMERS, now)
        assert set(table.rows) == set(again.rows)
    found = sorted((r["app_identifier"], r["timestamp"], r["ended_at"], r["ended_by"]) for r in live[0].rows.values())
    assert found == plainly(events, now)
    assert len(live[1].rows) == apps.height


@pytest.mark.integration
def test_rows_have_the_columns_of_their_tables(connection: psycopg.Connection[Any]) -> None:
    apps, system = records([(message_id(1), (NOON, "foreground", "com.whatsapp", None))])
    land(connection, apps, system)
    for stage, topic in ((APP_SESSIONS, APP_SESSION_DETECTED), (APP_ENRICHMENT, APP_LIFECYCLE_ENRICHED)):
        rows = Table(stage, connection).apply(apps, NO_TIMERS, NOON).rows[topic]
        assert set(rows.columns) == sink_columns(topic)
        assert rows["app_category"].to_list() == ["communication"]
