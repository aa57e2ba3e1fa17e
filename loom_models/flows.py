"""Every stage and flow that exists. To add a stage: one module in `stages`, one line here."""

from dataclasses import dataclass
from typing import Final, Literal

from loom_contracts.topics.activity import ACTIVITYWATCH_RAW
from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    AUDIO_RAW,
    GENERIC_SENSORS,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
    STEPS_RAW,
)
from loom_contracts.topics.device_system import (
    APPS_ANDROID_RAW,
    APPS_ANDROID_USAGE_RAW,
    APPS_MACOS_RAW,
    BLUETOOTH_RAW,
    CAMERA_RAW,
    METADATA_RAW,
    SCREEN_RAW,
    UNRECOGNIZED_RAW,
    WIFI_RAW,
)
from loom_contracts.topics.digital import CLIPBOARD_RAW, WEB_ANALYTICS_RAW
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, NOTIFICATIONS_RAW, SYSTEM_EVENTS_RAW
from loom_contracts.topics.phone import (
    HEALTH_METRIC_RAW,
    LOCATION_REPORT_RAW,
    MOTION_ACTIVITY_RAW,
    SENSOR_STATE_RAW,
    TRIP_RAW,
    VISIT_RAW,
    WORKOUT_RAW,
)
from loom_contracts.topics.region import REGION_TRANSITION_RAW, REGION_WAYPOINT_RAW
from loom_contracts.topics.task import URL_INGEST
from loom_models.landing import landing_stage
from loom_models.stage import Stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_models.stages.activity_classifier import ACTIVITY_CLASSIFIER
from loom_models.stages.app_enriched import APP_ENRICHMENT
from loom_models.stages.app_sessions import APP_SESSIONS
from loom_models.stages.app_usage import APP_USAGE_RECONCILER
from loom_models.stages.bluetooth_enriched import BLUETOOTH_ENRICHER
from loom_models.stages.bluetooth_presence import BLUETOOTH_PRESENCE
from loom_models.stages.business import BUSINESS_MATCHER
from loom_models.stages.charging_detected import CHARGING_SESSIONS
from loom_models.stages.geocoder import GEOCODER
from loom_models.stages.georegion import GEOREGION_DETECTOR
from loom_models.stages.gps_cleaned import GPS_CLEANER
from loom_models.stages.motion_detector import MOTION_DETECTOR
from loom_models.stages.network_stays import NETWORK_STAYS
from loom_models.stages.power_enriched import POWER_ENRICHER
from loom_models.stages.power_patterns import CHARGING_PATTERNS
from loom_models.stages.vad_filtered import SILERO_VAD
from loom_models.stages.visit_detected import VISIT_DETECTOR
from loom_models.stages.wifi_enriched import WIFI_ENRICHER

Priority = Literal["critical", "high", "medium", "low"]


@dataclass(frozen=True)
class Flow:
    """Stages that make one thing of a source, in order; `events_per_second` is the rate to expect of its source."""

    name: str
    priority: Priority
    description: str
    events_per_second: float
    stages: tuple[Stage, ...]


FLOWS: Final[tuple[Flow, ...]] = (
    Flow(
        "audio-processing",
        "critical",
        "Microphone audio, and the speech in it.",
        10.0,
        (landing_stage(AUDIO_RAW), SILERO_VAD),
    ),
    Flow(
        "location-enrichment",
        "high",
        "Positions: which can be believed, their saved places, addresses and businesses, and visits and trips.",
        0.1,
        (landing_stage(GPS_RAW), GPS_CLEANER, GEOREGION_DETECTOR, GEOCODER, BUSINESS_MATCHER, VISIT_DETECTOR),
    ),
    Flow(
        "motion-classification",
        "medium",
        "Motion: when it begins and ends, and what the person does.",
        50.0,
        (landing_stage(ACCELEROMETER_RAW), ACCELEROMETER_WINDOW, MOTION_DETECTOR, ACTIVITY_CLASSIFIER),
    ),
    Flow(
        "power-state",
        "medium",
        "Battery level, charging sessions, and the habits of charging.",
        0.1,
        (landing_stage(POWER_RAW), POWER_ENRICHER, CHARGING_SESSIONS, CHARGING_PATTERNS),
    ),
    Flow(
        "health-signals",
        "medium",
        "Pulse, steps, other measurements of the body, workouts.",
        1.0,
        tuple(landing_stage(topic) for topic in (HEARTRATE_RAW, STEPS_RAW, HEALTH_METRIC_RAW, WORKOUT_RAW)),
    ),
    Flow(
        "phone-context",
        "low",
        "What phones tell beside their positions: motion, visits, trips, regions, states of sensors.",
        1.0,
        tuple(
            landing_stage(topic)
            for topic in (
                MOTION_ACTIVITY_RAW,
                LOCATION_REPORT_RAW,
                VISIT_RAW,
                TRIP_RAW,
                REGION_TRANSITION_RAW,
                REGION_WAYPOINT_RAW,
                SENSOR_STATE_RAW,
            )
        ),
    ),
    Flow(
        "environment-sensing",
        "low",
        "Readings of all other sensors.",
        5.0,
        tuple(landing_stage(topic) for topic in GENERIC_SENSORS),
    ),
    Flow(
        "vision",
        "high",
        "Photos, screenshots and frames of screen recordings.",
        0.2,
        (landing_stage(CAMERA_RAW), landing_stage(SCREEN_RAW)),
    ),
    Flow(
        "app-lifecycle",
        "high",
        "Which application is in front, from when to when, and what the system tells of screen and lock.",
        2.0,
        (
            landing_stage(APP_LIFECYCLE_RAW),
            landing_stage(SYSTEM_EVENTS_RAW),
            landing_stage(APPS_ANDROID_USAGE_RAW),
            APP_ENRICHMENT,
            APP_SESSIONS,
            APP_USAGE_RECONCILER,
        ),
    ),
    Flow(
        "app-activity",
        "medium",
        "What runs on a device, and its notifications.",
        1.0,
        tuple(landing_stage(topic) for topic in (NOTIFICATIONS_RAW, APPS_MACOS_RAW, APPS_ANDROID_RAW)),
    ),
    Flow(
        "device-state",
        "low",
        "What a device is, and what Loom could not read.",
        0.1,
        tuple(landing_stage(topic) for topic in (METADATA_RAW, UNRECOGNIZED_RAW)),
    ),
    Flow(
        "network-events",
        "low",
        "Wi-Fi and Bluetooth: networks as places, familiar devices.",
        0.01,
        (
            landing_stage(WIFI_RAW),
            WIFI_ENRICHER,
            NETWORK_STAYS,
            landing_stage(BLUETOOTH_RAW),
            BLUETOOTH_ENRICHER,
            BLUETOOTH_PRESENCE,
        ),
    ),
    Flow(
        "digital-life",
        "low",
        "What the person copies, the pages they visit, and addresses to be processed.",
        0.1,
        tuple(landing_stage(topic) for topic in (CLIPBOARD_RAW, WEB_ANALYTICS_RAW, ACTIVITYWATCH_RAW, URL_INGEST)),
    ),
)

STAGES: Final[tuple[Stage, ...]] = tuple(stage for flow in FLOWS for stage in flow.stages)
"""Every stage, in the order of the flows."""

LANDING_STAGES: Final[tuple[Stage, ...]] = tuple(stage for stage in STAGES if stage.landing)
"""The landing stages: one for each raw topic that has a table."""
