"""Topics of what devices sense: sound, sensors, the body, the battery; and of windows and states made of them."""

from datetime import timedelta
from typing import Any, Final

from loom_contracts.payloads.audio import AudioChunk
from loom_contracts.payloads.health import HeartRate, StepCount
from loom_contracts.payloads.power import ChargingPattern, ChargingSession, EnrichedPower, PowerState
from loom_contracts.payloads.sensor import AccelerometerSample, AccelerometerWindow, GenericReading, GpsFix
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import WAV, derived, message

AUDIO_RAW: Final = Topic(
    "device.audio.raw",
    AudioChunk,
    "Microphone audio, in chunks.",
    message(
        chunk_data=WAV,
        sample_rate=16_000,
        channels=1,
        format="wav",
        duration_ms=1,
        file_id="8c0f1a52-6f0e-4a7b-9d0e-2d4c3b8b6f10",
    ),
    retention=timedelta(days=7),
    kept=timedelta(days=7),
    compression="lz4",
    consumers=("landing-device-audio-raw", "silero-vad"),
)
GPS_RAW: Final = Topic(
    "device.sensor.gps.raw",
    GpsFix,
    "Positions with their accuracy.",
    message(latitude=37.7749, longitude=-122.4194, altitude=50.0, accuracy=5.0, heading=180.0, speed=10.5),
    consumers=(
        "landing-device-sensor-gps-raw",
        "gps-cleaner",
        "georegion-detector",
        "geocoder",
        "business-matcher",
        "visit-detector",
    ),
)
ACCELEROMETER_RAW: Final = Topic(
    "device.sensor.accelerometer.raw",
    AccelerometerSample,
    "Motion on three axes, gravity included.",
    message(x=0.5, y=-0.3, z=9.8),
    kept=timedelta(days=30),
    compression="lz4",
    consumers=("landing-device-sensor-accelerometer-raw", "accelerometer-window"),
)
HEARTRATE_RAW: Final = Topic(
    "device.health.heartrate.raw",
    HeartRate,
    "Pulse measurements.",
    message(bpm=72, confidence=0.95),
    retention=timedelta(days=60),
    consumers=("landing-device-health-heartrate-raw",),
)
POWER_RAW: Final = Topic(
    "device.state.power.raw",
    PowerState,
    "Battery level and charging.",
    message(battery_level=85.5, is_charging=True, power_source="USB"),
    consumers=("landing-device-state-power-raw", "power-enricher", "charging-sessions"),
)


def _generic(sensor_type: str, description: str, unit: str, **value: Any) -> Topic:
    return Topic(
        f"device.sensor.{sensor_type}.raw",
        GenericReading,
        description,
        message(sensor_type=sensor_type, value=value, unit=unit, accuracy=0.1),
        consumers=(f"landing-device-sensor-{sensor_type}-raw",),
    )


TEMPERATURE_RAW: Final = _generic("temperature", "Temperature readings.", "celsius", temperature=23.5)
HUMIDITY_RAW: Final = _generic("humidity", "Relative humidity.", "percent", humidity=45.0)
PRESSURE_RAW: Final = _generic("pressure", "Pressure readings.", "hPa", pressure=1013.25)
LIGHT_RAW: Final = _generic("light", "Intensity of light.", "lux", illuminance=320.0)
PROXIMITY_RAW: Final = _generic("proximity", "Whether something is near the device.", "cm", distance=5.0, near=True)
GYROSCOPE_RAW: Final = _generic("gyroscope", "Rates of rotation.", "rad/s", x=0.01, y=-0.02, z=0.0)
MAGNETOMETER_RAW: Final = _generic("magnetometer", "Magnetic field.", "uT", x=22.1, y=-5.4, z=-43.0)
BAROMETER_RAW: Final = _generic("barometer", "Atmospheric pressure.", "hPa", pressure=1013.25)

GENERIC_SENSORS: Final = (
    TEMPERATURE_RAW,
    HUMIDITY_RAW,
    PRESSURE_RAW,
    LIGHT_RAW,
    PROXIMITY_RAW,
    GYROSCOPE_RAW,
    MAGNETOMETER_RAW,
    BAROMETER_RAW,
)
"""Topics of `/sensor/generic` and `/sensor/batch`; the sensor type is the third part of the name."""

