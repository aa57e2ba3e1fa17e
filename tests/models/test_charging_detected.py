"""Charging sessions on a real database, beside a plain account of what they are."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from loom_contracts.topics.device import CHARGING_DETECTED, GPS_RAW, POWER_RAW
from loom_contracts.topics.os_events import SYSTEM_EVENTS_RAW
from loom_models.charging import CLOSE, FLICKER, SILENCE, STRETCHES
from loom_models.stage import DUE_SCHEMA, Context, ContextQuery
from loom_models.stages.charging_detected import REGIONS, SLACK_PERCENT, transform
from loom_models.wakes import wakes_of
from loom_platform import georegions
from loom_platform.stream.writer import Writer
from tests.conftest import fresh_database
from tests.models.frames import batch, message_id, sink_columns

pytestmark = pytest.mark.integration
NIGHT = datetime(2026, 1, 15, 22, tzinfo=UTC)
MUCH_LATER = NIGHT + timedelta(days=30)
NO_TIMERS = pl.DataFrame(schema=DUE_SCHEMA)
Reading = tuple[float, float, bool]
"""Minutes after NIGHT, percent, whether it is charging."""


@pytest.fixture(scope="module")
def module_connection(server_url: str, template_database: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        fresh_database(server_url, f"loom_charging_{os.getpid()}", template_database) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield connection


@pytest.fixture
def connection(module_connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    yield module_connection
    empty(module_connection)


def empty(connection: psycopg.Connection[Any]) -> None:
    for table in (POWER_RAW.table.name, SYSTEM_EVENTS_RAW.table.name, GPS_RAW.table.name, "georegions"):
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@dataclass
class Home:
    """The tables, and what stands of the answers."""

    connection: psycopg.Connection[Any]
    standing: dict[tuple[str, datetime], dict[str, Any]] = field(default_factory=dict)
    timers: dict[tuple[str, str], datetime] = field(default_factory=dict)
    sent: int = 0

    def readings(self, readings: Sequence[Reading], **more: Any) -> pl.DataFrame:
        """Those, landed."""
        rows = []
        for minutes, level, charging in readings:
            at = NIGHT + timedelta(minutes=minutes)
            self.sent += 1
            rows.append(
                {"message_id": message_id(self.sent), "timestamp": at, "received_at": at, "battery_level": level}
                | {"is_charging": charging, "power_source": "USB" if charging else "Battery"}
                | more
            )
        return self.land(POWER_RAW, rows)

    def land(self, topic: Any, rows: list[dict[str, Any]]) -> pl.DataFrame:
        frame = batch(topic, rows)
        with self.connection.transaction():
            Writer(self.connection).write(topic.table, frame)
        return frame

    def answer(self, frame: pl.DataFrame, due: pl.DataFrame = NO_TIMERS, now: datetime = MUCH_LATER) -> None:
        """What the engine does of a batch and its due timers."""
        frames = {query.name: self._ask(query, frame, due) for query in (STRETCHES, REGIONS)}
        output = transform(frame, Context("1", now, frames, due))
        rows = output.rows.get(CHARGING_DETECTED, pl.DataFrame())
        if CHARGING_DETECTED in output.rows:
            assert set(rows.columns) == sink_columns(CHARGING_DETECTED)
        for device_id, first, last in output.spans.get(CHARGING_DETECTED, pl.DataFrame()).iter_rows():
            self.standing = {k: v for k, v in self.standing.items() if k[0] != device_id or not first <= k[1] < last}
        for row in rows.iter_rows(named=True):
            self.standing[row["device_id"], row["timestamp"]] = row
        for frame_of_timers, sets in ((output.cleared, False), (output.timers, True)):
            for row in () if frame_of_timers is None else frame_of_timers.iter_rows(named=True):
                self.timers.pop((row["device_id"], row["key"]), None)
                if sets:
                    self.timers[row["device_id"], row["key"]] = row["due_at"]

    def found(self) -> list[dict[str, Any]]:
        return [self.standing[key] for key in sorted(self.standing)]

    def times(self) -> list[tuple[float, float | None, str | None]]:
        """(beginning, end, how it ended) of each session; minutes after NIGHT."""
        return [(minutes(r["timestamp"]), minutes(r["ended_at"]), r["ended_by"]) for r in self.found()]

    def _ask(self, query: ContextQuery, frame: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
        parameters = query.parameters(frame, due)
        if parameters is None:
            return pl.DataFrame(schema=query.schema)
        with self.connection.cursor(binary=True) as cursor:
            return pl.DataFrame(cursor.execute(query.sql, parameters).fetchall(), schema=query.schema, orient="row")


def minutes(moment: datetime | None) -> Any:
    return None if moment is None else (moment - NIGHT).total_seconds() / 60


def test_a_night_on_the_charger(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection)
    unplugged: list[Reading] = [(m, 50 - m / 20, False) for m in range(-60, 0, 5)]
    night: list[Reading] = [(m, min(100.0, 40 + m / 2), True) for m in range(0, 480, 5)]
    home.answer(home.readings([*unplugged, *night]), now=NIGHT + timedelta(minutes=480))
    (row,) = home.found()
    assert (row["is_open"], row["ended_at"], row["end_level"], row["full_at"]) == (True, None, None, None)
    assert (row["timestamp"], row["start_level"], row["power_source"]) == (NIGHT, 40.0, "usb")
    assert home.timers == {
        ("phone-001", f"open:{int(NIGHT.timestamp()) * 1_000_000}"): NIGHT + timedelta(hours=19, minutes=55)
    }
    before = row["message_id"]
    home.answer(home.readings([(480, 100, True)]), now=NIGHT + timedelta(minutes=480))
    assert [r["message_id"] for r in home.found()] == [before], "an open session says nothing new at each reading"
    home.answer(home.readings([(485, 100, False)]), now=NIGHT + timedelta(minutes=485))
    (row,) = home.found()
    assert (row["is_open"], row["ended_by"], row["duration_seconds"]) == (False, "unplugged", 485 * 60)
    assert (row["end_level"], row["rate_percent_per_hour"]) == (100.0, 30.0)
    assert minutes(row["full_at"]) == 120
    assert home.timers == {}


def test_an_open_session_ends_by_silence(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection)
    home.answer(home.readings([(0, 40, True), (10, 45, True)]), now=NIGHT + timedelta(minutes=10))
    assert home.times() == [(0, None, None)]
    ((key, due_at),) = home.timers.items()
    due = pl.DataFrame([key], schema=DUE_SCHEMA, orient="row")
    home.answer(batch(POWER_RAW, []), due, now=due_at)
    assert home.times() == [(0, 10, "silence")]
    home.answer(home.readings([(700, 80, True)]), now=NIGHT + timedelta(minutes=700))
    assert home.times() == [(0, None, None)], "a phone that said nothing all night was charged all night"


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param(
            [(0, 50, True), (10, 55, False), (11.5, 55, True), (20, 60, False)], [(0, 20, "unplugged")], id="flicker"
        ),
        pytest.param(
            [(0, 50, True), (10, 55, False), (13, 55, True), (20, 60, False)],
            [(0, 10, "unplugged"), (13, 20, "unplugged")],
            id="again",
        ),
        pytest.param(
            [(0, 90, True), (300, 60, True), (310, 65, False)],
            [(0, 0, "silence"), (300, 310, "unplugged")],
            id="used in between",
        ),
        pytest.param([(0, 90, True), (300, 60, False)], [(0, 0, "silence")], id="unplugged long ago"),
        pytest.param(
            [(0, 90, True), (721, 95, True)], [(0, 0, "silence"), (721, 721, "silence")], id="too long a pause"
        ),
        pytest.param(
            [(0, 50, True), (0, 50, True), (10, 55, False), (10, 55, False)], [(0, 10, "unplugged")], id="twice"
        ),
        pytest.param([(0, 50, False), (10, 49, False)], [], id="none"),
    ],
)
def test_what_a_session_is(
    connection: psycopg.Connection[Any],
    readings: list[Reading],
    expected: list[tuple[float, float, str]],
) -> None:
    home = Home(connection)
    home.answer(home.readings(readings))
    assert home.times() == expected


def test_a_device_that_never_leaves_its_charger(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection)
    for quarter in range(16):
        home.answer(home.readings([(360 * quarter + m, 100, True) for m in (0, 300)]))
    # 22:00 lies more than a day before the second midnight, which is 1560 minutes after it.
    assert home.times() == [(0, 1560, "day"), (1740, 3000, "day"), (3180, 4440, "day"), (4620, 5700, "silence")]


def test_plugged_in_is_not_charging(connection: psycopg.Connection[Any]) -> None:
    """A laptop that holds its charge at 80 percent."""
    home = Home(connection)
    home.answer(home.readings([(0, 80, False), (30, 80, False)], power_source="AC"))
    home.answer(home.readings([(40, 80, False)]))
    assert home.times() == [(0, 40, "unplugged")]
    assert home.found()[0]["power_source"] == "ac"


def test_a_clock_that_is_ahead_says_nothing(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection)
    home.answer(home.readings([(0, 50, True), (30, 60, True)]))
    home.answer(home.readings([(20, 55, False)], received_at=NIGHT - timedelta(hours=2)))
    assert home.times() == [(0, 30, "silence")]


def test_the_charger_s_events_and_a_fix_come_later(connection: psycopg.Connection[Any]) -> None:
    georegions.add(connection, georegions.circle("Home", "home", 52.5, 13.4, 100.0))
    georegions.add(connection, georegions.circle("Berlin", "custom", 52.5, 13.4, 20_000.0))
    home = Home(connection)
    home.answer(home.readings([(-10, 51, False), (0, 50, True), (10, 55, True), (20, 60, False)]))
    assert home.times() == [(0, 20, "unplugged")]
    events = [
        {"timestamp": NIGHT + timedelta(minutes=m), "event_type": kind, "event_category": "power", "severity": "info"}
        for m, kind in (
            (-7, "power_connected"),
            (-6, "power_disconnected"),
            (-4, "power_connected"),
            (12, "power_disconnected"),
        )
    ]
    home.answer(batch(POWER_RAW, []), wakes_of(home.land(SYSTEM_EVENTS_RAW, events)))
    assert home.times() == [(-4, 12, "unplugged")]
    fixes = [
        {"timestamp": NIGHT + timedelta(minutes=m), "latitude": latitude, "longitude": 13.4 if latitude else 0.0}
        for m, latitude in ((-25, 48.0), (1, 0.0), (3, 52.5))
    ]
    home.answer(batch(POWER_RAW, []), wakes_of(home.land(GPS_RAW, fixes)))
    (row,) = home.found()
    assert (row["latitude"], row["longitude"], row["region_name"]) == (52.5, 13.4, "Home")


def test_a_wake_without_readings_says_nothing(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection)
    fix = home.land(GPS_RAW, [{"timestamp": NIGHT, "latitude": 52.5, "longitude": 13.4}])
    home.answer(batch(POWER_RAW, []), wakes_of(fix))
    assert home.found() == []


@st.composite
def days(draw: st.DrawFn) -> list[Reading]:
    """Stretches on and off the charger, some dense, some with long pauses, some longer than days."""
    readings: list[Reading] = []
    at = 0.0
    for _ in range(draw(st.integers(1, 5))):
        charging = draw(st.booleans())
        pace = draw(st.sampled_from((1.0, 7.0, 25.0, 70.0, 400.0)))
        for _ in range(draw(st.integers(1, 12))):
            readings.append((at, float(draw(st.sampled_from((30, 60, 61, 62, 90, 100)))), charging))
            at += pace * draw(st.sampled_from((0.5, 1.0, 2.0)))
    return readings


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(days(), st.data())
def test_any_order_and_any_batches_give_the_answers_of_one_batch(
    connection: psycopg.Connection[Any], readings: list[Reading], data: st.DataObject
) -> None:
    empty(connection)
    home = Home(connection)
    left = list(data.draw(st.permutations(readings)) if data.draw(st.booleans()) else readings)
    while left:
        count = data.draw(st.integers(1, max(1, len(left))))
        home.answer(home.readings(left[:count]))
        left = left[count:]
    whole = Home(connection)
    whole.answer(home_batch(connection))
    assert comparable(home.found()) == comparable(whole.found())
    assert [(t[0], t[1]) for t in home.times()] == in_one(readings)
    # What a recompute of each day says, whatever came before.
    again = Home(connection)
    for day in sorted({(NIGHT + timedelta(minutes=at)).date() for at, _, _ in readings}):
        again.answer(home_batch(connection, day))
    assert comparable(again.found()) == comparable(whole.found())


def home_batch(connection: psycopg.Connection[Any], day: date | None = None) -> pl.DataFrame:
    first = datetime.min.replace(tzinfo=UTC) if day is None else datetime.combine(day, time(), UTC)
    last = datetime.max.replace(tzinfo=UTC) if day is None else first + timedelta(days=1)
    rows = connection.execute(
        "SELECT message_id::text, timestamp, received_at, battery_level, is_charging, power_source "
        f"FROM {POWER_RAW.table.name} WHERE timestamp >= %s AND timestamp < %s",
        (first, last),
    ).fetchall()
    names = ("message_id", "timestamp", "received_at", "battery_level", "is_charging", "power_source")
    return batch(POWER_RAW, [dict(zip(names, row, strict=True)) for row in rows])


def comparable(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the ids of messages that happen to be of the same moment."""
    return [{k: v for k, v in row.items() if k not in ("message_id", "source_message_id")} for row in found]


def in_one(readings: Sequence[Reading]) -> list[tuple[float, float]]:
    """Beginning and end of each session, worked out plainly."""
    ordered = sorted(readings)
    on = [at for at, _, charging in ordered if charging]
    flicker = FLICKER.total_seconds() / 60
    steady = [r for r in ordered if r[2] or not any(r[0] <= at <= r[0] + flicker for at in on)]
    found: list[list[float]] = []
    goes_on, since = False, 0.0
    for before, reading in zip([None, *steady], steady, strict=False):
        at, level, charging = reading
        follows = False
        if before is not None:
            pause = timedelta(minutes=at - before[0])
            follows = pause <= CLOSE or (pause <= SILENCE and level >= before[1] - SLACK_PERCENT)
        if not charging:
            if goes_on and follows:
                found[-1][1] = at
            goes_on = False
            continue
        midnight = at - (at + 22 * 60) % (24 * 60)
        if not (goes_on and follows):
            found.append([at, at])
            since = at
        elif before is not None and before[0] < midnight and since < midnight - 24 * 60:
            found[-1][1] = midnight
            found.append([at, at])
        else:
            found[-1][1] = at
        goes_on = True
    return [(first, last) for first, last in found]
