"""Fixes through the engine: visits and trips are the same in any batches and order, and late fixes correct them."""

import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_contracts.topics.location import TRIP_DETECTED, VISIT_DETECTED
from loom_models.cleaning import clean
from loom_models.landing import landing_stage
from loom_models.stage import Output
from loom_models.stages.gps_cleaned import GPS_CLEANER
from loom_models.stages.visit_detected import VISIT_DETECTOR
from loom_platform import georegions
from loom_platform.stream.api import recompute
from tests.models.days import CAFE, HOME, WORK, Spot, fixes, landed, whole
from tests.stream.bench import NOW, Bench
from tests.stream.conftest import empty

pytestmark = pytest.mark.integration
LANDING = landing_stage(GPS_RAW)
H = 3_600.0
DAY: tuple[Spot, ...] = (
    (0, HOME),
    (2 * H, HOME),
    (2 * H + 200, WORK),
    (4 * H, WORK),
    (4 * H + 1500, CAFE),
    (5.5 * H, CAFE),
    (5.5 * H + 1500, WORK),
    (8 * H, WORK),
    (8 * H + 200, HOME),
    (10 * H, HOME),
)
"""At home, by car to work, on foot to a cafe and back, and home again."""
_VISITS = "SELECT {columns} FROM location_visit_detected WHERE superseded_at IS NULL ORDER BY device_id, timestamp"
_TRIPS = "SELECT {columns} FROM location_trip_detected WHERE superseded_at IS NULL ORDER BY device_id, timestamp"
_OF_VISITS = ("device_id", "timestamp", "ended_at", "is_open", "latitude", "longitude", "radius_m")
_OF_TRIPS = ("device_id", "timestamp", "ended_at", "is_open", "distance_m", "mode", "path")

Rows = tuple[list[Any], list[Any]]


def standing(bench: Bench) -> Rows:
    """Visits, with the number of their place in order of time, and trips with those of both ends."""
    visits = bench.rows(_VISITS.format(columns=", ".join((*_OF_VISITS, "place_id::text"))))
    trips = bench.rows(
        _TRIPS.format(columns=", ".join((*_OF_TRIPS, "origin_place_id::text", "destination_place_id::text")))
    )
    return numbered(visits, trips)


def told(output: Output) -> Rows:
    """The same of a transform's answer."""
    visits = output.rows[VISIT_DETECTED].sort("device_id", "timestamp").select(*_OF_VISITS, "place_id").rows()
    ends = ("origin_place_id", "destination_place_id")
    trips = output.rows[TRIP_DETECTED].sort("device_id", "timestamp").select(*_OF_TRIPS, *ends).rows()
    return numbered(visits, trips)


def numbered(visits: Sequence[Any], trips: Sequence[Any]) -> Rows:
    """Places by when they were first visited: which id a place has may depend on what came first."""
    names: dict[str | None, int | None] = {None: None}
    for row in visits:
        names.setdefault(row[-1], len(names))
    return [(*r[:-1], names[r[-1]]) for r in visits], [(*r[:-2], names[r[-2]], names[r[-1]]) for r in trips]


def now(records: Sequence[GpsFix]) -> Output:
    """What is to be said of `records`, which have all just come."""
    moment = datetime.now(UTC)
    return whole(records, moment, moment)


def send(bench: Bench, records: Sequence[GpsFix]) -> None:
    bench.send(GPS_RAW, *records)
    bench.drain(LANDING, VISIT_DETECTOR)


def again(bench: Bench, *, anew: bool = True) -> None:
    first, last = NOW.date(), (NOW + timedelta(hours=11)).date()
    recompute(VISIT_DETECTOR, first, last, bench.config, on_report=lambda _: None, stop=threading.Event(), anew=anew)


def test_a_day_in_order(bench: Bench) -> None:
    bench.prepare(LANDING, VISIT_DETECTOR)
    records = fixes(DAY, NOW)
    for at in range(0, len(records), 250):
        send(bench, records[at : at + 250])
    visits, trips = standing(bench)
    assert [row[-1] for row in visits] == [1, 2, 3, 2, 1]
    assert [(row[5], *row[-2:]) for row in trips] == [
        ("in_vehicle", 1, 2),
        ("walking", 2, 3),
        ("walking", 3, 2),
        ("in_vehicle", 2, 1),
    ]
    assert (visits, trips) == told(now(records))
    again(bench)
    assert standing(bench) == (visits, trips)


