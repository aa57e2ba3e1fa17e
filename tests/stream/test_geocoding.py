"""Fixes through the engine: pending until the service has answered, then answered, and nothing lost in between."""

from datetime import timedelta
from uuid import UUID

import pytest

from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topics.device import GPS_RAW
from loom_models.landing import landing_stage
from loom_models.stages.business import BUSINESS_MATCHER
from loom_models.stages.geocoder import GEOCODER
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


def test_offline_is_the_default(bench: Bench) -> None:
    bench.prepare(*STAGES)
    bench.send(GPS_RAW, fix(1, 0), fix(2, 60), fix(3, 120), fix(4, 130, 0.0, 0.0), fix(5, 400, 10.0, -40.0))
    bench.drain(*STAGES)
    berlin = ("found", "Berlin", "de", "offline", 300.0)
    assert bench.rows(_ADDRESSES) == [
        *(berlin,) * 3,
        ("skipped", None, None, None, None),
        ("none", None, None, "offline", None),
    ]
    states = [row[0] for row in bench.rows(_BUSINESSES)]
    assert states == ["moving", "none", "none", "skipped", "moving"]
    assert bench.rows("SELECT * FROM lookups") == []
