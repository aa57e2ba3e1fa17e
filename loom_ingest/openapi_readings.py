"""How readings that name their own sensor are described in the OpenAPI document."""

from typing import Any, Final

from loom_contracts.topic import Topic
from loom_contracts.topics.device import GENERIC_SENSORS, TEMPERATURE_RAW
from loom_ingest.openapi import Accepted, described, example_of, request_schema
from loom_ingest.readings import ENVELOPE, GENERIC, TYPED


def _generic() -> dict[str, Any]:
    schema = request_schema(GENERIC_SENSORS[0])
    schema["properties"]["sensor_type"] = {"enum": list(GENERIC), "description": "Which sensor."}
    return schema


def _typed(sensor_type: str, topic: Topic) -> tuple[dict[str, Any], dict[str, Any]]:
    """A reading of a sensor with fields of its own: beside `sensor_type`, and in `value`, which counts before."""
    schema = request_schema(topic)
    properties, required = schema["properties"], schema["required"]
    kind = {"const": sensor_type, "description": "Which sensor."}
    beside = schema | {
        "properties": properties | {"sensor_type": kind},
        "required": [*required, "sensor_type"],
    }
    own = {name: part for name, part in properties.items() if name not in ENVELOPE}
    inside = schema | {
        "properties": {
            **{name: part for name, part in properties.items() if name in ENVELOPE},
            "sensor_type": kind,
            "value": {
                "type": "object",
                "properties": own,
                "required": [name for name in required if name in own],
            },
        },
        "required": ["device_id", "sensor_type", "value"],
    }
    return beside, inside


def _reading() -> dict[str, Any]:
    """Any reading, and the definitions that it needs."""
    generic = _generic()
    definitions = {**generic.pop("$defs", {}), "SensorReading": generic}
    for sensor_type, topic in TYPED.items():
        name = f"{sensor_type.capitalize()}Reading"
        for suffix, schema in zip(("", "InValue"), _typed(sensor_type, topic), strict=True):
            definitions |= schema.pop("$defs", {}) | {name + suffix: schema}
    kinds = [f"{kind.capitalize()}Reading{suffix}" for kind in TYPED for suffix in ("", "InValue")]
    definitions["Reading"] = {
        "description": "A reading of any sensor; those with fields of their own have them in `value`, or beside it.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("SensorReading", *kinds)],
    }
    return definitions


_DEFINITIONS: Final = _reading()
READING: Final[dict[str, Any]] = {"$ref": "#/$defs/Reading", "type": "object", "$defs": _DEFINITIONS}
BATCH: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": 100,
    "description": "Readings; those that are not valid are told by their index, as long as one is taken.",
    "anyOf": [{"maxItems": 0}, {"contains": {"$ref": "#/$defs/Reading"}}],
    "$defs": _DEFINITIONS,
}
READING_OPERATION: Final = described(READING, example_of(TEMPERATURE_RAW), Accepted) | {
    "response_description": "The broker has it, on the topic of its sensor."
}
