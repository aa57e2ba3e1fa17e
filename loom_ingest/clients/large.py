"""Bodies far larger than those of a device: few of them in memory at a time, the others wait at the door."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Request

from loom_ingest.body import read_json
from loom_ingest.errors import OverloadedError
from loom_ingest.settings import MEBIBYTE

SMALL: Final = MEBIBYTE
"""Bytes of a body that need no place; its length must be announced and it not be compressed."""
AT_ONCE: Final = 2
PATIENCE_SECONDS: Final = 10.0
Reader = Callable[[Request, int], Awaitable[bytes]]


class LargeBodies:
    """The places for large bodies of one app."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def read(self, request: Request, limit: int, reader: Reader = read_json) -> AsyncIterator[bytes]:
        """The body that `reader` reads, no longer than `limit`; the place is kept until the context ends.

        Raises OverloadedError, a 503, when no place is free in time, and what `reader` does.
        """
        if _is_small(request):
            yield await reader(request, limit)
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise OverloadedError("Other large requests are being read; send it again in a moment") from None
        try:
            yield await reader(request, limit)
        finally:
            self._places.release()


def large_bodies(request: Request) -> LargeBodies:
    """The places of the app that answers `request`."""
    found: LargeBodies = request.scope["app"].state.large_bodies
    return found


def _is_small(request: Request) -> bool:
    length: Any = None
    for name, value in request.scope["headers"]:
        if name == b"content-encoding":
            return False
        if name == b"content-length":
            length = value
    return length is not None and int(length) <= SMALL
