"""Topics of what phones' own apps tell: motion, visits, trips, sensors of any kind, health."""

from typing import Final

from loom_contracts.payloads.health import HealthMetric, Workout
from loom_contracts.payloads.phone import LocationReport, MotionActivity, SensorState, Trip, Visit
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import message

MOTION_ACTIVITY_RAW: Final = Topic(
    "device.motion.activity.raw",
    MotionActivity,
    "What a device takes its bearer to be doing.",
    message(activities=["driving", "stationary"], confidence="High"),
    consumers=("landing-device-motion-activity-raw",),
)
LOCATION_REPORT_RAW: Final = Topic(
    "device.location.report.raw",
    LocationReport,
    "What a device said of a position besides the fix, and events of its locating.",
    message(vertical_accuracy=4.0, speed_accuracy=0.5, heading_accuracy=10.0, details={"activity": "other_navigation"}),
    consumers=("landing-device-location-report-raw",),
)
VISIT_RAW: Final = Topic(
    "device.location.visit.raw",
    Visit,
    "Stays at places, as the device found them.",
    message(
        latitude=37.7749,
        longitude=-122.4194,
        accuracy=35.0,
        arrived_at="2026-01-15T07:10:00.000000Z",
        departed_at="2026-01-15T08:25:00.000000Z",
    ),
    consumers=("landing-device-location-visit-raw",),
)
TRIP_RAW: Final = Topic(
    "device.location.trip.raw",
    Trip,
    "Trips that the person recorded.",
    message(
        state="finished",
        mode="bicycle",
        started_at="2026-01-15T08:05:00.000000Z",
        ended_at="2026-01-15T08:30:00.000000Z",
        duration_seconds=1_500.0,
        distance_m=6_240.5,
        steps=12,
        stopped_automatically=False,
        start_latitude=37.7749,
        start_longitude=-122.4194,
        end_latitude=37.8044,
        end_longitude=-122.2712,
    ),
    consumers=("landing-device-location-trip-raw",),
)
SENSOR_STATE_RAW: Final = Topic(
    "device.sensor.state.raw",
    SensorState,
    "States of any sensor that a phone's app knows.",
    message(
        sensor_id="storage",
        name="Storage",
        kind="sensor",
        state="42.5",
        value=42.5,
        unit="% available",
        attributes={"Total": "128 GB"},
    ),
    consumers=("landing-device-sensor-state-raw",),
)
HEALTH_METRIC_RAW: Final = Topic(
    "device.health.metric.raw",
    HealthMetric,
    "Measurements of the body of every kind.",
    message(
        metric="heart_rate",
        unit="count/min",
        value=72.0,
        minimum=64.0,
        average=72.0,
        maximum=88.0,
        interval_seconds=60.0,
        source="Jan's Watch",
    ),
    consumers=("landing-device-health-metric-raw",),
)
WORKOUT_RAW: Final = Topic(
    "device.health.workout.raw",
    Workout,
    "Workouts.",
    message(
        name="Outdoor Run",
        workout_id="6f0c1d1e-8a7b-4f7e-9d6a-0b1c2d3e4f50",
        ended_at="2026-01-15T09:02:00.000000Z",
        duration_seconds=1_892.4,
        location="Outdoor",
        distance_m=5_210.0,
        active_energy_kcal=388.2,
        steps=5_480,
        average_heart_rate_bpm=148.0,
        maximum_heart_rate_bpm=171.0,
        route_points=1_892,
        details={"humidity": {"qty": 61.0, "units": "%"}},
    ),
    consumers=("landing-device-health-workout-raw",),
)

PHONE: Final = (
    MOTION_ACTIVITY_RAW,
    LOCATION_REPORT_RAW,
    VISIT_RAW,
    TRIP_RAW,
    SENSOR_STATE_RAW,
    HEALTH_METRIC_RAW,
    WORKOUT_RAW,
)
"""All of them."""
