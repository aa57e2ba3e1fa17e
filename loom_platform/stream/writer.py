"""Frames into tables by binary COPY; what is there already is left alone.

Landed rows are copied straight into their table, which is half as fast again as going through a staging table. Only
where a row is there already (a client's retry) is the batch staged and inserted `ON CONFLICT DO NOTHING`. Encoding goes
from Arrow to PostgreSQL's binary COPY format in Rust (pgpq): no value is touched by Python. Measured against ADBC and
CSV in docs/adr/0004.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pgpq
import polars as pl
import psycopg
import pyarrow as pa
from psycopg import sql

from loom_contracts.table import Column, ColumnType, Table
from loom_models.frames import UTC_MICROS, rows_by_day
from loom_models.stage import SPAN_SCHEMA, Stage
from loom_platform.rollups.marks import mark_rows

_COPIED_LATER = {"stored_at", "computed_at", "superseded_at"}
_JSONB_VERSION = "\x01"
_CHUNK_ROWS = 50_000
_STAGED_AFTER_KNOWN = 20
# Each of these tells by values between which times it looks: else PostgreSQL plans for the partitions of all days, and
# locks them (docs/architecture.md, "Many days").
_SUPERSEDE = """
UPDATE {t} AS t SET superseded_at = now() FROM (SELECT DISTINCT {scope} FROM {s}) AS s
WHERE {same} AND t.superseded_at IS NULL AND t.timestamp BETWEEN %s AND %s
  AND NOT EXISTS (SELECT 1 FROM {s} AS n WHERE n.message_id = t.message_id AND n.timestamp = t.timestamp)
"""
_SETTLE = """
UPDATE {t} AS t SET superseded_at = now()
FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS span (device_id, first, last)
WHERE t.device_id = span.device_id AND t.timestamp >= span.first AND t.timestamp < span.last
  AND t.timestamp BETWEEN %s AND %s AND t.stage = %s AND t.stage_version = %s AND t.superseded_at IS NULL
  AND t.message_id <> ALL(%s::uuid[])
RETURNING t.device_id, t.timestamp
"""
_STANDING = """
SELECT t.message_id::text FROM unnest(%s::timestamptz[], %s::uuid[]) AS row (timestamp, message_id)
JOIN {t} AS t USING (timestamp, message_id) WHERE t.superseded_at IS NULL AND t.timestamp BETWEEN %s AND %s
"""


@dataclass(frozen=True, slots=True)
class _Statements:
    """What is said of one table, in bytes: to put it together takes longer than a small batch's row."""

    columns: list[pl.Expr]
    copy: bytes
    make_staging: bytes
    empty_staging: bytes
    copy_to_staging: bytes
    supersede: bytes
    insert: bytes
    settle: bytes
    standing: bytes


