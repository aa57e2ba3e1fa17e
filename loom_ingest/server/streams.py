"""A WebSocket on one connection: uvicorn's protocol over websockets, held to the guard's limits.

What came and was not taken by the application counts as held; a frame that is too large, or a message in too many
pieces, ends the connection with a close code that the client gets to read. The time-out of a silent stream is the
application's, in `loom_ingest.stream`.
"""

import asyncio
import logging
from asyncio.transports import BaseTransport
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from loom_ingest.server.guard import LINGER_SECONDS, Closed, Guard, Outflow

EVENT_BYTES: Final = 512
"""What a message costs while it waits, beside its own bytes."""
TRY_AGAIN_LATER: Final = 1013
_REASONS: Final = {1009: Closed.FRAME_TOO_LARGE, TRY_AGAIN_LATER: Closed.MEMORY}


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Its lines at INFO hold the query, and so perhaps a key.
        self.logger = logging.getLogger("loom_ingest.server")
        self.guard: Guard = config.loaded_app.state.guard
        self.close_timeout = LINGER_SECONDS
        self.held = 0
        self.deaf = False
        self.ending_since: float | None = None
        self.outflow = Outflow(self.guard)

    def connection_made(self, transport: BaseTransport) -> None:
        """Take the place of the connection that brought the handshake."""
        super().connection_made(transport)
        self.guard.join(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what the connection held."""
        self.guard.leave(self)
        self._release()
        self.deaf = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self.deaf:
            return
        self.held += len(data)
        self.guard.held += len(data)
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_complete:
            # uvicorn waits for ever for the rest of headers that websockets gave up.
            self.handshake_complete = self.deaf = True
            self.guard.closed(Closed.MALFORMED)
            self.transport.close()
        elif self.guard.held > self.guard.max_held and not self.deaf:
            self._fail(TRY_AGAIN_LATER, "too much is being received")

    def send_receive_event_to_app(self) -> None:
        """Hand a message over."""
        self.held += EVENT_BYTES
        self.guard.held += EVENT_BYTES
        super().send_receive_event_to_app()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; what came before it is not held any more."""
        event = await super().receive()
        if self.queue.empty():
            self._release()
        return event

    def handle_parser_exception(self) -> None:
        """Close with the code of what was wrong, and read on for a moment so that the client gets to see it."""
        sent = self.conn.close_sent
        if sent is None or self.deaf:
            self.transport.close()
            return
        self.guard.closed(_REASONS.get(sent.code, Closed.MALFORMED))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
        self.close_sent = self.deaf = True
        self.ending_since = self.loop.time()
        self.transport.write(b"".join(self.conn.data_to_send()))
        # With a timer set, uvicorn does not close the connection as soon as the application is done with it.
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def resume_writing(self) -> None:
        """The client took most of what was written."""
        self.outflow.flows()
        super().resume_writing()

    def check(self, now: float) -> None:
        """Cut a client that takes nothing, or that does not let the connection end."""
        ending = self.ending_since is not None or self.transport.is_closing()
        if not self.writable.is_set():
            self.ending_since = now if ending else None
            if self.outflow.stuck(now, self.transport.get_write_buffer_size()):
                self.guard.closed(Closed.SLOW_READER)
                self.transport.abort()
        elif ending:
            self.ending_since = self.ending_since or now
            if now - self.ending_since > 2 * LINGER_SECONDS:
                self.transport.abort()

    def _fail(self, code: int, reason: str) -> None:
        if self.handshake_complete and not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def _release(self) -> None:
        self.guard.held -= self.held
        self.held = 0
