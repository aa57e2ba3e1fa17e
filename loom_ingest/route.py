"""A route whose handler takes the request and returns the response itself, and the way to it without routing."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute, APIRouter

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class IngestRoute(APIRoute):
    """Documented like any other route; calls its endpoint without FastAPI's solving of parameters.

    That solving costs more than parsing, checking and serialising a message together (docs/architecture.md).
    """

    def get_route_handler(self) -> Endpoint:
        """The endpoint itself."""
        endpoint: Endpoint = self.endpoint
        return endpoint


def direct_routes(*routers: APIRouter) -> dict[str, IngestRoute]:
    """Routes that a POST to a path without parameters can be handed to at once.

    Routing, exit stacks and the CORS layer cost more than the handler; they are for everything else.
    """
    routes = (route for router in routers for route in router.routes if isinstance(route, IngestRoute))
    return {route.path: route for route in routes if route.methods == {"POST"} and not route.param_convertors}
