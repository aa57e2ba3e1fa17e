"""uvicorn with Loom's protocols: how it is configured, and what the process is allowed."""

import resource
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from loom_ingest.server.protocol import LoomProtocol
from loom_ingest.server.streams import StreamProtocol
from loom_ingest.settings import Settings

OTHER_FILES: Final = 512
"""Open files beside connections: the broker's and the database's, the spool's segments, modules."""


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """The arguments of `uvicorn.run` and `uvicorn.Config`, the application aside."""
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": LoomProtocol,
        "log_config": None,
        "log_level": settings.log_threshold.lower(),
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "ws": StreamProtocol,
        # A frame of a stream is one chunk of audio; what is longer ends the connection with 1009.
        "ws_max_size": settings.stream_max_frame_bytes,
        # One read of compressed frames may hold a thousand times its size, before anyone can pause the client.
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": max(1, round(settings.shutdown_timeout_seconds)),
    }


def serve(application: str | Callable[[], ASGIApp], settings: Settings) -> None:
    """Serve the application that this factory makes, until the process is told to end."""
    allow_files(settings.max_connections)
    uvicorn.run(application, factory=True, workers=settings.workers, **uvicorn_options(settings))


def allow_files(connections: int) -> int:
    """Let this process open a file for each connection, as far as the system allows; the limit that holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A tenth more are let in for the probes.
    wanted = connections + connections // 10 + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
