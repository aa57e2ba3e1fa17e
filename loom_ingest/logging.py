"""Logs as JSON lines on standard output, Loom's own and its libraries'. They never hold payloads."""

import logging
import sys
import traceback
from types import TracebackType
from typing import Any

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("loom_ingest")


def configure_logging(level: str) -> None:
    """Send structlog and the standard library's logging through one JSON renderer, from `level` up."""
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
    logging.getLogger("asyncio").setLevel("WARNING")
    # At DEBUG aiokafka writes every key and value; above it, one line per failed attempt. The producer logs the
    # changes of state instead.
    logging.getLogger("aiokafka").setLevel("CRITICAL")
    # One line per failed attempt; the register of devices says once that its database is away.
    logging.getLogger("psycopg.pool").setLevel("ERROR")


def where(error: BaseException) -> dict[str, Any]:
    """What to log of an unexpected error: its type and its place in the code; its message may hold a payload."""
    trace: TracebackType | None = error.__traceback__
    frames = traceback.extract_tb(trace)[-12:]
    return {
        "error_type": type(error).__qualname__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
