"""What sensors sense: positions, motion, pulse, power, anything else, and many at once."""

from fastapi import APIRouter, Request, Response

from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW, HEARTRATE_RAW, POWER_RAW
from loom_ingest.accept import accept, services_of, take
from loom_ingest.batch import BATCH_OPERATION, accept_batch
from loom_ingest.body import read_json
from loom_ingest.openapi import operation
from loom_ingest.openapi_readings import READING_OPERATION
from loom_ingest.readings import reading_of
from loom_ingest.route import IngestRoute
from loom_ingest.validation import parse_json

router = APIRouter(tags=["sensor"], route_class=IngestRoute)


@router.post("/sensor/gps", **operation(GPS_RAW))
async def gps(request: Request) -> Response:
    """Take one position of a device."""
    return await accept(request, GPS_RAW)


@router.post("/sensor/accelerometer", **operation(ACCELEROMETER_RAW))
async def accelerometer(request: Request) -> Response:
    """Take one reading of a 3-axis accelerometer."""
    return await accept(request, ACCELEROMETER_RAW)


@router.post("/sensor/heartrate", **operation(HEARTRATE_RAW))
async def heartrate(request: Request) -> Response:
    """Take one measurement of the pulse."""
    return await accept(request, HEARTRATE_RAW)


@router.post("/sensor/power", **operation(POWER_RAW))
async def power(request: Request) -> Response:
    """Take the state of a device's battery."""
    return await accept(request, POWER_RAW)


@router.post("/sensor/generic", **READING_OPERATION)
async def generic(request: Request) -> Response:
    """Take one reading of any supported sensor; the topic is `device.sensor.{sensor_type}.raw`."""
    services = services_of(request)
    item = parse_json(await read_json(request, services.settings.max_body_bytes))
    topic, message = reading_of(item, services.settings)
    return await take(request, topic, message)


@router.post("/sensor/batch", **BATCH_OPERATION)
async def batch(request: Request) -> Response:
    """Take up to 100 readings at once; those that are wrong are told by their index, the others are kept."""
    return await accept_batch(request)
