"""What every connection is held to: how long it may take, how many there may be, how much they may hold together.

One sweep looks at all connections a few times a second; a request that comes whole costs nothing for it.
"""

import asyncio
from enum import Enum, StrEnum
from typing import Final, Protocol

from loom_ingest.errors import ApiError, Code, OverloadedError
from loom_ingest.logging import log
from loom_ingest.metrics import Metrics
from loom_ingest.settings import MEBIBYTE, Settings

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that are answered when there are too many connections, too: whoever watches the service must see it then."""
BODY_GRACE_SECONDS: Final = 5.0
"""From when on a body must come at the least rate; before, the client may still be waking its network up."""
LINGER_SECONDS: Final = 2.0
"""How long what a refused client still sends is read and thrown away, so that it gets to read why."""
MOST_PIPELINED: Final = 16
"""Requests that may wait for their turn on one connection; those after them are not answered."""
TELL_SECONDS: Final = 10.0
"""How often the log tells of refused connections; never one line for each."""
_SLOWEST_SWEEP: Final = 0.5


class Closed(StrEnum):
    """Why the service ended a connection."""

    IDLE = "idle"
    SLOW_HEADERS = "slow_headers"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"
    HEADERS_TOO_LARGE = "headers_too_large"
    FRAME_TOO_LARGE = "frame_too_large"
    MALFORMED = "malformed"
    PIPELINE = "pipeline"
    MEMORY = "memory"
    TOO_MANY = "too_many_connections"


class Room(Enum):
    """Whether there is room for one more connection; with RESERVE only probes are answered on it."""

    FREE = "free"
    RESERVE = "reserve"
    NONE = "none"


class Watched(Protocol):
    """A connection, as the sweep sees it."""

    def check(self, now: float) -> None:
        """End the connection when its time is over at `now`, on the loop's clock."""


class Guard:
    """The limits of one worker process, and what its connections hold now: `held` bytes that came and are not done."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.header_seconds = settings.header_timeout_seconds
        self.body_seconds = settings.body_timeout_seconds
        self.body_rate = settings.body_min_bytes_per_second
        self.keep_alive_seconds = settings.keep_alive_seconds
        self.max_header_bytes = settings.max_header_bytes
        self.max_connections = settings.max_connections
        self.max_held = settings.max_buffered_bytes
        # What one request can hold; a longer body is written to a file as it comes.
        self.max_held_of_one = max(
            settings.max_body_bytes, settings.max_audio_body_bytes, settings.max_import_body_bytes
        )
        self.held = 0
        self._reserve = max(16, settings.max_connections // 10)
        self._metrics = metrics
        self._watched: set[Watched] = set()
        shortest = min(self.header_seconds, self.body_seconds, self.keep_alive_seconds)
        self._interval = max(0.02, min(_SLOWEST_SWEEP, shortest / 4))
        self._sweeping = False
        self._untold: dict[Closed, int] = {}
        self._told = float("-inf")
        metrics.connections.set_function(lambda: len(self._watched))
        metrics.connections_held.set_function(lambda: self.held)

    def join(self, connection: Watched, loop: asyncio.AbstractEventLoop) -> Room:
        """Watch `connection` from now on, unless there is no room at all."""
        count = len(self._watched)
        if count >= self.max_connections + self._reserve:
            return Room.NONE
        self._watched.add(connection)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(self._interval, self._sweep, loop)
        return Room.FREE if count < self.max_connections else Room.RESERVE

    def body_overdue(self, seconds: float, size: int) -> bool:
        """Whether a body of which `size` bytes came in `seconds` is too slow."""
        if seconds > self.body_seconds * (1 + size // MEBIBYTE):
            return True
        return seconds > BODY_GRACE_SECONDS and size < self.body_rate * (seconds - BODY_GRACE_SECONDS)

    def leave(self, connection: Watched) -> None:
        """Watch `connection` no more."""
        self._watched.discard(connection)

    def closed(self, reason: Closed, code: Code | None = None) -> None:
        """Count a connection that was ended, and the refusal it was told, where it was told one."""
        self._metrics.connections_closed.labels(reason.value).inc()
        if code is not None:
            self._metrics.rejected(code)
        if reason is not Closed.IDLE:
            self._untold[reason] = self._untold.get(reason, 0) + 1

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self._watched):
            connection.check(now)
        if self._untold and now - self._told >= TELL_SECONDS:
            log.warning("connections_closed", **{reason.value: count for reason, count in self._untold.items()})
            self._untold.clear()
            self._told = now
        self._sweeping = bool(self._watched)
        if self._sweeping:
            loop.call_later(self._interval, self._sweep, loop)


class Outflow:
    """Whether a client takes what it is sent: at the least rate of a body, while the writer waits for it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._since: float | None = None
        self._left = 0

    def flows(self) -> None:
        """The writer does not wait, or not any more."""
        self._since = None

    def stuck(self, now: float, left: int) -> bool:
        """Whether the client took too little of what waits for it; `left` bytes of that do now."""
        if self._since is not None and now - self._since <= self._guard.body_seconds:
            return False
        if self._since is not None and self._left - left < self._guard.body_rate * self._guard.body_seconds:
            return True
        self._since, self._left = now, left
        return False


# The refusals; every one ends its connection.


def slow_headers(guard: Guard) -> ApiError:
    """The 408 of headers that take too long."""
    return _timeout(f"The headers were not complete after {guard.header_seconds:g} seconds")


def slow_body(guard: Guard) -> ApiError:
    """The 408 of a body that takes too long."""
    return _timeout(
        f"The body must come within {guard.body_seconds:g} seconds for each MiB of it, with {guard.body_rate} bytes a "
        "second or more"
    )


def headers_too_large(guard: Guard) -> ApiError:
    """The 431."""
    return ApiError(
        431,
        Code.HEADERS_TOO_LARGE,
        f"The request's line and headers are larger than {guard.max_header_bytes} bytes; send fewer",
        details={"limit_bytes": guard.max_header_bytes},
        headers={"Connection": "close"},
    )


def malformed() -> ApiError:
    """The 400 of what is not HTTP/1.1."""
    return ApiError(
        400,
        Code.MALFORMED_REQUEST,
        "This is not a valid HTTP/1.1 request; the API is at http://, and takes no other protocol on this port",
        headers={"Connection": "close"},
    )


def too_many_connections(guard: Guard) -> ApiError:
    """The 503 of a full server."""
    return ApiError(
        503,
        Code.TOO_MANY_CONNECTIONS,
        f"{guard.max_connections} connections are open; keep the data and send it again after Retry-After seconds",
        details={"limit": guard.max_connections},
        headers={"Retry-After": "2", "Connection": "close"},
    )


def too_much_held(guard: Guard) -> ApiError:
    """The 503 when the bodies that are being received are more than fit."""
    error = OverloadedError(f"More than {guard.max_held} bytes are being received; send it again, or in smaller pieces")
    error.headers["Connection"] = "close"
    return error


def _timeout(message: str) -> ApiError:
    details = {"remedy": "send it again, on a better connection or in smaller pieces"}
    return ApiError(408, Code.REQUEST_TIMEOUT, message, details=details, headers={"Connection": "close"})
