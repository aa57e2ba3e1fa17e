"""What a device's operating system tells: applications that come and go, screen and lock, notifications."""

from fastapi import APIRouter, Request, Response

from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, NOTIFICATIONS_RAW, SYSTEM_EVENTS_RAW
from loom_ingest.accept import accept
from loom_ingest.openapi import operation
from loom_ingest.route import IngestRoute

router = APIRouter(prefix="/os-events", tags=["os-events"], route_class=IngestRoute)


@router.post("/app-lifecycle", **operation(APP_LIFECYCLE_RAW))
async def app_lifecycle(request: Request) -> Response:
    """Take one event of an application: launch, foreground, background, terminate or crash."""
    return await accept(request, APP_LIFECYCLE_RAW)


@router.post("/system", **operation(SYSTEM_EVENTS_RAW))
async def system(request: Request) -> Response:
    """Take one event of the system: screen on or off, lock or unlock, power connected or disconnected."""
    return await accept(request, SYSTEM_EVENTS_RAW)


@router.post("/notifications", **operation(NOTIFICATIONS_RAW))
async def notifications(request: Request) -> Response:
    """Take one notification that was shown, or what became of it."""
    return await accept(request, NOTIFICATIONS_RAW)
