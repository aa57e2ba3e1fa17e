"""Days that retention took where an export comes from: they are not computed again here either."""

from typing import Any, Final

import psycopg
from psycopg import sql

from loom_platform.export.catalogue import TABLES
from loom_platform.export.staging import STAGED

_WITH_ROWS: Final = """
DELETE FROM {s} AS s WHERE table_name = {name} AND EXISTS (
    SELECT FROM {t} AS t WHERE t.timestamp >= s.day::timestamp AT TIME ZONE 'UTC'
                           AND t.timestamp < (s.day + 1)::timestamp AT TIME ZONE 'UTC')
"""


def leave_out_days_with_rows(connection: psycopg.Connection[Any]) -> None:
    """Remove the staged days that have rows here: those can be computed again. Before the export's rows come."""
    named = {name for (name,) in connection.execute(f"SELECT DISTINCT table_name FROM {STAGED}").fetchall()}
    for table in TABLES:
        if table.topic is not None and table.name in named:
            connection.execute(
                sql.SQL(_WITH_ROWS).format(
                    s=sql.Identifier(STAGED), name=sql.Literal(table.name), t=sql.Identifier(table.name)
                )
            )
