"""One request and its answer between the connection and the application: uvicorn's cycle, shorter.

The answer's head goes out with its first piece of body, in one write; `receive` raises what the connection's guard
found, so that the application answers it like any other refusal.
"""

import asyncio
import http
import logging
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl

from loom_ingest.errors import ApiError

logger = logging.getLogger("uvicorn.error")

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}
_BODILESS: Final = (204, 304)


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop

    def answered(self, cycle: "Cycle") -> None:
        """The answer of `cycle` is complete."""


class Cycle:
    """One request; `body` grows while it comes, `more_body` is whether it is not complete."""

    __slots__ = (
        "_chunked",
        "_head",
        "_left",
        "_ready",
        "_waiter",
        "body",
        "connection",
        "default_headers",
        "disconnected",
        "flow",
        "held",
        "keep_alive",
        "more_body",
        "refused",
        "response_complete",
        "response_started",
        "scope",
        "transport",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        connection: Connection,
        scope: Scope,
        default_headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        expect_100_continue: bool,
    ) -> None:
        self.connection = connection
        self.transport = connection.transport
        self.flow = connection.flow
        self.scope = scope
        self.default_headers = default_headers
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_100_continue
        self.disconnected = False
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.held = 0
        self.refused: ApiError | None = None
        self.response_started = False
        self.response_complete = False
        self._head = b""
        self._chunked = False
        self._left = 0
        self._ready = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Something came for `receive`."""
        self._ready = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def refuse(self, error: ApiError) -> None:
        """Have the application's next `receive` raise `error`; the connection ends with the answer."""
        self.refused = error
        self.keep_alive = False
        self.wake()

    def disconnect(self) -> None:
        """The client is gone."""
        self.disconnected = True
        self.wake()

    async def run(self, app: ASGIApp) -> None:
        """Have `app` answer; whatever it does, the connection is not left without an end."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            # What it was about is logged by the application's own middleware; its text may hold anything.
            logger.error("the application failed")
        except BaseException:
            self.transport.close()
            raise
        if not self.response_complete and not self.disconnected:
            if self.response_started:
                self.transport.close()
            else:
                await self._fail()

    async def _fail(self) -> None:
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body"})

    async def receive(self) -> Message:
        """The next piece of the body; raises the ApiError when the guard refused the request."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self._ready:
                self._waiter = self.connection.loop.create_future()
                await self._waiter
                self._waiter = None
            self._ready = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        if self.refused is not None:
            raise self.refused
        message = {"type": "http.request", "body": bytes(self.body), "more_body": self.more_body}
        self.body = b""
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the answer."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            _expect("http.response.start", kind)
            self._start(message)
        elif not self.response_complete:
            _expect("http.response.body", kind)
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind!r} was sent after the answer was complete")

    def _start(self, message: Message) -> None:
        status = message["status"]
        self.waiting_for_100_continue = False
        lines = [STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
        length = chunked = closing = None
        for name, value in (*self.default_headers, *message.get("headers", ())):
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                chunked = True
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive, closing = False, True
            lines.append(b"%b: %b\r\n" % (name, value))
        if not self.keep_alive and not closing:
            lines.append(b"connection: close\r\n")
        if length is None and not chunked and status not in _BODILESS and self.scope["method"] != "HEAD":
            chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header of the answer holds a line break")
        self.response_started = True
        self._head = head + b"\r\n"
        self._chunked, self._left = bool(chunked), length or 0

    def _continue(self, body: bytes, *, more: bool) -> None:
        data = self._head
        self._head = b""
        if self.scope["method"] == "HEAD":
            self._left = 0
        elif self._chunked:
            if body:
                data += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                data += b"0\r\n\r\n"
        else:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("the answer is longer than its Content-Length")
            data += body
        if data:
            self.transport.write(data)
        if not more:
            if self._left:
                raise RuntimeError("the answer is shorter than its Content-Length")
            self.response_complete = True
            self.wake()
            self.connection.answered(self)


def _expect(wanted: str, kind: str) -> None:
    if kind != wanted:
        raise RuntimeError(f"{wanted!r} was expected, not {kind!r}")