class Writer:
    """Writes frames into tables over one connection, inside the caller's transaction.

    Staging tables are the session's own temporary ones, emptied by the commit.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._statements: dict[str, _Statements] = {}
        self._staged: set[str] = set()
        self._expect_known: dict[str, int] = {}

    def write(self, table: Table, frame: pl.DataFrame) -> dict[date, int]:
        """Write `frame` (the columns of `copied(table)`, in any order) so that each of its rows is there once.

        How many rows it has of each day.
        """
        days = rows_by_day(frame["timestamp"])
        self.prepare(table, days)
        mark_rows(self._connection, table, frame)
        statements = self._of(table)
        data = _encode(frame, statements.columns)
        if not table.derived and not self._expect_known.get(table.name):
            try:
                with self._connection.transaction():
                    self._copy(statements.copy, data)
                return days
            except psycopg.errors.UniqueViolation:
                # Retries come in bunches: do not try the quick way again at once.
                self._expect_known[table.name] = _STAGED_AFTER_KNOWN
        self._stage(table)
        self._copy(statements.copy_to_staging, data)
        self._insert(table, frame["timestamp"])
        self._expect_known[table.name] = max(0, self._expect_known.get(table.name, 0) - 1)
        return days

    def settle(self, table: Table, stage: Stage, rows: pl.DataFrame | None, spans: pl.DataFrame) -> int:
        """Supersede what is no answer any more in `spans`: every row of `stage` there that is not one of `rows`.

        Only within this version, and after `write` of the same rows; how many rows it were.
        """
        if spans.is_empty():
            return 0
        answers = [] if rows is None else rows["message_id"].to_list()
        stretches = [spans[name].to_list() for name in SPAN_SCHEMA.names()]
        gone = self._connection.execute(
            self._of(table).settle,
            (*stretches, spans["first"].min(), spans["last"].max(), stage.name, stage.version, answers),
        ).fetchall()
        if gone:
            frame = pl.DataFrame(gone, schema={"device_id": pl.String, "timestamp": UTC_MICROS}, orient="row")
            mark_rows(self._connection, table, frame)
        return len(gone)

    def news(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of `rows` that do not stand in `table` already."""
        known = self._connection.execute(
            self._of(table).standing,
            (
                rows["timestamp"].to_list(),
                rows["message_id"].to_list(),
                rows["timestamp"].min(),
                rows["timestamp"].max(),
            ),
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
            self._connection.execute(self._of(table).empty_staging)
        else:
            self._connection.execute(self._of(table).make_staging)
            self._staged.add(table.name)

    def _copy(self, statement: bytes, data: Iterable[bytes]) -> None:
        with self._connection.cursor().copy(statement) as copy:
            for piece in data:
                copy.write(piece)

    def _insert(self, table: Table, times: pl.Series) -> None:
        """Move the staged rows, which are of `times`, into the table.

        A landed row that is there already is left alone. A derived row takes the place of the rows of its scope
        that are not part of this answer; one that was superseded and is now the answer again is current again.
        """
        if table.derived:
            self._connection.execute(self._of(table).supersede, (times.min(), times.max()))
        self._connection.execute(self._of(table).insert)

    def _of(self, table: Table) -> _Statements:
        if (known := self._statements.get(table.name)) is None:
            known = self._statements[table.name] = _statements(table)
        return known

    def confirm(self, table: Table, progress_id: int) -> None:
        """Remember the ids of the staged rows as answers of this recompute."""
        self._connection.execute(
            sql.SQL("INSERT INTO recompute_confirmed SELECT %s, message_id FROM {} ON CONFLICT DO NOTHING").format(
                sql.Identifier(_staging(table))
            ),
            (progress_id,),
        )


def _statements(table: Table) -> _Statements:
    target, staging = sql.Identifier(table.name), sql.Identifier(_staging(table))
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in copied(table))
    typed = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type.value)) for c in copied(table)
    )
    scope = (*table.scope, "stage", "stage_version")
    known = sql.SQL(
        "ON CONFLICT (timestamp, message_id) DO UPDATE SET superseded_at = NULL WHERE t.superseded_at IS NOT NULL"
        if table.derived
        else "ON CONFLICT DO NOTHING"
    )
    parts = {
        "t": target,
        "s": staging,
        "n": names,
        "typed": typed,
        "known": known,
        "scope": sql.SQL(", ").join(map(sql.Identifier, scope)),
        "same": sql.SQL(" AND ").join(sql.SQL("t.{c} = s.{c}").format(c=sql.Identifier(c)) for c in scope),
    }

    def say(statement: str) -> bytes:
        return sql.SQL(statement).format(**parts).as_bytes(None)

    return _Statements(
        columns=[_encoded(c) for c in copied(table)],
        copy=say("COPY {t} ({n}) FROM STDIN (FORMAT BINARY)"),
        make_staging=say("CREATE TEMPORARY TABLE IF NOT EXISTS {s} ({typed}) ON COMMIT DELETE ROWS"),
        empty_staging=say("DELETE FROM {s}"),
        copy_to_staging=say("COPY {s} ({n}) FROM STDIN (FORMAT BINARY)"),
        supersede=say(_SUPERSEDE),
        insert=say("INSERT INTO {t} AS t ({n}) SELECT {n} FROM {s} {known}"),
        settle=say(_SETTLE),
        standing=say(_STANDING),
    )


def copied(table: Table) -> tuple[Column, ...]:
    """The columns that the engine writes; the others have defaults."""
    return tuple(c for c in table.columns if c.name not in _COPIED_LATER)


def to_copy(frame: pl.DataFrame, columns: tuple[Column, ...]) -> pa.Table:
    """The frame as Arrow in the form that binary COPY wants: a uuid as 16 bytes, JSON with jsonb's version byte."""
    return frame.select(_encoded(c) for c in columns).to_arrow()


def encoded(table: Table, frame: pl.DataFrame) -> list[bytes]:
    """The frame as binary COPY takes it for `table`."""
    return _encode(frame, [_encoded(c) for c in copied(table)])


def _encode(frame: pl.DataFrame, columns: list[pl.Expr]) -> list[bytes]:
    arrow = frame.select(columns).to_arrow()
    encoder = pgpq.ArrowToPostgresBinaryEncoder(arrow.schema)
    pieces = [encoder.write_header()]
    pieces.extend(encoder.write_batch(b) for b in arrow.to_batches(max_chunksize=_CHUNK_ROWS))
    return [*pieces, encoder.finish()]


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
