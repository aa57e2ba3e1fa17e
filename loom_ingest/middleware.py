"""What every request passes: identity, trace, errors in the guide's shape, metrics and logs."""

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom_ingest.accept import CONTEXT, services_of
from loom_ingest.errors import ApiError, Code
from loom_ingest.logging import log, where
from loom_ingest.metrics import UNMATCHED, Metrics
from loom_ingest.problems import PROBLEM_JSON, problem
from loom_ingest.quota import rate_headers
from loom_ingest.trace import CURRENT, RequestContext

if TYPE_CHECKING:
    from loom_ingest.telemetry import Tracing

_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED, 413: Code.PAYLOAD_TOO_LARGE}


class RequestMiddleware:
    """Gives each HTTP request its RequestContext; answers carry `x-request-id` and `traceparent`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: "Tracing | None" = None) -> None:
        self.app = app
        self.metrics = metrics
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        context = scope[CONTEXT] = RequestContext(scope["headers"])
        current = CURRENT.set(context)
        if self.tracing is not None:
            self.tracing.begin(context)
        status = 0

        async def send_with_identity(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", context.request_id.encode()),
                    (b"traceparent", context.traceparent),
                ]
                if context.quotas:
                    message["headers"] += rate_headers(context.quotas)
            await send(message)

        try:
            await self.app(scope, receive, send_with_identity)
        except Exception as error:
            log.error("request_failed", **_identity(scope), **where(error))
            if status:
                raise
            answer = refusal(Request(scope), _internal())
            await answer(scope, receive, send_with_identity)
        finally:
            seconds = perf_counter() - started
            self.metrics.request(scope["method"], _route(scope), status or 500, seconds)
            if self.tracing is not None:
                self.tracing.request(context, scope["method"], _route(scope), status or 500, seconds)
            CURRENT.reset(current)


async def refuse(request: Request, error: Exception) -> Response:
    """The exception handler of ApiError and of Starlette's HTTPException."""
    if isinstance(error, HTTPException):
        error = _api_error(error, request)
    if not isinstance(error, ApiError):
        raise error
    return refusal(request, error)


def refusal(request: Request, error: ApiError) -> Response:
    """The answer for `error`, counted and logged by its code."""
    services_of(request).metrics.rejected(error.code)
    fields = sorted(error.details)[:10]
    # A failure is logged where it is caught, an outage once by the producer: not again by each request that meets it.
    level = logging.INFO if error.status < 500 else logging.DEBUG
    said = {"status": error.status, "code": error.code.value, "fields": fields, **_identity(request.scope)}
    log.log(level, "request_refused", **said)
    context: RequestContext = request.scope[CONTEXT]
    if context.problem_json:
        return Response(problem(error, context.request_id), error.status, error.headers, PROBLEM_JSON)
    return Response(error.body(context.request_id), error.status, error.headers, "application/json")


def _api_error(error: HTTPException, request: Request) -> ApiError:
    """Starlette's 404, 405 and the like in the guide's shape."""
    code = _CODES.get(error.status_code, Code.HTTP_ERROR)
    message, details = str(error.detail), {}
    if error.status_code == 404:
        message = "There is no such endpoint; /docs lists them all"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.method} is not allowed here; use {allowed}"
        details = {"allow": allowed}
    return ApiError(error.status_code, code, message, details=details, headers=error.headers)


def _internal() -> ApiError:
    return ApiError(
        500,
        Code.INTERNAL_ERROR,
        "The service failed and may not have stored it; its log tells where, by the request_id",
    )


def _identity(scope: Scope) -> dict[str, Any]:
    context: RequestContext = scope[CONTEXT]
    return {
        "method": scope["method"],
        "path": _route(scope),
        "request_id": context.request_id,
        "trace_id": context.trace_id,
    }


def _route(scope: Scope) -> str:
    """The matched route's template, never the path itself, which anyone may invent."""
    route = scope.get("route")
    return str(getattr(route, "path", UNMATCHED))
