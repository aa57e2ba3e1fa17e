"""Audio on a WebSocket: one message at a time, each answered before the next is read.

That is the back-pressure: what the broker has not taken yet stays with the client, in the socket's own buffers.
"""

import asyncio
import contextlib
import re
import time
from datetime import UTC, datetime
from enum import StrEnum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from fastapi import WebSocket, WebSocketDisconnect
from pydantic_core import to_json

from loom_contracts.topics.device import AUDIO_RAW
from loom_ingest.accept import CONTEXT, Services, admit, check, identified, send
from loom_ingest.access.middleware import refuse_stream
from loom_ingest.access.policy import STREAMING
from loom_ingest.access.principal import Principal
from loom_ingest.audio import parse_chunk
from loom_ingest.errors import ApiError, Code, timestamp_text
from loom_ingest.logging import log, where
from loom_ingest.openapi import AudioConnections
from loom_ingest.trace import CURRENT, RequestContext
from loom_ingest.validation import echo, parse_json

if TYPE_CHECKING:
    from loom_ingest.telemetry import Tracing

ROUTE: Final = "/audio/stream/{device_id}"
CLOSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 5.0
"""How long a stream over its rate is not read; a shutdown waits for no longer pause."""
_DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")
_ENVELOPE: Final = ("message_id", "timestamp", "schema_version")


class StreamCode(StrEnum):
    """What `code` of an error on a stream can be, beside those of HTTP answers."""

    INVALID_FORMAT = "INVALID_FORMAT"
    INVALID_MESSAGE = "INVALID_MESSAGE"
    UNKNOWN_MESSAGE_TYPE = "UNKNOWN_MESSAGE_TYPE"
    BINARY_NOT_SUPPORTED = "BINARY_NOT_SUPPORTED"
    DEVICE_MISMATCH = "DEVICE_MISMATCH"
    INVALID_DEVICE_ID = "INVALID_DEVICE_ID"
    CONNECTION_REPLACED = "CONNECTION_REPLACED"
    INACTIVITY_TIMEOUT = "INACTIVITY_TIMEOUT"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"


class Closing(StrEnum):
    """Why the service closes a stream."""

    REPLACED = "replaced"
    IDLE = "idle"
    POLICY = "policy"
    FULL = "full"


CLOSE_CODES: Final = {Closing.REPLACED: 4409, Closing.IDLE: 4408, Closing.POLICY: 1008, Closing.FULL: 1013}
"""RFC 6455's codes; those from 4000 on are Loom's own, after HTTP's 408 and 409."""


class Connection:
    """One open WebSocket. Answers and the farewell to a replaced client come from different tasks."""

    def __init__(self, websocket: WebSocket, device_id: str, principal: Principal) -> None:
        self.websocket = websocket
        self.principal = principal
        self.device_id = device_id
        self._sending = asyncio.Lock()
        self._closed = False

    async def answer(self, message: dict[str, Any]) -> None:
        """Send `message`, unless the connection is closed."""
        async with self._sending:
            if not self._closed:
                await self.websocket.send_text(to_json(message).decode())

    async def dismiss(self, closing: Closing, code: Code | StreamCode, message: str) -> None:
        """Tell the client why, and close; a client that does not answer is left after some seconds."""
        with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_SECONDS), self._sending:
                if not self._closed:
                    self._closed = True
                    await self.websocket.send_text(to_json(error_message(code, message)).decode())
                    await self.websocket.close(CLOSE_CODES[closing], code)


