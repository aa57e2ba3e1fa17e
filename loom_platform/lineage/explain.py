"""`loom explain` over a connection of the platform; what it asks is `loom_ingest.lineage.tree`."""

from datetime import date
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from loom_contracts.topic import Topic
from loom_ingest.lineage import tree
from loom_ingest.lineage.tree import Explained, Node, NoSuchRowError, Steps, T
from loom_platform.errors import PlatformError

__all__ = ["ExplainError", "Explained", "Node", "explain", "find"]

Connection = psycopg.Connection[Any]


class ExplainError(PlatformError):
    """There is no such row."""


def explain(
    connection: Connection, message_id: UUID, *, topic: Topic | None = None, day: date | None = None
) -> Explained:
    """The trees of the row `message_id`; raises ExplainError when there is none.

    `topic` and `day` (UTC) make it quick: otherwise every table is searched, from the newest day back.
    """
    return _answered(connection, tree.explain(message_id, topic=topic, day=day))


def find(
    connection: Connection, message_id: UUID, *, topic: Topic | None = None, day: date | None = None
) -> tuple[Topic, dict[str, Any]]:
    """Topic and row of `message_id`; raises ExplainError when there is none."""
    return _answered(connection, tree.find(message_id, topic=topic, day=day))


def _answered(connection: Connection, steps: Steps[T]) -> T:
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            ask = next(steps)
            while True:
                ask = steps.send(cursor.execute(ask.query, ask.values).fetchall())
        except StopIteration as done:
            found: T = done.value
            return found
        except NoSuchRowError as error:
            raise ExplainError(str(error)) from None
