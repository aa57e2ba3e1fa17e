"""The short way for what devices send all day: a POST to a path without parameters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from loom_ingest.accept import CONTEXT, Services
from loom_ingest.access.policy import SENDING
from loom_ingest.errors import ApiError
from loom_ingest.metrics import Metrics
from loom_ingest.middleware import RequestMiddleware, refusal
from loom_ingest.route import IngestRoute

if TYPE_CHECKING:
    from loom_ingest.telemetry import Tracing


class IngestApp(FastAPI):
    """FastAPI that hands such a POST to its handler at once.

    Routing, exit stacks, error and CORS layers cost more than the handler; they are for every other request, and for
    those that carry an Origin.
    """

    _direct: Mapping[str, IngestRoute] = {}
    _entry: ASGIApp
    services: Services

    def hand_over(self, routes: Mapping[str, IngestRoute], metrics: Metrics, tracing: "Tracing | None" = None) -> None:
        """Serve `routes`, by their path, the short way."""
        self._direct = routes
        # Starlette's State looks an attribute up in three steps, and every request asks for this one.
        self.services = self.state.services
        self._entry = RequestMiddleware(_call_endpoint, metrics, tracing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "POST":
            route = self._direct.get(scope["path"])
            if route is not None and not _has_origin(scope["headers"]):
                scope["app"], scope["route"] = self, route
                await self._entry(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def _has_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    for name, _ in headers:  # noqa: SIM110  # any() and its generator cost four times as much
        if name == b"origin":
            return True
    return False


def direct_routes(*routers: APIRouter) -> dict[str, IngestRoute]:
    """Routes of these routers that can be served the short way, by their path."""
    routes = (route for router in routers for route in router.routes if isinstance(route, IngestRoute))
    return {route.path: route for route in routes if route.methods == {"POST"} and not route.param_convertors}


async def _call_endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    services: Services = scope["app"].services
    try:
        scope[CONTEXT].principal = await services.gate.principal(scope, SENDING)
        if services.limits is not None:
            services.limits.request(scope[CONTEXT], scope)
        answer = await scope["route"].endpoint(request)
    except ApiError as error:
        answer = refusal(request, error)
    await answer(scope, receive, send)
