"""Loom's database as it is at one moment: what is there, and the name by which pg_dump sees the same."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from loom_platform.backup.errors import BackupError
from loom_platform.backup.postgres import NOT_DUMPED

_TABLES: Final = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname
"""
_REFERENCES: Final = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attname LIKE '%\\_ref' AND a.atttypid = 'text'::regtype AND NOT a.attisdropped
ORDER BY c.relname, a.attname
"""
_EXTENSIONS: Final = "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'"
_OFFSETS: Final = "SELECT stage, topic, partition, topic_id, next_offset FROM stream_offsets"
_FETCHED_AT_ONCE: Final = 2_000


class Stored(NamedTuple):
    """Where a stage stands in one partition."""

    stage: str
    topic: str
    partition: int
    topic_id: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A transaction that sees one moment; `name` is what pg_dump is given."""

    connection: psycopg.Connection[Any]
    name: str
    at: datetime

    @property
    def postgresql(self) -> str:
        """The server's version, such as 18.1."""
        return str(self._one("SHOW server_version")).partition(" ")[0]

    def extensions(self) -> dict[str, str]:
        """Names and versions of what is installed in the database."""
        return dict(self.connection.execute(_EXTENSIONS).fetchall())

    def migrations(self) -> tuple[str, ...]:
        """Those that are applied, in order; raises BackupError when there are none."""
        try:
            with self.connection.transaction():
                rows = self.connection.execute("SELECT migration_id FROM _yoyo_migration ORDER BY 1").fetchall()
        except psycopg.errors.UndefinedTable:
            raise BackupError("LOOM_DATABASE_URL: this database has no Loom in it; is it the right one?") from None
        return tuple(row[0] for row in rows)

    def tables(self) -> list[str]:
        """Every table, partitions apart."""
        return [row[0] for row in self.connection.execute(_TABLES).fetchall()]

    def count(self, table: str) -> int:
        """Rows of `table` that are dumped."""
        if table in NOT_DUMPED:
            return 0
        return int(self._one(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))))

    def offsets(self) -> list[Stored]:
        """Where every stage stands."""
        return [Stored(*row) for row in self.connection.execute(_OFFSETS).fetchall()]

    def references(self) -> Iterator[str]:
        """Every reference to a large body, each once."""
        columns = self.connection.execute(_REFERENCES).fetchall()
        if not columns:
            return
        union = sql.SQL(" UNION ").join(
            sql.SQL("SELECT {c} FROM {t} WHERE {c} IS NOT NULL").format(c=sql.Identifier(c), t=sql.Identifier(t))
            for t, c in columns
        )
        with self.connection.cursor("blob_references") as cursor:
            cursor.itersize = _FETCHED_AT_ONCE
            for row in cursor.execute(union):
                yield row[0]

    def keys(self) -> list[dict[str, Any]]:
        """The rows of `device_keys` as JSON has them; none before there is such a table."""
        if self._one("SELECT to_regclass('device_keys') IS NULL"):
            return []
        return [row[0] for row in self.connection.execute("SELECT to_jsonb(k) FROM device_keys k").fetchall()]

    def size(self) -> int:
        """Bytes of the database on its server's disk."""
        return int(self._one("SELECT pg_database_size(current_database())"))

    def _one(self, query: str | sql.Composed) -> Any:
        row = self.connection.execute(query).fetchone()
        return row[0] if row else None


@contextmanager
def snapshot(database_url: str) -> Iterator[Snapshot]:
    """Hold one moment of the database; raises BackupError when it does not answer."""
    try:
        connection = psycopg.connect(
            database_url,
            connect_timeout=10,
            application_name="loom backup",
            # It is as long as the dump.
            options="-c timezone=UTC -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off",
        )
    except psycopg.OperationalError as error:
        raise BackupError(
            f"the database does not answer ({str(error).strip()}); is Loom up? try: loom status"
        ) from None
    with connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        row = connection.execute("SELECT pg_export_snapshot(), now()").fetchone()
        assert row is not None  # noqa: S101  # a SELECT without FROM has one row
        yield Snapshot(connection, row[0], row[1])


def put_keys(connection: psycopg.Connection[Any], keys: list[dict[str, Any]]) -> None:
    """Put the rows of `Snapshot.keys` back into an empty `device_keys`."""
    if keys:
        connection.execute(
            "INSERT INTO device_keys SELECT * FROM jsonb_populate_recordset(NULL::device_keys, %s::jsonb)",
            (json.dumps(keys),),
        )
