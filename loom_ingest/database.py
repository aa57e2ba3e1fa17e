"""PostgreSQL, as far as the service needs it: a small pool that opens without it. Ingest goes on when it is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from loom_ingest.errors import DatabaseUnavailableError

POOL_TIMEOUT_SECONDS: Final = 2.0
CLOSE_TIMEOUT_SECONDS: Final = 0.5
CONNECT_TIMEOUT_SECONDS: Final = 3
STATEMENT_TIMEOUT_MS: Final = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 10_000
OPTIONS: Final = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC "
    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
)
MOST_WAITING: Final = 200
"""Requests that may wait for a connection at once; more are told at once that the database is not available."""


class Database:
    """The database at `url`; each use of it may raise DatabaseUnavailableError, a 503."""

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self._url = url
        self._pool_size = pool_size
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] | None = None

    async def open(self) -> None:
        """Begin to connect; returns at once, with the database away too."""
        self._pool = AsyncConnectionPool(
            self._url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "loom-ingest",
                "options": OPTIONS,
            },
            min_size=1,
            max_size=self._pool_size,
            max_waiting=MOST_WAITING,
            open=False,
            timeout=POOL_TIMEOUT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            name="loom-ingest",
        )
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._pool is not None:
            await self._pool.close(timeout=CLOSE_TIMEOUT_SECONDS)
            self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """A connection in autocommit whose rows are dicts; raises DatabaseUnavailableError."""
        if self._pool is None:
            raise DatabaseUnavailableError("the service has not opened it")
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.errors.UndefinedTable as error:
            raise DatabaseUnavailableError("a table is not there; run `loom db migrate`") from error
        except (psycopg.Error, PoolTimeout, PoolClosed, OSError) as error:
            raise DatabaseUnavailableError(type(error).__name__) from error
