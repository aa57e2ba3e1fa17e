"""Fixes through the engine: pending until the service has answered, then answered, and nothing lost in between."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_models.landing import landing_stage
from loom_models.services.choice import Choice
from loom_models.stages.business import BUSINESS_MATCHER
from loom_models.stages.geocoder import GEOCODER
from loom_platform import own_places
from loom_platform.lookups import queue, work
from loom_platform.stream.api import recompute
from tests.lookups.fake import PORTAL, Reply, Seen, node, nominatim, ok, overpass, serve
from tests.stream.bench import NOW, Bench

pytestmark = pytest.mark.integration
STAGES = (landing_stage(GPS_RAW), GEOCODER, BUSINESS_MATCHER)
_ADDRESSES = """
SELECT state, city, country_code, provider, distance_m FROM location_address_geocoded
WHERE superseded_at IS NULL ORDER BY timestamp
"""
_BUSINESSES = """
SELECT state, name, provider, visit_count FROM location_business_identified
WHERE superseded_at IS NULL ORDER BY timestamp
"""


def fix(number: int, seconds: float, latitude: float = 52.5219, longitude: float = 13.4132) -> GpsFix:
    return GpsFix(
        message_id=UUID(int=number),
        device_id="phone-001",
        timestamp=NOW + timedelta(seconds=seconds),
        latitude=latitude,
        longitude=longitude,
        accuracy=8.0,
    )


def test_offline_is_the_default_and_a_place_of_ones_own_corrects_yesterday(bench: Bench) -> None:
    bench.prepare(*STAGES)
    bench.send(GPS_RAW, fix(1, 0), fix(2, 60), fix(3, 120), fix(4, 130, 0.0, 0.0), fix(5, 400, 10.0, -40.0))
    bench.drain(*STAGES)
    town = ("found", "Berlin", "de", "offline", 300.0)
    assert bench.rows(_ADDRESSES) == [
        *(town,) * 3,
        ("skipped", None, None, None, None),
        ("none", None, None, "offline", None),
    ]
    states = [row[0] for row in bench.rows(_BUSINESSES)]
    assert states == ["moving", "none", "none", "skipped", "moving"]
    assert bench.rows("SELECT * FROM lookups") == []

    with psycopg.connect(bench.owner_url, autocommit=True) as connection:
        own_places.add(connection, "Ada's", 52.5220, 13.4133, category="bakery")
    day = NOW.date()
    recompute(BUSINESS_MATCHER, day, day, bench.config, on_report=lambda _: None, stop=threading.Event())
    assert [row[:3] for row in bench.rows(_BUSINESSES)][:3] == [
        ("moving", None, None),
        *[("identified", "Ada's", "own")] * 2,
    ]


def test_an_outage_leaves_rows_pending_and_the_answer_comes_by_itself(bench: Bench) -> None:
    bench.prepare(*STAGES)
    replies = [PORTAL]
    with serve(lambda _: replies[0]) as fake, opened(bench) as connection:
        choices = chosen_at(fake.url)
        queue.choose(connection, choices)
        bench.send(GPS_RAW, fix(1, 0), fix(2, 60), fix(3, 120))
        bench.drain(*STAGES)
        assert [row[0] for row in bench.rows(_ADDRESSES)] == ["pending"] * 3
        assert [row[0] for row in bench.rows(_BUSINESSES)] == ["moving", "pending", "pending"]

        assert work.is_needed(connection, choices)
        asked = work.ask(connection, choices, stop=threading.Event(), idle=timedelta(0))
        assert set(asked.away) == {"nominatim", "overpass"}
        assert queue.state_of(connection, "address").paused
        assert not work.is_needed(connection, choices)
        bench.run(*STAGES)
        assert [row[0] for row in bench.rows(_ADDRESSES)] == ["pending"] * 3

        bench.execute("UPDATE lookup_services SET paused_until = NULL")
        fake.answer = berlin
        requests = len(fake.seen)
        asked = work.ask(connection, choices, stop=threading.Event(), idle=timedelta(0))
        assert (asked.cells["found"], asked.away) == (2, {})
        # three fixes of one house: one request for it, and one for its block
        assert len(fake.seen) - requests == asked.requests == 2
        bench.run(*STAGES)
        assert bench.rows(_ADDRESSES) == [("found", "Berlin", "de", "nominatim", 0.0)] * 3
        assert bench.rows(_BUSINESSES)[1:] == [("identified", "Café", "overpass", 0)] * 2
        assert not work.is_needed(connection, choices)

        # what is known is not asked again
        bench.send(GPS_RAW, fix(4, 180))
        bench.drain(*STAGES)
        assert bench.rows(_ADDRESSES)[3] == ("found", "Berlin", "de", "nominatim", 0.0)
        assert bench.rows("SELECT count(*) FROM location_address_geocoded WHERE superseded_at IS NOT NULL") == [(3,)]


@contextmanager
def opened(bench: Bench) -> Iterator[psycopg.Connection[Any]]:
    """As the stream role, which is whom the asking works as."""
    with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
        yield connection


def chosen_at(url: str) -> tuple[Choice, Choice]:
    return Choice("address", "nominatim", url), Choice("business", "overpass", url)


def berlin(seen: Seen) -> Reply:
    if seen.path == "/reverse":
        return ok(nominatim(52.5219, 13.4132))
    return ok(overpass(node(1, 52.5219, 13.4132, name="Café", amenity="cafe")))
