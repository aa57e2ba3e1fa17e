"""HTTP/1.1 on one connection: uvicorn's protocol over httptools, held to the guard's limits.

It is in one of these states: a new connection that has sent nothing; headers that are not complete; a body that is
not complete; a whole request that the application answers; idle between requests; deaf, when nothing more of what the
client sends is looked at. The guard's sweep calls `check`, which ends what stays in a state too long.
"""

import asyncio
import urllib.parse
import uuid
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from loom_ingest.errors import ApiError
from loom_ingest.server.cycle import STATUS_LINES, Cycle
from loom_ingest.server.guard import (
    LINGER_SECONDS,
    MOST_PIPELINED,
    PROBES,
    Closed,
    Guard,
    Outflow,
    Room,
    headers_too_large,
    malformed,
    slow_body,
    slow_headers,
    too_many_connections,
    too_much_held,
)

_NOTHING, _HEADERS, _BODY = 0, 1, 2
_SLICE: Final = 16_384
"""What is parsed at a time of what came at once, so that limits are looked at in between."""
_HTTP_1_1: Final = "1.1"


class LoomProtocol(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.guard: Guard = config.loaded_app.state.guard
        self.cycle: Cycle | None = None  # type: ignore[assignment]
        self.waiting: list[Cycle] = []
        self.room = Room.FREE
        self.reading = _NOTHING
        self.deaf = False
        self.ending_since: float | None = None
        self.outflow = Outflow(self.guard)
        # Of the message that is being read and did not come whole: since when, and the bytes of it that came.
        self.since: float | None = None
        self.got = 0
        self.body_bytes = 0
        self.held = 0
        self.checked = self.idle_since = self.loop.time()

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch the connection, or refuse it when there is no room."""
        super().connection_made(transport)
        self.room = self.guard.join(self, self.loop)
        if self.room is Room.NONE:
            self._answer_now(too_many_connections(self.guard), Closed.TOO_MANY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, and let go of what the connection held."""
        self.guard.leave(self)
        self.connections.discard(self)
        self._release(self.held)
        self.deaf = True
        for cycle in (self.cycle, *self.waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnect()
        self.waiting.clear()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]

    def shutdown(self) -> None:
        """End when what came whole is answered."""
        if self.deaf:
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # What comes

    def data_received(self, data: bytes) -> None:
        """Parse it, and look at the limits when the message is not complete with it."""
        if self.deaf:
            return
        try:
            if len(data) <= _SLICE:
                self.parser.feed_data(data)
                if self.reading:
                    self._unfinished(len(data))
                return
            for start in range(0, len(data), _SLICE):
                piece = data[start : start + _SLICE]
                self.parser.feed_data(piece)
                if self.reading:
                    self._unfinished(len(piece))
                if self.deaf:
                    return
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            if not self.deaf:
                self._refuse(malformed(), Closed.MALFORMED)

    def _upgrade(self) -> None:
        if self.deaf or not self._should_upgrade():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # A handshake among pipelined requests; nobody does that.
            self._refuse(malformed(), Closed.MALFORMED)
            return
        self.guard.leave(self)
        self.handle_websocket_upgrade()

    def _unfinished(self, size: int) -> None:
        """A message that is not complete grew by `size` bytes on the wire."""
        if self.since is None:
            self.since, self.got = self.loop.time(), 0
        self.got += size
        if self.reading == _HEADERS:
            if self.got > self.guard.max_header_bytes:
                self._refuse(headers_too_large(self.guard), Closed.HEADERS_TOO_LARGE)
        elif self.got > self.guard.max_header_bytes + 8 * self.body_bytes + _SLICE:
            # More framing and trailers than body.
            self._refuse(malformed(), Closed.MALFORMED)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A message begins."""
        super().on_message_begin()
        self.reading = _HEADERS
        self.since = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; a trailer is not kept."""
        if self.reading != _HEADERS:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin the request, unless there is no room for it."""
        self.reading, self.since, self.body_bytes = _BODY, None, 0
        if self.deaf:
            return
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value) + 4
        if size > self.guard.max_header_bytes:
            self._refuse(headers_too_large(self.guard), Closed.HEADERS_TOO_LARGE)
            return
        scope: Any = self.scope
        version = self.parser.get_http_version()
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != _HTTP_1_1:
            scope["http_version"] = version
        if self.parser.should_upgrade() and self._should_upgrade():
            if self.room is Room.RESERVE:
                self._refuse(too_many_connections(self.guard), Closed.TOO_MANY)
            return
        self._locate(scope)
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        if self.room is Room.RESERVE:
            if scope["path"] not in PROBES:
                self._refuse(too_many_connections(self.guard), Closed.TOO_MANY)
                return
            keep_alive = False
        previous = self.cycle
        if previous is not None and not previous.response_complete and len(self.waiting) >= MOST_PIPELINED:
            self.guard.closed(Closed.PIPELINE)
            self._end_after_answers()
            return
        cycle = self.cycle = Cycle(
            self,
            scope,
            self.server_state.default_headers,
            keep_alive=keep_alive,
            expect_100_continue=self.expect_100_continue,
        )
        if previous is None or previous.response_complete:
            self._begin(cycle)
        else:
            self.flow.pause_reading()
            self.waiting.append(cycle)

    def _locate(self, scope: Any) -> None:
        """Path and query of the request; raises HttpParserInvalidURLError."""
        url = self.url
        if url[:1] == b"/" and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path or b"/", parsed.query or b""
        path = raw_path.decode("ascii")
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"], scope["query_string"] = raw_path, query

    def _begin(self, cycle: Cycle) -> None:
        task = self.loop.create_task(cycle.run(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        """A piece of the body; the client is paused while much of it waits for the application."""
        size = len(body)
        self.body_bytes += size
        cycle = self.cycle
        if self.deaf or cycle is None or cycle.response_complete or cycle.refused is not None:
            return
        if cycle.held < self.guard.max_held_of_one:
            cycle.held += size
            self.held += size
            self.guard.held += size
        if not cycle.body:
            cycle.body = body
        else:
            cycle.body = bytearray(cycle.body) if isinstance(cycle.body, bytes) else cycle.body
            cycle.body += body
        if self.guard.held > self.guard.max_held:
            self._refuse_body(too_much_held(self.guard), Closed.MEMORY)
            return
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.wake()

    def on_message_complete(self) -> None:
        """The message is complete."""
        self.reading = _NOTHING
        cycle = self.cycle
        if not self.deaf and cycle is not None:
            cycle.more_body = False
            cycle.wake()

    # Answers

    def answered(self, cycle: Cycle) -> None:
        """Go on with the next request, wait for one, or end."""
        self.server_state.total_requests += 1
        if cycle.held:
            self._release(cycle.held)
        if self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self._end(linger=self.deaf or bool(self.reading) or bool(self.waiting))
            return
        self.flow.resume_reading()
        if self.waiting:
            self._begin(self.waiting.pop(0))
        else:
            self.idle_since = self.loop.time()

    def _release(self, size: int) -> None:
        self.held -= size
        self.guard.held -= size

    def _refuse_body(self, error: ApiError, reason: Closed) -> None:
        """Have the request that is being read answered with `error`; when it is answered already, just end."""
        cycle = self.cycle
        if self.ending_since is not None:
            return
        self.guard.closed(reason)
        self.deaf = True
        self.ending_since = self.loop.time()
        if cycle is None or cycle.response_complete:
            self._end(linger=False)
        else:
            cycle.refuse(error)

    def _refuse(self, error: ApiError, reason: Closed) -> None:
        """Answer what is no request for the application."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer_now(error, reason)
            self._end(linger=True)
        elif self.reading == _BODY and cycle.more_body:
            self._refuse_body(error, reason)
        else:
            # An answer before its turn would be taken for another's.
            self.guard.closed(reason)
            self._end_after_answers()

    def _answer_now(self, error: ApiError, reason: Closed) -> None:
        self.guard.closed(reason, error.code)
        request_id = str(uuid.uuid4())
        body = error.body(request_id)
        headers = {"content-type": "application/json", "content-length": len(body), "x-request-id": request_id}
        lines = [f"{name}: {value}\r\n" for name, value in (headers | error.headers).items()]
        self.transport.write(STATUS_LINES[error.status] + "".join(lines).encode() + b"\r\n" + body)

    def _end_after_answers(self) -> None:
        self.deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _end(self, *, linger: bool) -> None:
        """Close when what is written is sent; what still comes would make the kernel drop it before it is read."""
        self.deaf = True
        self.ending_since = self.loop.time()
        if not linger or not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()

    def resume_writing(self) -> None:
        """The client took most of what was written."""
        self.outflow.flows()
        super().resume_writing()

    # The sweep

    def check(self, now: float) -> None:
        """End the connection when its time is over."""
        guard, cycle = self.guard, self.cycle
        passed, self.checked = now - self.checked, now
        ending = self.ending_since is not None or self.transport.is_closing()
        left = self.transport.get_write_buffer_size()
        if self.flow.write_paused or (ending and left):
            # What was written is sent, however slowly, before the connection may end.
            self.ending_since = now if ending else None
            if self.outflow.stuck(now, left):
                guard.closed(Closed.SLOW_READER)
                self.transport.abort()
        elif ending:
            self.ending_since = self.ending_since or now
            if now - self.ending_since > LINGER_SECONDS:
                self.transport.abort()
        elif self.flow.read_paused or (cycle is not None and cycle.waiting_for_100_continue):
            # It is the service that has not read, or not asked.
            self.since = self.since and self.since + passed
        else:
            self._check_reading(now, cycle)

    def _check_reading(self, now: float, cycle: Cycle | None) -> None:
        guard = self.guard
        if self.deaf:
            return
        if self.since is not None and self.reading == _HEADERS:
            if now - self.since > guard.header_seconds:
                self._refuse(slow_headers(guard), Closed.SLOW_HEADERS)
        elif self.since is not None and self.reading == _BODY:
            if guard.body_overdue(now - self.since, self.body_bytes):
                self._refuse_body(slow_body(guard), Closed.SLOW_BODY)
        elif cycle is None:
            if now - self.idle_since > guard.header_seconds:
                self._end_idle()
        elif cycle.response_complete and now - self.idle_since > guard.keep_alive_seconds:
            self._end_idle()

    def _end_idle(self) -> None:
        self.guard.closed(Closed.IDLE)
        self._end(linger=False)
