"""Keeps the leases of a run while its batches last, however long they are. A stopped process stops it, too."""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import psycopg

from loom_platform.stream.database import connect

log = logging.getLogger(__name__)

_RENEW = """
UPDATE stream_leases SET expires_at = now() + %(duration)s
WHERE holder = %(holder)s AND shard = %(shard)s AND stage = ANY(%(stages)s)
"""
_BEATS_PER_LEASE = 3


class Heartbeat:
    """Renews the leases that `holder` has of `stages`, over a connection of its own, until the context ends.

    A lease that another run has taken stays with that run. A database that is away is asked again at the next beat.
    """

    def __init__(self, database_url: str, holder: str, shard: int, stages: Sequence[str], duration: timedelta) -> None:
        self._url = database_url
        self._values = {"holder": holder, "shard": shard, "stages": list(stages), "duration": duration}
        self._pause = duration.total_seconds() / _BEATS_PER_LEASE
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._done.wait(self._pause):
            try:
                connection = connection or connect(self._url, "loom heartbeat")
                connection.execute(_RENEW, self._values)
            except psycopg.Error as error:
                log.warning("leases could not be renewed: %s", str(error).splitlines()[0])
                if connection is not None:
                    with suppress(psycopg.Error):
                        connection.close()
                connection = None
        if connection is not None:
            connection.close()
