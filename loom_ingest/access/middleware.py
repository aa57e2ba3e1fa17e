"""The gate before every request that takes the long way, and before every WebSocket."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from loom_ingest.accept import CONTEXT, Services
from loom_ingest.access.policy import STREAMING, rule_of
from loom_ingest.clients.refusals import told
from loom_ingest.errors import JSON, ApiError
from loom_ingest.logging import log
from loom_ingest.middleware import refusal
from loom_ingest.trace import RequestContext


class AccessMiddleware:
    """Gives each request's context its principal, or answers the 401, 403 or 503.

    A WebSocket is refused with the same answer, before it is opened. It stands below the CORS layer: a browser's page
    may read the refusal too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        if CONTEXT not in scope:
            scope[CONTEXT] = RequestContext(scope["headers"])
        context: RequestContext = scope[CONTEXT]
        http = scope["type"] == "http"
        rule = rule_of(scope["method"], scope["path"]) if http else STREAMING
        try:
            context.principal = await services.gate.principal(scope, rule)
            if services.limits is not None:
                services.limits.request(context, scope)
        except ApiError as error:
            if http:
                await refusal(Request(scope), told(scope["path"], error))(scope, receive, send)
            else:
                await refuse_stream(WebSocket(scope, receive, send), services, error)
            return
        await self.app(scope, receive, send)


async def refuse_stream(websocket: WebSocket, services: Services, error: ApiError) -> None:
    """Answer the handshake with `error`; where the server cannot, with a bare 403."""
    services.metrics.rejected(error.code)
    context: RequestContext = websocket.scope[CONTEXT]
    log.info("stream_refused", status=error.status, code=error.code.value, request_id=context.request_id)
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        headers = error.headers | {"x-request-id": context.request_id}
        await websocket.send_denial_response(
            Response(error.body(context.request_id), error.status, headers, JSON.decode())
        )
    else:
        await websocket.close(1008)
