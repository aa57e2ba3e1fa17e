"""Logs as JSON lines on standard output, Loom's own and its libraries'. They never hold payloads.

A line has `timestamp`, `level`, `message`, `service` and `logger`; one that is written while a request is served has
its `request_id` and `trace_id` too, whoever writes it.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog

from loom_ingest import SERVICE
from loom_ingest.trace import CURRENT

QUIET: Final = {
    "asyncio": "WARNING",
    # At DEBUG aiokafka writes every key and value; above it, one line per failed attempt. The producer logs the
    # changes of state instead.
    "aiokafka": "CRITICAL",
    # One line per failed attempt; the register of devices says once that its database is away.
    "psycopg.pool": "ERROR",
    # The same of the spans' collector, which loom_ingest.telemetry tells of; and what it answers may be anything.
    "opentelemetry": "CRITICAL",
    "urllib3": "WARNING",
    # At DEBUG they write the frames and the parts of what came.
    "uvicorn.error": "INFO",
    # One line for each stream, with its query, where a key may be.
    "loom_ingest.server": "WARNING",
    "websockets": "INFO",
    "python_multipart": "INFO",
}
"""Libraries that would say too much, and from which level on they may speak."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("loom_ingest")


def configure_logging(level: str) -> None:
    """Send structlog and the standard library's logging through one JSON renderer, from `level` up."""
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        with_identity,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(sort_keys=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").propagate = False
    for name in ("uvicorn.error", "loom_ingest.server"):
        logging.getLogger(name).addFilter(_without_query)
    for name, least in QUIET.items():
        # A logger's own level takes the place of the root's.
        logging.getLogger(name).setLevel(max(logging.getLevelName(least), root.level))


def _without_query(line: logging.LogRecord) -> bool:
    """Leave out uvicorn's lines of WebSockets: they have the query, and so a key that came as `?token=`."""
    return '"WebSocket ' not in str(line.msg)


def with_identity(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the service's name, and the ids of the request that is served."""
    line["service"] = SERVICE
    context = CURRENT.get()
    if context is not None:
        line.setdefault("request_id", context.request_id)
        line.setdefault("trace_id", context.trace_id)
    return line


def where(error: BaseException) -> dict[str, Any]:
    """What to log of an unexpected error: its type and its place in the code; its message may hold a payload."""
    trace: TracebackType | None = error.__traceback__
    frames = traceback.extract_tb(trace)[-12:]
    return {
        "error_type": type(error).__qualname__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
