"""Roll-ups: those of imported rows are counted anew, those that outlived their rows are taken over."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_platform import rollups
from loom_platform.export.catalogue import Exported
from loom_platform.export.staging import STAGED, ParquetRows

Connection = psycopg.Connection[Any]

_FREEZE: Final = "UPDATE rollup_tables SET frozen_before = greatest(frozen_before, %s) WHERE table_name = %s"
_TAKE: Final = """
INSERT INTO {store} ({n}) SELECT {n} FROM {s} AS s WHERE NOT EXISTS (SELECT FROM {store} AS k WHERE {same})
"""
_DAY: Final = timedelta(days=1)


def mark(connection: Connection, table: str, rows: ParquetRows) -> None:
    """Have the roll-ups of these rows counted anew."""
    for device, (first, last) in rows.spans.items():
        rollups.mark(connection, table, device, first, last)


def take(connection: Connection, table: Exported, rows: ParquetRows) -> int:
    """The staged minutes into what is kept of the roll-up, those that are there already left alone: how many were new.

    Their days are frozen, so that nothing counts them anew from rows that are not there; hours come of the minutes.
    """
    if table.rolled_up is None or not rows.spans:
        return 0
    connection.execute("SELECT loom_lock_rollup(%s)", (table.rolled_up,))
    connection.execute(_FREEZE, (_end_of_day(max(last for _, last in rows.spans.values())), table.rolled_up))
    found = connection.execute("SELECT loom_rollup_store(%s, 'minute')", (table.rolled_up,)).fetchone()
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("k", c), sql.Identifier("s", c)) for c in table.key
    )
    new = connection.execute(
        sql.SQL(_TAKE).format(
            store=sql.SQL("" if found is None else found[0]), n=rows.names, s=sql.Identifier(STAGED), same=same
        )
    ).rowcount
    if new:
        mark(connection, table.rolled_up, rows)
    return new


def _end_of_day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