class AudioStreams:
    """The audio streams of this process; one live connection a device, the newest."""

    def __init__(self, services: Services, tracing: "Tracing | None" = None) -> None:
        self._services = services
        self._tracing = tracing
        self._open: dict[str, Connection] = {}
        self._received = 0
        self._started = time.monotonic()
        self._farewells: set[asyncio.Task[None]] = set()

    def connections(self, principal: Principal) -> AudioConnections:
        """What `/audio/connections` says to `principal`: of a device's key, that device alone."""
        devices = [d for d in self._open if principal.devices is None or d in principal.devices]
        return AudioConnections(
            active_connections=len(devices),
            connected_devices=devices,
            total_messages_received=self._received,
            uptime_seconds=round(time.monotonic() - self._started, 3),
        )

    async def serve(self, websocket: WebSocket, device_id: str) -> None:
        """Serve one connection until either side ends it."""
        context: RequestContext = websocket.scope[CONTEXT]
        CURRENT.set(context)
        try:
            context.principal.require_devices((device_id,))
        except ApiError as error:
            await refuse_stream(websocket, self._services, error)
            return
        await websocket.accept()
        connection = Connection(websocket, device_id, context.principal)
        limit = self._services.settings.stream_max_connections
        if not _DEVICE_ID.fullmatch(device_id):
            says = "The device_id in the path must be of 3 to 64 letters, digits, hyphens and underscores"
            await connection.dismiss(Closing.POLICY, StreamCode.INVALID_DEVICE_ID, says)
            return
        older = self._open.get(device_id)
        if older is None and len(self._open) >= limit:
            says = f"{limit} streams are open; try again later"
            await connection.dismiss(Closing.FULL, StreamCode.TOO_MANY_CONNECTIONS, says)
            return
        self._open[device_id] = connection
        if older is not None:
            says = f"Device {device_id!r} opened a newer connection, which takes this one's place"
            self._farewell(older.dismiss(Closing.REPLACED, StreamCode.CONNECTION_REPLACED, says))
        self._services.metrics.websockets(self._open)
        try:
            await self._receive(connection)
        except (WebSocketDisconnect, RuntimeError) as error:
            # Starlette's RuntimeError: the connection was closed while an answer was on its way.
            if not isinstance(error, WebSocketDisconnect) and "close" not in str(error):
                raise
        finally:
            if self._open.get(device_id) is connection:
                del self._open[device_id]
            self._services.metrics.websockets(self._open)

    def _farewell(self, saying: Any) -> None:
        # The newer client does not wait for a dead older one.
        task = asyncio.ensure_future(saying)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _receive(self, connection: Connection) -> None:
        seconds = self._services.settings.stream_inactivity_seconds
        while True:
            try:
                async with asyncio.timeout(seconds):
                    event = await connection.websocket.receive()
            except TimeoutError:
                says = f"Nothing came for {seconds:g} seconds; connect again when there is something to send"
                await connection.dismiss(Closing.IDLE, StreamCode.INACTIVITY_TIMEOUT, says)
                return
            if event["type"] == "websocket.disconnect":
                return
            try:
                # A key may end while its stream is open.
                connection.principal = await self._services.gate.principal(connection.websocket.scope, STREAMING)
                connection.principal.require_devices((connection.device_id,))
            except ApiError as error:
                await connection.dismiss(Closing.POLICY, error.code, error.message)
                return
            self._received += 1
            answer = await self._answer(connection, event.get("text"))
            if answer is not None:
                self._services.metrics.websocket_messages.labels(answer.get("status", "ok")).inc()
                await connection.answer(answer)
                if answer.get("code") == Code.RATE_LIMITED:
                    # What comes meanwhile stays with the client.
                    await asyncio.sleep(min(answer["retry_after_seconds"], LONGEST_PAUSE_SECONDS))

    async def _answer(self, connection: Connection, text: str | None) -> dict[str, Any] | None:
        """The answer to one message, which is None when it was binary; None when it needs none."""
        started = perf_counter()
        scope = connection.websocket.scope
        context = RequestContext(scope["headers"])
        context.request_id = scope[CONTEXT].request_id
        context.idempotency_key = None
        context.principal = connection.principal
        CURRENT.set(context)
        if self._tracing is not None:
            self._tracing.begin(context)
        answer = await self._answered(connection, text, context)
        code = None if answer is None else answer.get("code")
        if code is not None:
            log.info("message_refused", path=ROUTE, code=str(code))
        if self._tracing is not None:
            self._tracing.message(context, ROUTE, perf_counter() - started, code and str(code))
        return answer

    async def _answered(
        self, connection: Connection, text: str | None, context: RequestContext
    ) -> dict[str, Any] | None:
        item: Any = None
        try:
            if text is None:
                says = "Binary frames are not supported; send JSON text with the audio in base64"
                raise StreamError(StreamCode.BINARY_NOT_SUPPORTED, says)
            item = parse_json(text.encode("utf-8", "surrogatepass"))
            return await self._dispatch(connection, item, context)
        except ApiError as error:
            self._services.metrics.rejected(error.code)
            code = StreamCode.INVALID_FORMAT if next(iter(error.details), None) == "format" else error.code
            return error_message(code, error.message, error, _message_id(item))
        except StreamError as error:
            self._services.metrics.rejected(error.code)
            return error_message(error.code, str(error), None, _message_id(item))
        except Exception as error:
            log.error("stream_failed", path=ROUTE, **where(error))
            return error_message(Code.INTERNAL_ERROR, "The service failed and may not have stored it")

    async def _dispatch(self, connection: Connection, item: Any, context: RequestContext) -> dict[str, Any] | None:
        if not isinstance(item, dict):
            raise StreamError(StreamCode.INVALID_MESSAGE, "A message must be a JSON object")
        kind, data = item.get("message_type", item.get("type")), item.get("data")
        if kind is None and ("chunk_data" in item or isinstance(data, str)):
            return await self._take(connection, item, context)
        if kind == "audio_chunk":
            if not isinstance(data, dict):
                raise StreamError(StreamCode.INVALID_MESSAGE, "Field 'data' of an audio_chunk must be an object")
            return await self._take(connection, {k: item[k] for k in _ENVELOPE if k in item} | data, context)
        if kind == "ping":
            sent = data.get("timestamp") if isinstance(data, dict) else None
            now = timestamp_text(datetime.now(UTC))
            return {
                "message_type": "pong",
                "data": {"timestamp": sent if sent is not None else now, "server_time": now},
            }
        if kind == "pong":
            return None
        says = f"Field 'message_type' is {echo(kind)!r}: those known are audio_chunk, ping and pong"
        raise StreamError(StreamCode.UNKNOWN_MESSAGE_TYPE, says)

    async def _take(self, connection: Connection, item: dict[str, Any], context: RequestContext) -> dict[str, Any]:
        """The acknowledgement of one chunk, when the broker has it."""
        services = self._services
        if item.get("device_id", connection.device_id) != connection.device_id:
            says = f"Field 'device_id' is {echo(item['device_id'])!r}: this connection is of {connection.device_id!r}"
            raise StreamError(StreamCode.DEVICE_MISMATCH, says)
        message = check(parse_chunk(to_json(item | {"device_id": connection.device_id})), AUDIO_RAW, services.settings)
        message = identified(services, AUDIO_RAW, message, context)
        if services.limits is not None:
            services.limits.message(context)
        await admit(services, context, message.device_id)
        await send(services, AUDIO_RAW, message, context)
        return {
            "type": "ack",
            "message_id": str(message.message_id),
            "status": "success",
            "topic": AUDIO_RAW.name,
            "timestamp": timestamp_text(message.timestamp),
        }


class StreamError(Exception):
    """A message that cannot be taken; the connection goes on."""

    def __init__(self, code: StreamCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def error_message(
    code: Code | StreamCode, message: str, error: ApiError | None = None, message_id: Any = None
) -> dict[str, Any]:
    """The guide's error message; with the message_id, details and seconds to wait, where there are some."""
    answer: dict[str, Any] = {
        "type": "error",
        "status": "error",
        "message": message,
        "code": code,
        "timestamp": timestamp_text(datetime.now(UTC)),
    }
    if message_id is not None:
        answer["message_id"] = message_id
    if error is not None and error.details:
        answer["details"] = error.details
    if error is not None and "Retry-After" in error.headers:
        answer["retry_after_seconds"] = int(error.headers["Retry-After"])
    return answer


def _message_id(item: Any) -> Any:
    """What the client calls its message, to find it again."""
    if not isinstance(item, dict):
        return None
    inner = item.get("data")
    found = item.get("message_id", inner.get("message_id") if isinstance(inner, dict) else None)
    return echo(found) if isinstance(found, str) else None
