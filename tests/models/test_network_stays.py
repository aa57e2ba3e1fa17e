"""Stays on Wi-Fi networks on a real database, beside a plain account of what they are."""

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device_system import WIFI_RAW
from loom_models.stages.network_stays import NETWORK_STAYS
from tests.conftest import fresh_database
from tests.models.network_home import MUCH_LATER, NOON, Home, empty, minutes

pytestmark = pytest.mark.integration
DAY = 24 * 60
MIDNIGHT = DAY / 2
"""Minutes after NOON."""
State = tuple[float, str | None]
"""Minutes after NOON, and the network."""


@pytest.fixture(scope="module")
def module_connection(server_url: str, template_database: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        fresh_database(server_url, f"loom_stays_{os.getpid()}", template_database) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield connection


@pytest.fixture
def connection(module_connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    yield module_connection
    empty(module_connection, WIFI_RAW)


def home_of(connection: psycopg.Connection[Any]) -> Home:
    return Home(connection, NETWORK_STAYS)


def states(*given: State) -> list[tuple[float, dict[str, Any]]]:
    return [(at, {"connected": n is not None, "ssid": n, "security": "WPA2" if n else None}) for at, n in given]


def stays(home: Home) -> list[tuple[str, float, float | None]]:
    return [(r["network"], minutes(r["timestamp"]) or 0.0, minutes(r["ended_at"])) for r in home.found()]


def test_an_open_stay_says_nothing_new_at_each_state(connection: psycopg.Connection[Any]) -> None:
    home = home_of(connection)
    home.answer(home.land(states((0, "home"))), now=NOON)
    (row,) = home.found()
    assert (row["is_open"], row["ended_at"], row["duration_seconds"]) == (True, None, None)
    home.answer(home.land(states((50, "home"))), now=NOON + timedelta(minutes=50))
    assert [r["message_id"] for r in home.found()] == [row["message_id"]]
    assert list(home.timers.values()) == [NOON + timedelta(minutes=110)]
    home.fire(NOON + timedelta(minutes=110))
    assert stays(home) == [("home", 0, 50)]
    assert not home.timers
    home.answer(home.land(states((300, "home"))), now=NOON + timedelta(minutes=300))
    assert [r["message_id"] for r in home.found()] == [row["message_id"]], "it had not ended after all"
    home.answer(home.land(states((310, "cafe"))), now=NOON + timedelta(minutes=310))
    assert stays(home) == [("home", 0, 310), ("cafe", 310, None)]
    assert home.found()[0]["observed_share"] == pytest.approx((30 + 30 + 10) / 310)


def test_a_night_is_two_rows(connection: psycopg.Connection[Any]) -> None:
    home = home_of(connection)
    night = states((MIDNIGHT - 60, "home"), (MIDNIGHT + 420, "home"), (MIDNIGHT + 430, None))
    home.answer(home.land(night))
    first, second = home.found()
    assert stays(home) == [("home", MIDNIGHT - 60, MIDNIGHT), ("home", MIDNIGHT, MIDNIGHT + 430)]
    assert (first["is_continued"], second["is_continued"]) == (False, True)
    assert second["source_message_id"] == first["source_message_id"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([(0, None), (5, None)], [], id="none"),
        pytest.param([(0, "a"), (10, "b"), (20, None)], [("a", 0, 10), ("b", 10, 20)], id="switched"),
        pytest.param([(0, "a"), (700, "a"), (705, None)], [("a", 0, 705)], id="nothing told between"),
        pytest.param([(0, "a"), (721, "a"), (730, None)], [("a", 0, 0), ("a", 721, 730)], id="too long between"),
        pytest.param([(0, "a"), (5, "<unknown ssid>"), (10, None)], [("a", 0, 10)], id="no right to know the name"),
        pytest.param([(0, "a"), (0, "b"), (10, None)], [("b", 0, 10)], id="two at once"),
    ],
)
def test_what_a_stay_is(
    connection: psycopg.Connection[Any], given: Sequence[State], expected: list[tuple[str, float, float]]
) -> None:
    home = home_of(connection)
    shifted = [(at - 300, n) for at, n in given]
    home.answer(home.land(states(*shifted)))
    joined: list[list[Any]] = []
    for name, start, end in stays(home):
        if joined and joined[-1][0] == name and joined[-1][2] == start == MIDNIGHT:
            joined[-1][2] = end
        else:
            joined.append([name, start, end])
    assert [(n, s + 300, (e or 0) + 300) for n, s, e in joined] == expected


def test_a_phone_that_shares_its_connection_is_a_hotspot(connection: psycopg.Connection[Any]) -> None:
    home = home_of(connection)
    rows = [
        (0, {"connected": True, "ssid": "Ada's iPhone"}),
        (10, {"connected": True, "ssid": "x", "ip_address": "172.20.10.3"}),
        (20, {"connected": True, "ssid": "Hotel Sole", "bssid": "AA:00:00:00:00:01"}),
        (30, {"connected": True, "bssid": "AA:00:00:00:00:02", "security": "open"}),
        (40, {"connected": True, "ssid": '"quoted"', "security": "WPA3"}),
        (50, {"connected": False, "ssid": "quoted"}),
    ]
    home.answer(home.land(rows))
    assert [(r["network"], r["hint"], r["bssid"]) for r in home.found()] == [
        ("Ada's iPhone", "hotspot", None),
        ("x", "hotspot", None),
        ("Hotel Sole", "public", "aa:00:00:00:00:01"),
        ("aa:00:00:00:00:02", "public", "aa:00:00:00:00:02"),
        ("quoted", None, None),
    ]


def account(given: Sequence[State]) -> list[tuple[str, float, float]]:
    """What the stays are, told plainly: states in order, each lasting to the next; cut at midnights."""
    ordered = sorted(given, key=lambda s: s[0])
    ends = [*(s[0] for s in ordered[1:]), None]
    found: list[list[Any]] = []
    for (at, network), following in zip(ordered, ends, strict=True):
        until = following if following is not None and following - at <= DAY / 2 else at
        cuts = [at, *(m for m in (-MIDNIGHT, MIDNIGHT, MIDNIGHT + DAY) if at < m < until), until]
        if network is None:
            found.append([None, at, until])
            continue
        for start, end in pairwise(cuts):
            last = found[-1] if found else [None, None, None]
            if last[0] == network and last[2] == start and start not in (-MIDNIGHT, MIDNIGHT, MIDNIGHT + DAY):
                last[2] = end
            else:
                found.append([network, start, end])
    return [(n, s, e) for n, s, e in found if n is not None]


some = st.lists(
    st.tuples(
        st.one_of(st.integers(-900, 2_600), st.sampled_from([-720, 720, 719, 721, 2_160])),
        st.sampled_from(["a", "a", "b", None]),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda s: s[0],
)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(some, st.data())
def test_any_batches_in_any_order_give_the_same(
    connection: psycopg.Connection[Any], given: list[State], data: st.DataObject
) -> None:
    empty(connection, WIFI_RAW)
    home = home_of(connection)
    left = data.draw(st.permutations(given))
    while left:
        size = data.draw(st.integers(1, len(left)))
        part, left = left[:size], left[size:]
        home.answer(home.land(states(*part)), now=MUCH_LATER)
    assert stays(home) == account(given)
