"""Bodies that bring thousands of records: so many bytes of them at a time, the others wait at the door."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request

from loom_ingest.body import read_json
from loom_ingest.errors import OverloadedError

Reader = Callable[[Request, int], Awaitable[bytes]]

SMALL: Final = 64 * 1024
"""Bytes of a body that need no room; its length must be announced and it not be compressed."""
PATIENCE_SECONDS: Final = 10.0


class LargeBodies:
    """The room for large bodies of one app: `room` bytes of JSON, each of which is five to eight bytes of objects."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._free = room
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def read(self, request: Request, limit: int, reader: Reader = read_json) -> AsyncIterator[bytes]:
        """The body that `reader` reads, no longer than `limit`; its room is kept until the context ends.

        Raises OverloadedError, a 503, when there is no room in time, and what `reader` does.
        """
        size = min(_size(request, limit), self._room)
        if size <= SMALL:
            yield await reader(request, limit)
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._take(size)
        except TimeoutError:
            raise OverloadedError("Other large requests are being read; send it again in a moment") from None
        try:
            yield await reader(request, limit)
        finally:
            self._free += size
            self._freed.set()

    async def _take(self, size: int) -> None:
        # In the order in which they came, so that a large one is not passed by for ever.
        async with self._turn:
            while self._free < size:
                self._freed.clear()
                await self._freed.wait()
            self._free -= size


def large_bodies(request: Request) -> LargeBodies:
    """The room of the app that answers `request`."""
    found: LargeBodies = request.scope["app"].state.large_bodies
    return found


def _size(request: Request, limit: int) -> int:
    """Bytes that the body may have: as announced, or as many as are allowed."""
    length = limit
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            return limit
        if name == b"content-length":
            length = min(int(value), limit)
    return length
