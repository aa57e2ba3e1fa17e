"""Frames into tables by binary COPY; what is there already is left alone.

Landed rows are copied straight into their table, which is half as fast again as going through a staging table. Only
where a row is there already (a client's retry) is the batch staged and inserted `ON CONFLICT DO NOTHING`. Encoding goes
from Arrow to PostgreSQL's binary COPY format in Rust (pgpq): no value is touched by Python. Measured against ADBC and
CSV in docs/adr/0004.
"""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pgpq
import polars as pl
import psycopg
import pyarrow as pa
from psycopg import sql

from loom_contracts.table import Column, ColumnType, Table
from loom_models.frames import UTC_MICROS
from loom_models.stage import SPAN_SCHEMA, Stage
from loom_platform.rollups.marks import mark_rows

_COPIED_LATER = {"stored_at", "computed_at", "superseded_at"}
_JSONB_VERSION = "\x01"
_CHUNK_ROWS = 50_000
_STAGED_AFTER_KNOWN = 20
_SETTLE = """
UPDATE {table} AS t SET superseded_at = now()
FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS span (device_id, first, last)
WHERE t.device_id = span.device_id AND t.timestamp >= span.first AND t.timestamp < span.last
  AND t.stage = %s AND t.stage_version = %s AND t.superseded_at IS NULL AND t.message_id <> ALL(%s::uuid[])
RETURNING t.device_id, t.timestamp
"""
_STANDING = """
SELECT t.message_id::text FROM unnest(%s::timestamptz[], %s::uuid[]) AS row (timestamp, message_id)
JOIN {table} t USING (timestamp, message_id) WHERE t.superseded_at IS NULL
"""


