"""One moment of the database, seen by two connections: psycopg for small questions, ADBC for rows as Arrow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
from psycopg import sql

from loom_models.errors import DependencyError
from loom_platform.export.catalogue import Exported
from loom_platform.export.columns import LiveColumn, arrow_schema, selected
from loom_platform.export.errors import ExportError

BATCH_BYTES: Final = 8 * 1024 * 1024
"""About how much of a table is in memory at once; a single row may be larger."""
_PATIENT: Final = """
SELECT set_config(name, CASE name WHEN 'jit' THEN 'off' ELSE '0' END, false) FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'jit')
"""
# Roll-ups that outlive their rows are part of the data, and a view where TimescaleDB keeps them.
_PRESENT: Final = """
SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
    AND relname NOT IN (SELECT table_name || '_by_minute_kept' FROM rollup_tables)
UNION ALL SELECT table_name || '_by_minute_kept' FROM rollup_tables WHERE frozen_before > '-infinity'
"""


@dataclass(frozen=True)
class Snapshot:
    """The database as of `taken_at`, for as long as the context of `snapshot` lasts."""

    connection: psycopg.Connection[Any]
    arrow: Any
    taken_at: str

    def present(self) -> set[str]:
        """The tables there are that may hold something; raises ExportError when there are none of Loom's."""
        try:
            return {row[0] for row in self.connection.execute(_PRESENT).fetchall()}
        except psycopg.errors.UndefinedTable:
            raise ExportError("the database has no tables of this Loom; run `loom db migrate`") from None

    def rows(self, table: Exported, columns: Sequence[LiveColumn], where: sql.Composable) -> Iterator[pa.RecordBatch]:
        """The rows of `table`, in the order of its key, a few megabytes at a time."""
        query = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
            selected(columns),
            sql.Identifier(table.name),
            where,
            # by the column and not by its text form, so that an index gives the order
            sql.SQL(", ").join(sql.Identifier(table.name, name) for name in table.key),
        )
        return self.query(query, arrow_schema(columns))

    def query(self, query: sql.Composed, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The answer to `query` in the form of `schema`; raises DependencyError when the database goes away."""
        try:
            with self.arrow.cursor() as cursor:
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                cursor.execute(query.as_string(self.connection))
                for batch in cursor.fetch_record_batch():
                    yield batch.cast(schema)
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            raise DependencyError(f"LOOM_DATABASE_URL: the database did not give its rows ({error})") from error


@contextmanager
def snapshot(database_url: str) -> Iterator[Snapshot]:
    """Take one, without keeping anyone from writing. Raises DependencyError when the database is away."""
    try:
        connection = psycopg.connect(database_url, application_name="loom export", connect_timeout=5)
    except psycopg.OperationalError as error:
        raise DependencyError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
    with connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        row = connection.execute("SELECT pg_export_snapshot(), now()").fetchone()
        if row is None:
            raise DependencyError("database: no answer to SELECT pg_export_snapshot()")
        connection.execute(_PATIENT)
        with adbc.connect(database_url) as arrow:
            with arrow.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute(f"SET TRANSACTION SNAPSHOT '{row[0]}'")
                cursor.execute(_PATIENT)
                cursor.fetchall()
            yield Snapshot(connection, arrow, row[1].isoformat())
