"""Topics of the regions that a person keeps on their phone."""

from typing import Final

from loom_contracts.payloads.region import RegionTransition, Waypoint
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import message

REGION_TRANSITION_RAW: Final = Topic(
    "device.region.transition.raw",
    RegionTransition,
    "A device came into a region or left it.",
    message(
        event="enter",
        region_name="Home",
        region_id="6da9cf",
        region_created_at="2025-11-02T10:12:33.000000Z",
        trigger="c",
        latitude=37.7749,
        longitude=-122.4194,
        accuracy=12.0,
        details={"tid": "JJ"},
    ),
    consumers=("landing-device-region-transition-raw",),
)
REGION_WAYPOINT_RAW: Final = Topic(
    "device.region.waypoint.raw",
    Waypoint,
    "Regions as they are on a device.",
    message(
        name="Home",
        region_id="6da9cf",
        latitude=37.7749,
        longitude=-122.4194,
        radius_m=150.0,
        beacon_uuid="cca7dc7a-5d0b-4b3a-9d5b-3f1c8e6f2a10",
        beacon_major=1,
        beacon_minor=7,
    ),
    consumers=("landing-device-region-waypoint-raw",),
)
