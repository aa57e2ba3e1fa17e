"""The service's pool: bounded, its sessions held to time-outs, what repeats is prepared."""

import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from loom_ingest.database import POOL_TIMEOUT_SECONDS, Database
from loom_ingest.errors import DatabaseUnavailableError

pytestmark = pytest.mark.integration


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=1)
    await database.open()
    yield database
    await database.close()


async def test_who_finds_no_free_connection_is_told_so_in_time(database: Database) -> None:
    async with database.connection():
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailableError):
            async with database.connection():
                pass
        assert POOL_TIMEOUT_SECONDS - 0.1 <= time.monotonic() - began < 4 * POOL_TIMEOUT_SECONDS
    async with database.connection() as connection:
        await connection.execute("SELECT 1")


async def test_a_statement_or_transaction_that_takes_too_long_is_ended(database: Database) -> None:
    async with database.connection() as connection:
        limits = {}
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            row = await (await connection.execute(f"SHOW {name}")).fetchone()
            assert row is not None
            limits[name] = row[name]
        assert limits == {"statement_timeout": "5s", "idle_in_transaction_session_timeout": "10s"}
        await connection.execute("SET statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT pg_sleep(5)")


async def test_what_repeats_is_prepared(database: Database) -> None:
    async with database.connection() as connection:
        for number in range(8):
            await connection.execute("SELECT name FROM devices WHERE device_id = %s", (f"phone-{number}",))
        row = await (await connection.execute("SELECT count(*) AS n FROM pg_prepared_statements")).fetchone()
        assert row is not None
        assert row["n"] >= 1
