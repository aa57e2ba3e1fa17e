"""The application: `create_app(settings, producer)` puts the parts together; the lifespan owns the connection."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from prometheus_client import start_http_server
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from loom_ingest import SERVICE, VERSION
from loom_ingest.accept import Services
from loom_ingest.access.documented import with_keys
from loom_ingest.access.gate import Gate
from loom_ingest.access.middleware import AccessMiddleware
from loom_ingest.clients import health_export, homeassistant, osmand, overland, owntracks
from loom_ingest.clients.activitywatch.router import router as activitywatch
from loom_ingest.clients.activitywatch.watch import ActivityWatch
from loom_ingest.clients.homeassistant_store import Phones
from loom_ingest.clients.identities import Identities
from loom_ingest.clients.large import LargeBodies
from loom_ingest.clients.owntracks_crypto import Secrets
from loom_ingest.database import Database
from loom_ingest.devices.sightings import Devices
from loom_ingest.devices.store import DeviceStore
from loom_ingest.direct import IngestApp, direct_routes
from loom_ingest.document import completed
from loom_ingest.errors import ApiError
from loom_ingest.limits import RateLimits
from loom_ingest.lineage.reading import Lineage
from loom_ingest.logging import configure_logging
from loom_ingest.methods import Methods, MethodsMiddleware
from loom_ingest.metrics import Metrics
from loom_ingest.middleware import RequestMiddleware, refuse
from loom_ingest.openapi import hoist_definitions
from loom_ingest.producer import Producer
from loom_ingest.retries import Retries
from loom_ingest.routers import (
    audio,
    devices,
    digital,
    images,
    lineage,
    os_events,
    sensor,
    service,
    surroundings,
    system,
)
from loom_ingest.routers.documentation import add_documentation
from loom_ingest.server.guard import Guard
from loom_ingest.settings import Settings, load_settings
from loom_ingest.spool.producer import producer_for
from loom_ingest.stream import AudioStreams
from loom_ingest.stream_metrics import FromAnotherThread, StreamMetrics
from loom_ingest.workers import Workers

if TYPE_CHECKING:
    from loom_ingest.telemetry import Tracing

SENDING: Final = (
    sensor.router,
    surroundings.router,
    audio.router,
    images.router,
    os_events.router,
    system.router,
    digital.router,
)
"""Routers of what devices send; in the order of the documentation."""
METRICS_HOST: Final = "127.0.0.1"
"""Of the port of the metrics alone: it asks for no key."""

CLIENTS: Final = (
    activitywatch,
    overland.router,
    homeassistant.router,
    health_export.router,
    owntracks.router,
    osmand.router,
)
"""Routers of clients that people have already."""


def create_app(settings: Settings, producer: Producer | None = None, metrics: Metrics | None = None) -> FastAPI:
    """The service; with its own producer unless one is given. Nothing connects before the lifespan begins."""
    workers = Workers() if settings.workers > 1 else None
    metrics = metrics or Metrics(device_labels=settings.metrics_device_labels, workers=workers)
    producer, tracing = _traced(producer or producer_for(settings, metrics), settings, metrics)
    metrics.kafka_pending.set_function(lambda: producer.pending)
    database = Database(settings.database_url, settings.database_pool_size)
    metrics.streams = StreamMetrics(database)
    registry = Devices(DeviceStore(database), require_registered=settings.require_registered_devices)
    gate = Gate(database, required=settings.keys_required, directory=settings.spool_dir)
    identities = Identities(database, settings.spool_dir)
    retries = Retries(settings.spool_dir)
    services = Services(settings, producer, metrics, registry, _limits(settings), retries, identities, gate)

    # Exports hold their connections for long: they have some of their own.
    watch = ActivityWatch(Database(settings.database_url, settings.database_pool_size), shared=settings.workers > 1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if settings.metrics_port is not None:
                together = FromAnotherThread(metrics.registry, metrics.streams, asyncio.get_running_loop())
                exporter, _thread = start_http_server(settings.metrics_port, METRICS_HOST, together)
                stack.callback(exporter.server_close)
                stack.callback(exporter.shutdown)
            if workers is not None:
                await workers.start(metrics.registry)
                stack.push_async_callback(workers.stop, metrics.registry)
            if tracing is not None:
                tracing.start()
                stack.push_async_callback(tracing.stop)
            await database.open()
            stack.push_async_callback(database.close)
            await gate.start()
            stack.push_async_callback(gate.stop)
            await identities.start()
            stack.push_async_callback(identities.stop)
            await registry.start()
            stack.push_async_callback(registry.stop)
            await watch.start()
            stack.push_async_callback(watch.stop)
            retries.start()
            await producer.start()
            stack.push_async_callback(producer.stop)
            yield

    app = IngestApp(
        title="Loom v2 Ingestion API",
        version=VERSION,
        summary=SERVICE,
        description="Takes what devices sense. A 201 means that the broker has the record, or the disk spool. "
        "What the codes of errors mean: [/docs/errors](/docs/errors).",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Looks into the environment at every request to see whether it has anywhere to report to.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    app.state.guard = Guard(settings, metrics)
    app.state.streams = AudioStreams(services, tracing)
    app.state.large_bodies = LargeBodies(settings.max_import_body_bytes)
    app.state.homeassistant = Phones(database)
    app.state.owntracks_secrets = Secrets(settings.owntracks_secrets_file)
    app.state.activitywatch = watch
    app.state.lineage = Lineage(database)
    routers = [*SENDING, *CLIENTS, audio.streams, system.information, devices.router, lineage.router, service.router]
    if settings.enable_health_checks:
        routers.append(service.probes)
    if settings.enable_metrics:
        routers.append(service.metrics_router)
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(ApiError, refuse)
    app.add_exception_handler(HTTPException, refuse)
    _document(app)
    add_documentation(app)
    app.add_middleware(MethodsMiddleware, methods=Methods(app.routes))
    app.add_middleware(AccessMiddleware)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "traceparent", "retry-after", "ratelimit", "ratelimit-policy"],
        )
    app.add_middleware(RequestMiddleware, metrics=metrics, tracing=tracing)
    app.hand_over(direct_routes(*SENDING), metrics, tracing)
    return app


def app_from_environment() -> FastAPI:
    """The service as the environment describes it: the factory of each worker process."""
    settings = load_settings()
    configure_logging(settings.log_threshold)
    app = create_app(settings)
    # Full collections walk every imported module's objects; those live as long as the process does.
    gc.collect()
    gc.freeze()
    # A request leaves no cycles: at every 700 objects young collections took a twentieth of the time to find nothing.
    gc.set_threshold(20_000, 20, 20)
    return app


def _traced(producer: Producer, settings: Settings, metrics: Metrics) -> "tuple[Producer, Tracing | None]":
    """`producer` with a span for each record, where there is a collector; OpenTelemetry is not loaded elsewhere."""
    if settings.otlp_endpoint is None:
        return producer, None
    from loom_ingest.telemetry import TracedProducer, tracing_of

    tracing = tracing_of(settings, metrics)
    return TracedProducer(producer, tracing), tracing


def _limits(settings: Settings) -> RateLimits | None:
    if not settings.rate_limit_enabled:
        return None
    return RateLimits(settings)


def _document(app: FastAPI) -> None:
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            required = app.state.services.gate.required
            app.openapi_schema = completed(with_keys(hoist_definitions(build()), required=required))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