def test_late_fixes_split_a_visit_and_join_two(bench: Bench) -> None:
    bench.prepare(LANDING, VISIT_DETECTOR)
    records = fixes(DAY, NOW)
    walk = [r for r in records if 4 * H <= (r.timestamp - NOW).total_seconds() <= 5.5 * H + 1500]
    send(bench, [r for r in records if r not in walk])
    # Without the fixes of the walk to the cafe they seem to have been at work for six hours.
    assert [row[-1] for row in standing(bench)[0]] == [1, 2, 1]
    send(bench, walk)
    assert standing(bench) == told(now(records))
    assert len(standing(bench)[0]) == 5
    superseded = "SELECT count(*) FROM location_visit_detected WHERE superseded_at IS NOT NULL"
    assert bench.rows(superseded)[0][0] > 0


def test_what_goes_on_is_one_row_until_it_ends(bench: Bench) -> None:
    """A visit that goes on is sent once, however many fixes it has; and silence ends it at its last fix."""
    bench.prepare(LANDING, VISIT_DETECTOR)
    began = datetime.now(UTC) - timedelta(hours=2)
    records = fixes(((0, HOME), (2 * H, HOME)), began)
    for at in range(0, len(records), 30):
        send(bench, records[at : at + 30])
    assert bench.rows("SELECT is_open, superseded_at FROM location_visit_detected") == [(True, None)]
    assert len(bench.topic_values(VISIT_DETECTED)) == 1
    due = bench.rows("SELECT key, due_at FROM stream_timers")
    assert due == [("silence", records[-1].timestamp + timedelta(hours=12))]


def test_a_saved_place_corrects_yesterday(bench: Bench) -> None:
    bench.prepare(LANDING, VISIT_DETECTOR)
    send(bench, fixes(DAY, NOW))
    names = _VISITS.format(columns="region_name, place_id = region_id")
    assert bench.rows(names) == [(None, None)] * 5
    with psycopg.connect(bench.owner_url, autocommit=True) as connection:
        georegions.add(connection, georegions.circle("Office", "work", *WORK, 150.0))
    again(bench, anew=False)
    office = ("Office", True)
    assert bench.rows(names) == [(None, None), office, (None, None), office, (None, None)]
    ends = _TRIPS.format(columns="origin_name, destination_name")
    assert bench.rows(ends) == [(None, "Office"), ("Office", None), (None, "Office"), ("Office", None)]


def test_devices_of_one_person_share_places(bench: Bench) -> None:
    bench.prepare(LANDING, VISIT_DETECTOR, partitions=2)
    devices = [f"phone-{n:03}" for n in range(10)]
    for device in devices:
        bench.send(GPS_RAW, *fixes(((0, HOME), (H, HOME)), NOW, device=device, every=120))
    bench.drain(LANDING, VISIT_DETECTOR)
    assert bench.rows("SELECT count(*), count(DISTINCT place_id) FROM location_visit_detected") == [(10, 1)]


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.integers(0, 2**16), st.sampled_from((60.0, 300.0)), st.integers(1, 4))
def test_any_order_and_any_batches_give_the_rows_of_one_batch(
    bench: Bench, seed: int, every: float, batches: int
) -> None:
    bench = replace(bench, config=replace(bench.config, topic_prefix=f"{bench.config.topic_prefix}.{uuid4().hex[:6]}"))
    empty(bench.owner_url)
    bench.prepare(LANDING, GPS_CLEANER, VISIT_DETECTOR)
    chance = random.Random(seed)
    records = with_faults(fixes(DAY, NOW, every=every, noise_m=chance.choice((2.0, 10.0)), seed=seed), chance)
    order = list(records)
    late = chance.uniform(0, 1)
    order.sort(key=lambda r: r.timestamp + timedelta(hours=6) * (chance.random() < late) * chance.random())
    cuts = [0, *sorted(chance.choices(range(len(order)), k=batches - 1)), len(order)]
    for first, last in pairwise(cuts):
        bench.send(GPS_RAW, *order[first:last])
        bench.drain(LANDING, GPS_CLEANER, VISIT_DETECTOR)
    expected = told(now(records))
    assert standing(bench) == expected
    verdicts = "SELECT source_message_id::text, reason FROM location_gps_cleaned WHERE superseded_at IS NULL"
    reasons = clean(landed(records), by=("part",)).select("message_id", "reason").rows()
    assert sorted(bench.rows(verdicts), key=str) == sorted(reasons, key=str)
    again(bench)
    assert standing(bench) == expected


def with_faults(records: list[GpsFix], chance: random.Random) -> list[GpsFix]:
    """`records` with teleports, nowhere, a silence, and the same again."""
    out = list(records)
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(out))
        out[at] = out[at].model_copy(update=chance.choice(({"latitude": 10.0}, {"latitude": 0.0, "longitude": 0.0})))
    gap = chance.randrange(len(out))
    del out[gap : gap + chance.choice((0, 0, 5, 60))]
    twins = [r.model_copy(update={"message_id": uuid4()}) for r in chance.sample(out, 3)]
    return [*out, *twins]
