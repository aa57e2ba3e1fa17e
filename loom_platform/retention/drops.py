"""Days that went by retention, remembered: they are not computed again, which would take their answers back."""

from datetime import date
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_NOTE = """
INSERT INTO retention_drops (table_name, day, row_count, bytes) VALUES (%s, %s, %s, %s)
ON CONFLICT (table_name, day) DO UPDATE SET row_count = retention_drops.row_count + EXCLUDED.row_count,
    bytes = retention_drops.bytes + EXCLUDED.bytes, dropped_at = now()
"""
_BETWEEN = "SELECT day FROM retention_drops WHERE table_name = %s AND day BETWEEN %s AND %s ORDER BY day"


def note(connection: Connection, table: str, day: date, rows: int, size: int) -> None:
    """Remember that `day` of `table` is dropped in this transaction; rows that came late and went again are added."""
    connection.execute(_NOTE, (table, day, rows, size))


def dropped_days(connection: Connection, table: str, first: date, last: date) -> list[date]:
    """The days of `table` from `first` to `last` (both included) that went by retention."""
    return [day for (day,) in connection.execute(_BETWEEN, (table, first, last)).fetchall()]
