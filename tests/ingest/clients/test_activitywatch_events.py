"""Heartbeats merge as ActivityWatch's own code merges them, and what is remembered of them stays bounded."""

import copy
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from aw_core.models import Event as AwEvent
from aw_transform.heartbeats import heartbeat_merge, heartbeat_reduce
from hypothesis import given
from hypothesis import strategies as st

from loom_ingest.clients.activitywatch.events import Event, EventError, Place, State, event_of, identity, merged
from loom_ingest.clients.activitywatch.recent import Recent

START = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
PLACE = Place("laptop", "aw-watcher-window_laptop", 0)

TIMES = st.one_of(
    st.timedeltas(timedelta(days=-13_000), timedelta(days=27_000)).map(lambda age: START + age),
    st.integers(0, 60_000).map(lambda ms: START + timedelta(milliseconds=ms, microseconds=ms % 1000)),
)
SECONDS = st.one_of(st.integers(-2, 20), st.floats(-1, 30, allow_nan=False), st.just(0))
DATA = st.sampled_from(
    [{}, {"app": "a"}, {"app": "b"}, {"app": "a", "n": 1}, {"app": "a", "n": 1.0}, {"n": [1, {"x": None}]}]
)
EVENTS = st.builds(lambda t, s, d: {"timestamp": t.isoformat(), "duration": s, "data": d}, TIMES, SECONDS, DATA)
PULSETIMES = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 5.0, 185.0]), st.floats(-10, 1e6, allow_nan=False))


def as_json(event: Event | None) -> dict[str, Any] | None:
    return None if event is None else State(identity(PLACE, event), event).json() | {"id": None}


def theirs(item: dict[str, Any]) -> AwEvent:
    return AwEvent(**copy.deepcopy(item))


@given(EVENTS)
def test_an_event_is_read_as_aw_core_reads_it(item: dict[str, Any]) -> None:
    assert as_json(event_of(item, START)) == theirs(item).to_json_dict()


@given(EVENTS, EVENTS, PULSETIMES)
def test_two_merge_as_aw_core_merges_them(last: dict[str, Any], heartbeat: dict[str, Any], pulsetime: float) -> None:
    expected = heartbeat_merge(theirs(last), theirs(heartbeat), pulsetime)
    found = merged(event_of(last, START), event_of(heartbeat, START), pulsetime)
    assert as_json(found) == (None if expected is None else expected.to_json_dict())


@given(st.lists(EVENTS, max_size=30), PULSETIMES)
def test_many_reduce_as_aw_core_reduces_them(items: list[dict[str, Any]], pulsetime: float) -> None:
    expected = heartbeat_reduce([theirs(item) for item in items], pulsetime)
    found: list[Event] = []
    for event in (event_of(item, START) for item in items):
        grown = merged(found[-1], event, pulsetime) if found else None
        found[-1:] = [grown] if grown is not None else [*found[-1:], event]
    assert [as_json(event) for event in found] == [event.to_json_dict() for event in expected]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ([], "an event is an object"),
        ({"timestamp": "yesterday"}, "must be ISO 8601"),
        ({"timestamp": 5}, "must be text"),
        ({"timestamp": "2026-01-15T08:30:00Z", "duration": "long"}, "duration"),
        ({"timestamp": "2026-01-15T08:30:00Z", "duration": float("nan")}, "duration"),
        ({"timestamp": "2026-01-15T08:30:00Z", "duration": 1e300}, "duration"),
        ({"timestamp": "9999-12-31T23:59:59Z", "duration": 5}, "does not exist"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "ISO 8601"),
        ({"timestamp": "2026-01-15T08:30:00Z", "data": "x"}, "data"),
    ],
)
def test_what_is_no_event_says_why(item: Any, reason: str) -> None:
    with pytest.raises(EventError, match=reason):
        event_of(item, START)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-15T08:30:00.123456789Z", "2026-01-15T08:30:00.123000+00:00"),
        ("2026-01-15T10:30:00.1239+02:00", "2026-01-15T08:30:00.123000+00:00"),
        ("2026-01-15T08:30:00", "2026-01-15T08:30:00+00:00"),
        ("2026-01-15 08:30", "2026-01-15T08:30:00+00:00"),
        ("2026-01-15T10:30:00 02:00", "2026-01-15T08:30:00+00:00"),
        ("20260115T083000Z", "2026-01-15T08:30:00+00:00"),
        ("2026-01-15T08:30:60Z", "2026-01-15T08:30:59+00:00"),
    ],
)
def test_times_as_clients_write_them(text: str, expected: str) -> None:
    assert event_of({"timestamp": text}, START).timestamp.isoformat() == expected