class Writer:
    """Writes frames into tables over one connection, inside the caller's transaction.

    Staging tables are the session's own temporary ones, emptied by the commit.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._staged: set[str] = set()
        self._expect_known: dict[str, int] = {}

    def write(self, table: Table, frame: pl.DataFrame) -> None:
        """Write `frame` (the columns of `copied(table)`, in any order) so that each of its rows is there once."""
        self.prepare(table, frame["timestamp"].dt.date().unique().to_list())
        mark_rows(self._connection, table, frame)
        data = self._encode(table, frame)
        if not table.derived and not self._expect_known.get(table.name):
            try:
                with self._connection.transaction():
                    self._copy(table.name, table, data)
                return
            except psycopg.errors.UniqueViolation:
                # Retries come in bunches: do not try the quick way again at once.
                self._expect_known[table.name] = _STAGED_AFTER_KNOWN
        self._stage(table)
        self._copy(_staging(table), table, data)
        self._insert(table)
        self._expect_known[table.name] = max(0, self._expect_known.get(table.name, 0) - 1)

    def settle(self, table: Table, stage: Stage, rows: pl.DataFrame | None, spans: pl.DataFrame) -> int:
        """Supersede what is no answer any more in `spans`: every row of `stage` there that is not one of `rows`.

        Only within this version, and after `write` of the same rows; how many rows it were.
        """
        if spans.is_empty():
            return 0
        answers = [] if rows is None else rows["message_id"].to_list()
        stretches = [spans[name].to_list() for name in SPAN_SCHEMA.names()]
        gone = self._connection.execute(
            sql.SQL(_SETTLE).format(table=sql.Identifier(table.name)), (*stretches, stage.name, stage.version, answers)
        ).fetchall()
        if gone:
            frame = pl.DataFrame(gone, schema={"device_id": pl.String, "timestamp": UTC_MICROS}, orient="row")
            mark_rows(self._connection, table, frame)
        return len(gone)

    def news(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of `rows` that do not stand in `table` already."""
        known = self._connection.execute(
            sql.SQL(_STANDING).format(table=sql.Identifier(table.name)),
            (rows["timestamp"].to_list(), rows["message_id"].to_list()),
        ).fetchall()
        return rows.filter(~pl.col("message_id").is_in([message_id for (message_id,) in known]))

    def prepare(self, table: Table, days: Iterable[date]) -> None:
        """Make the day partitions that are missing, and keep all from being dropped until this transaction ends."""
        self._connection.execute(
            "SELECT loom_ensure_partitions(%s, d, d) FROM unnest(%s::date[]) d", (table.name, sorted(set(days)))
        )

    def rolled_back(self) -> None:
        """Forget what was made in a transaction that was rolled back."""
        self._staged.clear()

    def _stage(self, table: Table) -> None:
        """Make this session's staging table, emptied by each commit; within one transaction it is emptied here."""
        if table.name in self._staged:
            self._connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(_staging(table))))
        else:
            self._connection.execute(
                sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(
                    sql.Identifier(_staging(table)),
                    sql.SQL(", ").join(
                        sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type.value)) for c in copied(table)
                    ),
                )
            )
            self._staged.add(table.name)

    @staticmethod
    def _encode(table: Table, frame: pl.DataFrame) -> list[bytes]:
        arrow = to_copy(frame, copied(table))
        encoder = pgpq.ArrowToPostgresBinaryEncoder(arrow.schema)
        pieces = [encoder.write_header()]
        pieces.extend(encoder.write_batch(b) for b in arrow.to_batches(max_chunksize=_CHUNK_ROWS))
        return [*pieces, encoder.finish()]

    def _copy(self, target: str, table: Table, data: Iterable[bytes]) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(target), sql.SQL(", ").join(sql.Identifier(c.name) for c in copied(table))
        )
        with self._connection.cursor().copy(statement) as copy:
            for piece in data:
                copy.write(piece)

    def _insert(self, table: Table) -> int:
        """Move the staged rows into the table; how many were new.

        A landed row that is there already is left alone. A derived row takes the place of the rows of its scope
        that are not part of this answer; one that was superseded and is now the answer again is current again.
        """
        names = sql.SQL(", ").join(sql.Identifier(c.name) for c in copied(table))
        target, staging = sql.Identifier(table.name), sql.Identifier(_staging(table))
        if not table.derived:
            return self._connection.execute(
                sql.SQL("INSERT INTO {t} ({n}) SELECT {n} FROM {s} ON CONFLICT DO NOTHING").format(
                    t=target, n=names, s=staging
                )
            ).rowcount
        scope = (*table.scope, "stage", "stage_version")
        self._connection.execute(
            sql.SQL(
                "UPDATE {t} AS t SET superseded_at = now() FROM (SELECT DISTINCT {cols} FROM {s}) AS s WHERE {same} "
                "AND t.superseded_at IS NULL AND NOT EXISTS (SELECT 1 FROM {s} AS n "
                "WHERE n.message_id = t.message_id AND n.timestamp = t.timestamp)"
            ).format(
                t=target,
                s=staging,
                cols=sql.SQL(", ").join(map(sql.Identifier, scope)),
                same=sql.SQL(" AND ").join(sql.SQL("t.{c} = s.{c}").format(c=sql.Identifier(c)) for c in scope),
            )
        )
        return self._connection.execute(
            sql.SQL(
                "INSERT INTO {t} AS t ({n}) SELECT {n} FROM {s} ON CONFLICT (timestamp, message_id) "
                "DO UPDATE SET superseded_at = NULL WHERE t.superseded_at IS NOT NULL"
            ).format(t=target, n=names, s=staging)
        ).rowcount

    def confirm(self, table: Table, progress_id: int) -> None:
        """Remember the ids of the staged rows as answers of this recompute."""
        self._connection.execute(
            sql.SQL("INSERT INTO recompute_confirmed SELECT %s, message_id FROM {} ON CONFLICT DO NOTHING").format(
                sql.Identifier(_staging(table))
            ),
            (progress_id,),
        )


def copied(table: Table) -> tuple[Column, ...]:
    """The columns that the engine writes; the others have defaults."""
    return tuple(c for c in table.columns if c.name not in _COPIED_LATER)


def to_copy(frame: pl.DataFrame, columns: tuple[Column, ...]) -> pa.Table:
    """The frame as Arrow in the form that binary COPY wants: a uuid as 16 bytes, JSON with jsonb's version byte."""
    return frame.select(_encoded(c) for c in columns).to_arrow()


def _encoded(column: Column) -> pl.Expr:
    value = pl.col(column.name)
    match column.type:
        case ColumnType.UUID:
            return value.str.replace_all("-", "", literal=True).str.decode("hex")
        case ColumnType.JSON:
            return (pl.lit(_JSONB_VERSION) + value).alias(column.name)
        case ColumnType.TIMESTAMP:
            return value.cast(UTC_MICROS)
        case ColumnType.FLOAT:
            return value.cast(pl.Float64)
        case ColumnType.INTEGER:
            return value.cast(pl.Int64)
        case ColumnType.INT4:
            return value.cast(pl.Int32)
        case ColumnType.BOOLEAN:
            return value.cast(pl.Boolean)
        case ColumnType.TEXT:
            return value.cast(pl.String)


def _staging(table: Table) -> str:
    return f"staging_{table.name}"
