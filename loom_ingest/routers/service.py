"""About the service itself: what it is, whether it lives, whether it can take data, its metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response

from loom_ingest import SERVICE, VERSION
from loom_ingest.accept import services_of
from loom_ingest.health import Health, health
from loom_ingest.metrics import CONTENT_TYPE

router = APIRouter(tags=["service"])
probes = APIRouter(tags=["service"])
metrics_router = APIRouter(tags=["service"])


@router.get("/")
async def root() -> dict[str, Any]:
    """What this service is and where its endpoints are."""
    return {
        "service": SERVICE,
        "version": VERSION,
        "description": "FastAPI service for ingesting device data into Kafka topics",
        "endpoints": {
            "health": "/healthz",
            "readiness": "/readyz",
            "audio_websocket": "/audio/stream/{device_id}",
            "audio_upload": "/audio/upload",
            "sensor_endpoints": "/sensor/*",
            "metrics": "/metrics",
            "docs": "/docs",
        },
    }


@probes.get("/healthz")
async def healthz(request: Request) -> Health:
    """Whether the process lives; the broker may be away."""
    return health(services_of(request), healthy=True)


@probes.get(
    "/readyz", responses={503: {"model": Health, "description": "The broker is away and the spool full or off."}}
)
async def readyz(request: Request, response: Response) -> Health:
    """Whether data would be taken now."""
    services = services_of(request)
    ready = services.producer.state not in ("full", "unavailable")
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return health(services, healthy=ready)


@metrics_router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus metrics, of this service and of stream runs."""
    metrics = services_of(request).metrics
    await metrics.streams.refresh()
    return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})
