"""The walk over the service's own database connections, for as long as a request may take."""

import asyncio
from typing import Final

from loom_ingest.database import Database
from loom_ingest.errors import ApiError, Code
from loom_ingest.lineage.tree import NoSuchRowError, Steps, T

LONGEST_SECONDS: Final = 8.0
"""A search over every table can take long; a person who waits for it knows the topic or the day."""
AT_ONCE: Final = 2
"""Walks that may be under way together, so that the service's other questions find a connection."""


class Lineage:
    """Answers where rows came from, out of `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answered(self, steps: Steps[T]) -> T:
        """What the walk ends with.

        Raises ApiError: 404 when there is no such row, 422 when the search takes too long, 503 without a database.
        """
        try:
            async with asyncio.timeout(LONGEST_SECONDS), self._turns, self._database.connection() as connection:
                try:
                    ask = next(steps)
                    while True:
                        rows = await (await connection.execute(ask.query, ask.values)).fetchall()
                        ask = steps.send(rows)
                except StopIteration as done:
                    found: T = done.value
                    return found
                except NoSuchRowError as error:
                    raise ApiError(404, Code.ROW_NOT_FOUND, str(error)) from None
        except TimeoutError:
            remedy = "say where the row is with ?topic= and ?day=, or ask `loom explain`"
            raise ApiError(
                422,
                Code.INVALID_VALUE,
                f"The search took longer than {LONGEST_SECONDS:g} s; {remedy}",
                details={"topic": remedy},
                detail=[{"type": "value_error", "loc": ["query", "topic"], "msg": remedy, "input": None}],
            ) from None
