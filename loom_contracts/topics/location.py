"""Topics of places."""

from typing import Final

from loom_contracts.payloads.location import GeocodedAddress, GeoregionPresence, IdentifiedBusiness
from loom_contracts.payloads.visits import CleanedFix, Trip, Visit
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived

GEOREGION_DETECTED: Final = Topic(
    "location.georegion.detected",
    GeoregionPresence,
    "Presence in saved regions: home, work, and those of the person's own.",
    derived(
        "georegion-detector",
        latitude=37.7749,
        longitude=-122.4194,
        accuracy=5.0,
        event="enter",
        region_id="3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a01",
        region_name="Home",
        region_kind="home",
        region_revision=1,
        distance_m=12.5,
        previous_message_id="7a2e5b63-1f1e-4b8c-8e1f-3e5d4c9c7f21",
        previous_timestamp="2026-01-15T08:29:30.000000Z",
        seconds_since_previous=30.0,
    ),
    producers=("georegion-detector",),
    scope=("timestamp", "source_message_id"),
)
ADDRESS_GEOCODED: Final = Topic(
    "location.address.geocoded",
    GeocodedAddress,
    "Addresses of positions, by the service that the person chose or from data on board.",
    derived(
        "geocoder",
        latitude=37.7749,
        longitude=-122.4194,
        state="found",
        cell="9q8yyk8y",
        display_name="1, Main Street, San Francisco, California, 94103, United States",
        house_number="1",
        road="Main Street",
        city="San Francisco",
        state_name="California",
        postcode="94103",
        country="United States",
        country_code="us",
        provider="nominatim",
        distance_m=8.0,
    ),
    producers=("geocoder",),
    scope=("timestamp", "source_message_id"),
)
BUSINESS_IDENTIFIED: Final = Topic(
    "location.business.identified",
    IdentifiedBusiness,
    "Businesses and other named places that a device stays at.",
    derived(
        "business-matcher",
        latitude=37.7748,
        longitude=-122.4195,
        state="identified",
        cell="9q8yyk8y",
        name="Corner Cafe",
        category="cafe",
        address="1 Main Street",
        distance_m=14.0,
        confidence=0.7,
        provider="overpass",
        visit_count=3,
    ),
    producers=("business-matcher",),
    scope=("timestamp", "source_message_id"),
)
GPS_CLEANED: Final = Topic(
    "location.gps.cleaned",
    CleanedFix,
    "Which positions can be believed, and why the others cannot.",
    derived("gps-cleaner", latitude=0.0, longitude=0.0, accepted=False, reason="null_island"),
    producers=("gps-cleaner",),
    scope=("timestamp", "source_message_id"),
)
VISIT_DETECTED: Final = Topic(
    "location.visit.detected",
    Visit,
    "Stays at places, saved or not.",
    derived(
        "visit-detector",
        ended_at="2026-01-15T17:05:00.000000Z",
        is_open=False,
        duration_seconds=30_900.0,
        latitude=37.7749,
        longitude=-122.4194,
        radius_m=12.5,
        place_id="3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a01",
        region_id="3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a01",
        region_name="Office",
        region_kind="work",
    ),
    producers=("visit-detector",),
    scope=("timestamp", "device_id"),
)
TRIP_DETECTED: Final = Topic(
    "location.trip.detected",
    Trip,
    "Ways between visits: how, how far, how long.",
    derived(
        "visit-detector",
        ended_at="2026-01-15T08:52:00.000000Z",
        is_open=False,
        duration_seconds=1_320.0,
        distance_m=6_410.0,
        mode="cycling",
        confidence=0.94,
        origin_place_id="7a2e5b63-1f1e-4b8c-8e1f-3e5d4c9c7f21",
        origin_name="Home",
        destination_place_id="3d0ba1c4-9a4e-4d64-8d57-6a3d6e7e2a01",
        destination_name="Office",
        path="_p~iF~ps|U_ulLnnqC_mqNvxq`@",
    ),
    producers=("visit-detector",),
    scope=("timestamp", "device_id"),
)
