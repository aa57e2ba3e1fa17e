"""What else a device senses: steps, air, networks around it."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from loom_contracts.topic import Topic
from loom_contracts.topics.device import BAROMETER_RAW, STEPS_RAW, TEMPERATURE_RAW
from loom_contracts.topics.device_system import BLUETOOTH_RAW, WIFI_RAW
from loom_ingest.accept import accept, services_of, take
from loom_ingest.body import read_json
from loom_ingest.openapi import Accepted, described, named, operation, request_schema
from loom_ingest.readings import reading_of
from loom_ingest.route import IngestRoute
from loom_ingest.validation import parse_json

router = APIRouter(tags=["sensor"], route_class=IngestRoute)

_NUMBERS: Final = {"barometer": "pressure", "temperature": "temperature"}
"""What a bare number in `value` is."""


def _reading(topic: Topic) -> dict[str, Any]:
    schema = request_schema(topic)
    sensor_type, value = topic.parts[2], schema["properties"]["value"]
    schema["properties"]["sensor_type"] = {"const": sensor_type, "default": sensor_type}
    schema["properties"]["value"] = {
        "anyOf": [value, {"type": "number"}],
        "description": f"The reading, or its {_NUMBERS[sensor_type]} alone.",
    }
    schema["required"] = [name for name in schema["required"] if name != "sensor_type"]
    example = {key: topic.example[key] for key in ("device_id", "value", "unit")}
    schema = named(schema, f"{sensor_type.capitalize()}Reading")
    return described(schema, example, Accepted) | {"response_description": f"The broker has it, on {topic.name}."}


@router.post("/sensor/steps", **operation(STEPS_RAW))
async def steps(request: Request) -> Response:
    """Take the steps of a stretch of time."""
    return await accept(request, STEPS_RAW)


@router.post("/sensor/barometer", **_reading(BAROMETER_RAW))
async def barometer(request: Request) -> Response:
    """Take one reading of the air's pressure; `value` is an object or the number of hPa."""
    return await _accept_reading(request, "barometer")


@router.post("/sensor/temperature", **_reading(TEMPERATURE_RAW))
async def temperature(request: Request) -> Response:
    """Take one reading of a thermometer; `value` is an object or the number of degrees."""
    return await _accept_reading(request, "temperature")


@router.post("/sensor/wifi", **operation(WIFI_RAW))
async def wifi(request: Request) -> Response:
    """Take the state of the Wi-Fi connection."""
    return await accept(request, WIFI_RAW)


@router.post("/sensor/bluetooth", **operation(BLUETOOTH_RAW))
async def bluetooth(request: Request) -> Response:
    """Take the Bluetooth devices nearby."""
    return await accept(request, BLUETOOTH_RAW)


async def _accept_reading(request: Request, sensor_type: str) -> Response:
    settings = services_of(request).settings
    item = parse_json(await read_json(request, settings.max_body_bytes))
    if isinstance(item, dict):
        item = {"sensor_type": sensor_type} | item
        value = item.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool):
            item["value"] = {_NUMBERS[sensor_type]: value}
    topic, message = reading_of(item, settings, only=sensor_type)
    return await take(request, topic, message)
