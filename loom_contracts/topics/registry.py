"""All topics, and how to find one by its name."""

from difflib import get_close_matches
from typing import Final

from loom_contracts.errors import ContractError
from loom_contracts.topic import Topic
from loom_contracts.topics import (
    activity,
    analysis,
    control,
    device,
    device_system,
    digital,
    external,
    location,
    media,
    media_image,
    motion,
    network,
    os_events,
    phone,
    region,
    task,
)
from loom_contracts.topics.processing import PROCESSING_ERRORS

LANDED: Final[tuple[Topic, ...]] = (
    device.AUDIO_RAW,
    device.GPS_RAW,
    device.ACCELEROMETER_RAW,
    device.HEARTRATE_RAW,
    device.POWER_RAW,
    *device.GENERIC_SENSORS,
    device.STEPS_RAW,
    device_system.CAMERA_RAW,
    device_system.SCREEN_RAW,
    device_system.APPS_MACOS_RAW,
    device_system.APPS_ANDROID_RAW,
    device_system.APPS_ANDROID_USAGE_RAW,
    device_system.METADATA_RAW,
    device_system.UNRECOGNIZED_RAW,
    device_system.WIFI_RAW,
    device_system.BLUETOOTH_RAW,
    *phone.PHONE,
    region.REGION_TRANSITION_RAW,
    region.REGION_WAYPOINT_RAW,
    os_events.APP_LIFECYCLE_RAW,
    os_events.SYSTEM_EVENTS_RAW,
    os_events.NOTIFICATIONS_RAW,
    digital.CLIPBOARD_RAW,
    digital.WEB_ANALYTICS_RAW,
    activity.ACTIVITYWATCH_RAW,
    task.URL_INGEST,
)
"""Raw topics that have a table: each has a landing stage."""

DERIVED: Final[tuple[Topic, ...]] = (
    device.ACCELEROMETER_WINDOWED,
    device.POWER_ENRICHED,
    device.CHARGING_DETECTED,
    device.POWER_PATTERNS,
    os_events.APP_LIFECYCLE_ENRICHED,
    os_events.APP_SESSION_DETECTED,
    device_system.APPS_ANDROID_USAGE_RECONCILED,
    location.GEOREGION_DETECTED,
    location.ADDRESS_GEOCODED,
    location.BUSINESS_IDENTIFIED,
    location.GPS_CLEANED,
    location.VISIT_DETECTED,
    location.TRIP_DETECTED,
    media.VAD_FILTERED,
    motion.SIGNIFICANT_MOTION,
    motion.ACTIVITY_CLASSIFIED,
    *network.NETWORK,
)
"""Topics that a stage fills and that have a table."""

DECLARED: Final[tuple[Topic, ...]] = (
    external.TWITTER_LIKED_RAW,
    external.CALENDAR_EVENTS_RAW,
    external.CALENDAR_RAW,
    external.CALENDAR_ENRICHED,
    external.CALENDAR_EMBEDDED,
    external.EMAIL_EVENTS_RAW,
    external.EMAIL_RAW,
    external.EMAIL_PARSED,
    external.EMAIL_EMBEDDED,
    external.HACKERNEWS_LIKED,
    external.HACKERNEWS_CONTENT_FETCHED,
    external.HACKERNEWS_EMBEDDED,
    task.TWITTER_ARCHIVED,
    task.HACKERNEWS_ARCHIVED,
    task.PDF_EXTRACTED,
    media.ENVIRONMENT_CLASSIFIED,
    media.TRANSCRIBED_WORDS,
    media.OCR_EXTRACTED,
    media.OCR_CLEANED,
    media_image.CAMERA_PREPROCESSED,
    media_image.SCREENSHOT_PREPROCESSED,
    media_image.OBJECTS_DETECTED,
    media_image.OBJECTS_HASHED,
    media_image.FACES_DETECTED,
    media_image.POSE_DETECTED,
    media_image.GAZE_DETECTED,
    media_image.MOONDREAM_RESULTS,
    media_image.MINICPM_RESULTS,
    media_image.YOLO_RESULTS,
    media_image.FACE_EMOTION_RESULTS,
    analysis.DUSTR_RESULTS,
    analysis.QWEN_RESULTS,
    analysis.MISTRAL_RESULTS,
    analysis.SPEECH_EMOTION_RESULTS,
    motion.SLAM_MAPPING,
    control.KEYSTROKE_SEND,
    control.MOUSE_SEND,
    control.CLIPBOARD_SEND,
    control.FILE_TRANSFER,
    control.SCREEN_CAPTURE,
    control.AUDIO_SEND,
    control.SHELL_EXECUTE,
    control.APP_LAUNCH,
    control.APP_CLOSE,
    control.COMMAND_STATUS,
    control.FILE_TRANSFER_PROGRESS,
    control.SCREEN_CAPTURED,
    control.SHELL_OUTPUT,
    control.DEVICE_ERROR,
    control.CLIPBOARD_BROADCAST,
    control.FILES_BROADCAST,
    control.STATE_BROADCAST,
    PROCESSING_ERRORS,
)
"""Topics that have their payload, and neither a table nor a flow yet."""

TOPICS: Final[tuple[Topic, ...]] = (*LANDED, *DERIVED, *DECLARED)
"""Every topic of Loom."""

_BY_NAME: Final = {t.name: t for t in TOPICS}


def topic_named(name: str) -> Topic:
    """The topic called `name` in the contract; raises ContractError that suggests the nearest ones."""
    try:
        return _BY_NAME[name]
    except KeyError:
        near = get_close_matches(name, _BY_NAME, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `loom topics list` shows them all"
    raise ContractError(f"there is no topic {name!r}{hint}")


def topic_on_broker(name: str, prefix: str = "") -> Topic:
    """The topic whose name on a broker with `prefix` is `name`; raises ContractError when there is none."""
    head = f"{prefix}." if prefix else ""
    if not name.startswith(head):
        raise ContractError(f"topic {name!r} does not begin with LOOM_KAFKA_TOPIC_PREFIX {prefix!r}")
    return topic_named(name.removeprefix(head))


def generic_sensor_topic(sensor_type: str) -> Topic:
    """The topic of readings of `sensor_type`; raises ContractError that lists those that exist."""
    for topic in device.GENERIC_SENSORS:
        if topic.parts[2] == sensor_type:
            return topic
    known = ", ".join(t.parts[2] for t in device.GENERIC_SENSORS)
    raise ContractError(f"there is no sensor type {sensor_type!r}; those supported are {known}")
