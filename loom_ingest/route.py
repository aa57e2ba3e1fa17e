"""A route whose handler takes the request and returns the response itself."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class IngestRoute(APIRoute):
    """Documented like any other route; calls its endpoint without FastAPI's solving of parameters.

    That solving costs more than parsing, checking and serialising a message together (docs/architecture.md).
    """

    def get_route_handler(self) -> Endpoint:
        """The endpoint itself."""
        endpoint: Endpoint = self.endpoint
        return endpoint
