"""Methods that every resource has: HEAD, which is GET without its body, and OPTIONS; and a 405 that names them all.

RFC 9110 (https://www.rfc-editor.org/rfc/rfc9110.html): 9.3.2 HEAD, 9.3.7 OPTIONS, 15.5.6 the 405 and its Allow.
"""

import re
from collections.abc import Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom_ingest.errors import ApiError, Code
from loom_ingest.middleware import refusal

UNSAFE_READS: Final = frozenset({"/osmand"})
"""Where GET stores something, so that HEAD, which may not, is not answered."""


class Methods:
    """The methods of each path, of the routes that there are."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._exact: dict[str, set[str]] = {}
        self._patterns: dict[re.Pattern[str], set[str]] = {}
        for route in _flat(routes):
            if route.param_convertors:
                self._patterns.setdefault(route.path_regex, set()).update(route.methods or ())
            else:
                self._exact.setdefault(route.path, set()).update(route.methods or ())

    def of(self, path: str) -> set[str]:
        """What may be asked of `path`; nothing where no route is."""
        found = set(self._exact.get(path, ()))
        for pattern, methods in self._patterns.items():
            if not found and pattern.match(path):
                found |= methods
        if "GET" in found and path not in UNSAFE_READS:
            found.add("HEAD")
        return found | {"OPTIONS"} if found else found


class MethodsMiddleware:
    """Answers OPTIONS, has HEAD answered by the GET of the path, and any method that a path has not with the 405."""

    def __init__(self, app: ASGIApp, methods: Methods) -> None:
        self.app = app
        self.methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, known = scope["method"], self.methods.of(scope["path"])
        if method == "OPTIONS" and known:
            await Response(None, 204, {"Allow": _listed(known)})(scope, receive, send)
        elif known and method not in known:
            await refusal(Request(scope), _not_allowed(method, known))(scope, receive, send)
        elif method == "HEAD" and known:
            await self._head(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # The server's own scope stays a HEAD's: it has to know that no body follows the length.
        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, receive, without_body)
        finally:
            scope["route"] = asked.get("route")


def _not_allowed(method: str, known: set[str]) -> ApiError:
    allowed = _listed(known)
    useful = _listed(known - {"HEAD", "OPTIONS"})
    return ApiError(
        405,
        Code.METHOD_NOT_ALLOWED,
        f"{method} is not allowed here; use {useful}",
        details={"allow": allowed},
        headers={"Allow": allowed},
    )


def _listed(methods: set[str]) -> str:
    return ", ".join(sorted(methods))


def _flat(routes: Iterable[BaseRoute]) -> list[Route]:
    """The routes of HTTP, those of included routers too; mounted applications have methods of their own."""
    found: list[Route] = []
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found += _flat(inner.routes)
        elif isinstance(route, Route):
            found.append(route)
    return found
