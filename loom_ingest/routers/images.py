"""Pictures: photos, screenshots, frames of screen recordings; JSON with base64, or a form with a file."""

from fastapi import APIRouter, Request, Response

from loom_contracts.topics.device_system import CAMERA_RAW, SCREEN_RAW
from loom_ingest.media import accept_image
from loom_ingest.openapi_media import media_operation
from loom_ingest.route import IngestRoute

router = APIRouter(prefix="/images", tags=["images"], route_class=IngestRoute)


@router.post("/camera", **media_operation(CAMERA_RAW))
async def camera(request: Request) -> Response:
    """Take one photo."""
    return await accept_image(request, CAMERA_RAW)


@router.post("/screenshot", **media_operation(CAMERA_RAW, kind="screenshot"))
async def screenshot(request: Request) -> Response:
    """Take one screenshot."""
    return await accept_image(request, CAMERA_RAW, "screenshot")


@router.post("/screen", **media_operation(SCREEN_RAW))
async def screen(request: Request) -> Response:
    """Take one frame of a screen recording."""
    return await accept_image(request, SCREEN_RAW)
