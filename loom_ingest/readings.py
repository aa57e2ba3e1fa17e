"""Readings that name their own sensor: `{"device_id", "sensor_type", "value": {...}}`."""

from typing import Any, Final

from pydantic_core import to_json

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW, GENERIC_SENSORS, GPS_RAW, HEARTRATE_RAW, POWER_RAW
from loom_ingest.accept import check
from loom_ingest.errors import ApiError, Code
from loom_ingest.settings import Settings
from loom_ingest.validation import echo, field_rejection, validated

GENERIC: Final = {topic.parts[2]: topic for topic in GENERIC_SENSORS}
TYPED: Final = {"gps": GPS_RAW, "accelerometer": ACCELEROMETER_RAW, "heartrate": HEARTRATE_RAW, "power": POWER_RAW}
"""Sensors with fields of their own; a reading has them in `value`, or beside it."""
ENVELOPE: Final = frozenset({*Message.model_fields, "sensor_type"})
"""What a reading has beside `value` alone."""


def reading_of(item: Any, settings: Settings, only: str | None = None) -> tuple[Topic, Message]:
    """Topic and message of one parsed reading, of the sensor `only` when it is given; raises the 422."""
    if not isinstance(item, dict):
        raise ApiError(
            422,
            Code.INVALID_TYPE,
            f"Invalid data type for field 'body': expected object, got {type(item).__name__}",
            details={"body": "expected a JSON object"},
            detail=[],
        )
    sensor_type = item.get("sensor_type")
    if only is not None and sensor_type != only:
        raise field_rejection(
            "sensor_type",
            sensor_type,
            Code.INVALID_VALUE,
            f"Field 'sensor_type' is {echo(sensor_type)!r}: here it is {only!r}; leave it out, or use /sensor/generic",
        )
    typed = TYPED.get(sensor_type) if isinstance(sensor_type, str) else None
    if typed is not None:
        value = item.get("value")
        if isinstance(value, dict):
            item = item | {name: part for name, part in value.items() if name not in ENVELOPE}
        return typed, check(_parse(typed, item), typed, settings)
    topic = GENERIC.get(sensor_type) if isinstance(sensor_type, str) else None
    message = _parse(topic or GENERIC_SENSORS[0], item)
    if topic is None:
        raise field_rejection(
            "sensor_type",
            sensor_type,
            Code.UNKNOWN_SENSOR_TYPE,
            f"Field 'sensor_type' is {sensor_type!r}: those supported are {', '.join((*GENERIC, *TYPED))}",
        )
    return topic, check(message, topic, settings)


def _parse(topic: Topic, item: dict[str, Any]) -> Message:
    # Strict JSON rules (text for times and identities, but not for numbers) apply to JSON text only.
    return validated(topic.payload, to_json(item))
