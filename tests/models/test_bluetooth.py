"""Scans for Bluetooth devices, and how long devices were near, on a real database."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device_system import BLUETOOTH_RAW
from loom_models.stages.bluetooth_enriched import BLUETOOTH_ENRICHER
from loom_models.stages.bluetooth_presence import BLUETOOTH_PRESENCE
from tests.conftest import fresh_database
from tests.models.frames import batch
from tests.models.network_home import NOON, Home, empty, minutes

pytestmark = pytest.mark.integration
WATCH = {"address": "AA:01", "name": "watch", "paired": True, "signal_dbm": -50.0}
MIDNIGHT = 720
Scan = tuple[float, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def module_connection(server_url: str, template_database: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        fresh_database(server_url, f"loom_bluetooth_{os.getpid()}", template_database) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield connection


@pytest.fixture
def connection(module_connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    yield module_connection
    empty(module_connection, BLUETOOTH_RAW)


def scans(*given: Scan) -> list[tuple[float, dict[str, Any]]]:
    return [(at, {"devices": json.dumps(devices)}) for at, devices in given]


def named(*letters: str) -> list[dict[str, Any]]:
    return [{"address": letter} for letter in letters]


def presences(home: Home) -> list[tuple[str, float, float | None]]:
    found = [(r["address"], minutes(r["timestamp"]) or 0.0, minutes(r["ended_at"])) for r in home.found()]
    return sorted(found, key=lambda p: p[:2])


def test_what_is_new_in_a_scan(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, BLUETOOTH_ENRICHER)
    ear = {"address": "bb:02", "name": " ", "connected": True, "signal_dbm": -40.0}
    twice = [WATCH | {"address": "aa:01", "signal_dbm": -90.0, "connected": True}, WATCH]
    home.answer(home.land(scans((0, [WATCH, ear]), (5, []), (10, twice), (45, [WATCH]), (50, named("c", "d")))))
    rows = home.found()
    counts = [(r["device_count"], r["arrived_count"], r["left_count"]) for r in rows]
    assert counts == [(2, 2, 0), (0, 0, 2), (1, 0, 0), (1, 1, 0), (2, 2, 1)]
    assert [(r["connected_count"], r["paired_count"], r["named_count"]) for r in rows][:3] == [
        (1, 1, 1),
        (0, 0, 0),
        (1, 1, 1),
    ]
    assert [(r["nearest_name"], r["nearest_dbm"]) for r in rows][:2] == [("bb:02", -40.0), (None, None)]
    assert [json.loads(r["connected_names"]) for r in rows][:3] == [["bb:02"], [], ["watch"]]


def test_a_late_scan_has_those_after_it_answered_again(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, BLUETOOTH_ENRICHER)
    home.answer(home.land(scans((0, named("a")), (20, named("a", "b")), (60, named("a")))))
    assert home.answer(home.land(scans((10, named("b"))))) == 2
    assert [(r["arrived_count"], r["left_count"]) for r in home.found()] == [(1, 0), (1, 1), (0, 0), (1, 0)]


def test_who_was_near(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, BLUETOOTH_PRESENCE)
    home.answer(
        home.land(scans((0, [WATCH, *named("a", "b")]), (15, named("a", "b")), (20, named("b")), (60, named("a"))))
    )
    assert presences(home) == [("aa:01", 0, 0), ("b", 0, 20)]
    watch = home.found()[0]
    assert (watch["name"], watch["is_own"], watch["is_open"]) == ("watch", True, False)


def test_an_open_presence_says_nothing_new_at_each_scan(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, BLUETOOTH_PRESENCE)
    home.answer(home.land(scans((0, [WATCH]))), now=NOON)
    before = home.found()
    home.answer(home.land(scans((10, [WATCH]))), now=NOON + timedelta(minutes=10))
    assert home.found() == before
    assert presences(home) == [("aa:01", 0, None)]
    home.fire(NOON + timedelta(minutes=40))
    assert presences(home) == [("aa:01", 0, 10)]


def test_a_night_is_two_rows(connection: psycopg.Connection[Any]) -> None:
    home = Home(connection, BLUETOOTH_PRESENCE)
    home.answer(home.land(scans(*((MIDNIGHT + m, [WATCH]) for m in (-10, 15, 30)))))
    assert presences(home) == [("aa:01", MIDNIGHT - 10, MIDNIGHT), ("aa:01", MIDNIGHT, MIDNIGHT + 30)]
    assert [r["is_continued"] for r in home.found()] == [False, True]


def account(given: Sequence[tuple[int, frozenset[str]]]) -> list[tuple[str, float, float]]:
    """Who was near, told plainly: each device's sightings, joined where no more than half an hour lies between."""
    times: dict[str, list[int]] = defaultdict(list)
    for at, devices in sorted(given):
        for device in devices:
            times[device].append(at)
    found = []
    for device, seen in times.items():
        groups = [[seen[0]]]
        for at in seen[1:]:
            if at - groups[-1][-1] <= 30:
                groups[-1].append(at)
            else:
                groups.append([at])
        for group in groups:
            start, end = group[0], group[-1]
            cuts = [start, MIDNIGHT, end] if start < MIDNIGHT < end else [start, end]
            for first, last in pairwise(cuts):
                inside = [m for m in group if first <= m < last or m == last != MIDNIGHT]
                if max(inside, default=0) - first >= 20:
                    found.append((device, float(first), float(last)))
    return sorted(found)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(640, 800), st.just(MIDNIGHT)), st.frozensets(st.sampled_from("abc"))),
        min_size=1,
        max_size=10,
        unique_by=lambda s: s[0],
    ),
    st.data(),
)
def test_any_batches_in_any_order_give_the_same(
    connection: psycopg.Connection[Any], given: list[tuple[int, frozenset[str]]], data: st.DataObject
) -> None:
    empty(connection, BLUETOOTH_RAW)
    home = Home(connection, BLUETOOTH_PRESENCE)
    scanned = Home(connection, BLUETOOTH_ENRICHER)
    left = data.draw(st.permutations(given))
    while left:
        size = data.draw(st.integers(1, len(left)))
        part, left = left[:size], left[size:]
        frame = home.land(scans(*((at, named(*sorted(devices))) for at, devices in part)))
        home.answer(frame)
        scanned.answer(frame)
    assert presences(home) == account(given)
    once = Home(connection, BLUETOOTH_ENRICHER)
    with connection.cursor() as cursor:
        landed = cursor.execute("SELECT message_id::text, timestamp FROM device_network_bluetooth_raw").fetchall()
    once.answer(batch(BLUETOOTH_RAW, [{"message_id": m, "timestamp": t, "received_at": t} for m, t in landed]))
    assert scanned.found() == once.found()
    assert len(once.found()) == len(landed)