ACCELEROMETER_WINDOWED: Final = Topic(
    "device.sensor.accelerometer.windowed",
    AccelerometerWindow,
    "Features of accelerometer samples over windows of event time.",
    derived(
        "accelerometer-window",
        window_end="2026-01-15T08:30:05.000000Z",
        window_ms=5_000,
        sample_count=250,
        rate_hz=50.0,
        x_mean_mps2=0.1,
        y_mean_mps2=-0.2,
        z_mean_mps2=9.8,
        x_std_mps2=0.5,
        y_std_mps2=0.4,
        z_std_mps2=1.1,
        x_min_mps2=-1.4,
        y_min_mps2=-1.2,
        z_min_mps2=6.9,
        x_max_mps2=1.6,
        y_max_mps2=1.0,
        z_max_mps2=13.2,
        magnitude_mean_mps2=9.9,
        magnitude_std_mps2=1.1,
        magnitude_min_mps2=7.0,
        magnitude_max_mps2=13.4,
        dynamic_rms_mps2=1.3,
        jerk_rms_mps3=21.0,
        crossing_rate_hz=3.8,
        rhythm_hz=1.8,
        rhythm_share=0.55,
    ),
    producers=("accelerometer-window",),
    consumers=("motion-detector", "activity-classifier"),
    scope=("timestamp", "device_id"),
)

STEPS_RAW: Final = Topic(
    "device.health.steps.raw",
    StepCount,
    "Steps counted.",
    message(steps=412, interval_seconds=300.0, distance_m=310.5, floors_climbed=1),
    consumers=("landing-device-health-steps-raw",),
)
POWER_ENRICHED: Final = Topic(
    "device.state.power.enriched",
    EnrichedPower,
    "The battery's state with its rate of change, and the time to full or empty.",
    derived(
        "power-enricher",
        battery_level=85.5,
        is_charging=True,
        is_plugged=True,
        power_source="usb",
        quality="ok",
        rate_percent_per_hour=22.0,
        rate_seconds=1_740.0,
        seconds_to_full=2_372.7,
        seconds_to_empty=None,
    ),
    producers=("power-enricher",),
    scope=("timestamp", "device_id", "source_message_id"),
)
CHARGING_DETECTED: Final = Topic(
    "device.state.charging.detected",
    ChargingSession,
    "Charging sessions: when, where, from what charge to what.",
    derived(
        "charging-sessions",
        is_open=False,
        ended_at="2026-01-15T10:12:30.000000Z",
        ended_by="unplugged",
        duration_seconds=6_150.0,
        power_source="usb",
        start_level=41.0,
        end_level=100.0,
        rate_percent_per_hour=44.5,
        full_at="2026-01-15T10:00:05.000000Z",
        latitude=37.7749,
        longitude=-122.4194,
        region_name="Home",
    ),
    producers=("charging-sessions",),
    consumers=("power-patterns",),
    scope=("timestamp", "device_id"),
)
POWER_PATTERNS: Final = Topic(
    "device.state.power.patterns",
    ChargingPattern,
    "Usual hours and places of charging, and how the battery wears.",
    derived(
        "power-patterns",
        window_start="2025-12-18T08:30:00.000000Z",
        pattern="overnight",
        confidence=0.86,
        session_count=28,
        typical_start_hour=22.5,
        start_hour_spread=0.05,
        typical_duration_seconds=25_200.0,
        mean_start_level=24.0,
        mean_end_level=100.0,
        hours=[*[0.8] * 6, *[0.1] * 16, 0.5, 0.7],
        places=[{"name": "Home", "latitude": 37.7749, "longitude": -122.4194, "share": 0.9}],
        cycles_per_day=0.76,
        charge_rate_percent_per_hour=44.5,
        drain_rate_percent_per_hour=-4.7,
        charge_trend_percent_per_month=0.2,
        drain_trend_percent_per_month=-0.1,
        battery_trend="steady",
    ),
    producers=("power-patterns",),
    scope=("timestamp", "device_id"),
)