def test_the_identity_of_an_event_is_that_of_its_beginning() -> None:
    event = event_of({"timestamp": START.isoformat(), "data": {"app": "a"}}, START)
    longer = event_of({"timestamp": START.isoformat(), "duration": 5, "data": {"app": "a"}}, START)
    assert identity(PLACE, event) == identity(PLACE, longer)
    others = [
        identity(PLACE, event, 1),
        identity(PLACE._replace(generation=1), event),
        identity(PLACE._replace(device_id="other"), event),
        identity(PLACE, event_of({"timestamp": START.isoformat(), "data": {"app": "b"}}, START)),
    ]
    assert len({identity(PLACE, event), *others}) == 5


def test_what_is_remembered_is_bounded() -> None:
    recent = Recent(most_states=10, most_bytes=100_000)
    key = PLACE[:2]
    for second in range(100):
        event = Event(START + timedelta(seconds=second), timedelta(0), {"n": second})
        recent.add(key, State(identity(PLACE, event), event))
    assert [s.event.data["n"] for s in recent.of(key)] == list(range(99, 89, -1))
    large = Event(START, timedelta(0), {"text": "x" * 49_000})
    recent.add(key, State(identity(PLACE, large), large))
    assert [s.event.data for s in recent.of(key)] == [large.data]
    recent.clear(key)
    assert recent.of(key) == []


def test_a_state_of_lower_rank_changes_nothing() -> None:
    recent, key = Recent(), PLACE[:2]
    event = Event(START, timedelta(seconds=5), {})
    state = State(identity(PLACE, event), event)
    recent.add(key, state)
    recent.add(key, state.grown(Event(START, timedelta(seconds=3), {})))
    assert recent.of(key) == [state]
    recent.add(key, state.changed(1))
    recent.add(key, state.grown(Event(START, timedelta(seconds=9), {})))
    assert [s.deleted for s in recent.of(key)] == [True]


@pytest.mark.parametrize("seed", range(4))
async def test_the_service_answers_heartbeats_as_aw_server_does(client: httpx.AsyncClient, seed: int) -> None:
    """The rules of aw-server's `ServerAPI.heartbeat` over aw-core's merge: what is merged goes on, the rest begins."""
    random, moment, last = Random(seed), START, None
    path = f"/api/0/buckets/bucket-{seed}"
    made = await client.post(path, json={"client": "c", "type": "t", "hostname": "laptop"})
    assert made.status_code == 200
    for _ in range(60):
        moment += timedelta(milliseconds=random.choice([-2000, 0, 1, 999, 1000, 3000, 10_000, 300_000]))
        item = {
            "timestamp": moment.isoformat(),
            "duration": random.choice([0, 0, 1.5, 10, 200]),
            "data": random.choice([{"app": "a"}, {"app": "b"}, {}]),
        }
        pulsetime = random.choice([0, 1, 5, 60, 185.0])
        merge = None if last is None else heartbeat_merge(last, theirs(item), pulsetime)
        last = theirs(item) if merge is None else merge
        answer = await client.post(f"{path}/heartbeat?pulsetime={pulsetime}", json=item)
        assert answer.json() | {"id": None} == last.to_json_dict()
