"""Parquet files into tables by binary COPY; what is there already is left alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pgpq
import polars as pl
import psycopg
import pyarrow.parquet as pq
from psycopg import sql

from loom_platform.export.catalogue import Exported
from loom_platform.export.columns import LiveColumn, arrow_schema, to_copy
from loom_platform.export.errors import ImportDataError
from loom_platform.stream.batch import LOCK_STAGE
from loom_platform.stream.erased import Span

Connection = psycopg.Connection[Any]
Spans = dict[str, tuple[datetime, datetime]]

STAGED: Final = "imported_rows"
MOVED: Final = "moved_refs"
"""Temporary tables of the session: the rows of a file, and the bodies whose reference is another one here."""
_ROWS: Final = 50_000
_KNOWN: Final = (
    "DELETE FROM {s} AS s USING (SELECT timestamp, message_id FROM {t} WHERE "
    "timestamp >= {first}::timestamp AT TIME ZONE 'UTC' AND timestamp < {upto}::timestamp AT TIME ZONE 'UTC') AS t "
    "WHERE s.timestamp = t.timestamp AND s.message_id = t.message_id"
)
_ERASED: Final = "SELECT devices, since, until, {} FROM erasures"
_DAY_EMPTY: Final = (
    "SELECT NOT EXISTS (SELECT FROM {} WHERE timestamp >= %s::date::timestamp AT TIME ZONE 'UTC' "
    "AND timestamp < %s::date::timestamp AT TIME ZONE 'UTC')"
)


@dataclass
class ParquetRows:
    """The rows of one file, but for those that are `erased`; `spans` are first and last time of each device's."""

    place: Path
    columns: tuple[LiveColumn, ...]
    spans: Spans = field(default_factory=dict)
    erased: tuple[Span, ...] = ()
    left_out: int = 0

    @property
    def names(self) -> sql.Composed:
        """The columns of the file, for a statement."""
        return sql.SQL(", ").join(sql.Identifier(c.name) for c in self.columns)

    def encoded(self) -> Iterator[bytes]:
        """The rows in PostgreSQL's binary COPY format, some tens of thousands at a time."""
        schema = arrow_schema(self.columns)
        empty = pl.DataFrame(pl.from_arrow(schema.empty_table()))
        self.left_out = 0
        encoder = pgpq.ArrowToPostgresBinaryEncoder(to_copy(empty, self.columns).schema)
        yield encoder.write_header()
        with pq.ParquetFile(self.place) as file:
            for batch in file.iter_batches(_ROWS):
                frame = pl.DataFrame(pl.from_arrow(batch.cast(schema)))
                frame = self._unerased(frame)
                self._look(frame)
                for piece in to_copy(frame, self.columns).to_batches():
                    yield encoder.write_batch(piece)
        yield encoder.finish()

    def _unerased(self, frame: pl.DataFrame) -> pl.DataFrame:
        if not self.erased:
            return frame
        # what was derived has no time of acceptance, but one of its computation
        known = frame if "received_at" in frame.columns else frame.with_columns(received_at=pl.col("computed_at"))
        kept = frame.filter(~known.select(pl.any_horizontal(s.rows() for s in self.erased)).to_series())
        self.left_out += frame.height - kept.height
        return kept

    def _look(self, frame: pl.DataFrame) -> None:
        time = "timestamp" if "timestamp" in frame.columns else "bucket"
        if {"device_id", time} <= set(frame.columns):
            ends = frame.group_by("device_id").agg(pl.col(time).min().alias("a"), pl.col(time).max().alias("b"))
            for device, first, last in ends.iter_rows():
                known = self.spans.get(device, (first, last))
                self.spans[device] = (min(first, known[0]), max(last, known[1]))


def opened(place: Path, table: Exported, here: Sequence[LiveColumn]) -> ParquetRows:
    """The file at `place` of `table`, which has the columns `here`; raises ImportDataError when the file has others."""
    live = {c.name: c for c in here}
    names = pq.read_schema(place).names
    if unknown := [n for n in names if n not in live]:
        raise ImportDataError(
            f"{place}: table {table.name} has no column {', '.join(unknown)} here: the export is of a newer Loom; "
            "update this one and run `loom db migrate`"
        )
    return ParquetRows(place, tuple(live[n] for n in names))


def copy_day(connection: Connection, table: Exported, rows: ParquetRows, day: date) -> int | None:
    """Straight into the table, where it has no row of that day yet: how many rows; None when it must be staged."""
    query = sql.SQL(_DAY_EMPTY).format(sql.Identifier(table.name))
    found = connection.execute(query, (day, day + timedelta(days=1))).fetchone()
    if found is None or not found[0]:
        return None
    try:
        with connection.transaction():
            return _copy(connection, table.name, rows)
    except psycopg.errors.UniqueViolation:
        # a live stage was quicker
        return None


def stage(connection: Connection, table: Exported, rows: ParquetRows) -> None:
    """Put the rows into the temporary table `imported_rows`, which ends with the transaction."""
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            sql.Identifier(STAGED), rows.names, sql.Identifier(table.name)
        )
    )
    _copy(connection, STAGED, rows)


def insert(connection: Connection, table: Exported, columns: Sequence[LiveColumn], day: date | None) -> int:
    """The staged rows into the table, those that are there already left alone: how many were new."""
    parts = {
        "t": sql.Identifier(table.name),
        "s": sql.Identifier(STAGED),
        "n": sql.SQL(", ").join(sql.Identifier(c.name) for c in columns),
    }
    if day is not None:
        # A day that TimescaleDB has compressed is read once; asking it for row after row takes a hundred times as long.
        same = sql.SQL(_KNOWN).format(**parts, first=sql.Literal(day), upto=sql.Literal(day + timedelta(days=1)))
        connection.execute(sql.SQL("ANALYZE {s}").format(**parts))
        connection.execute(same)
    return connection.execute(
        sql.SQL("INSERT INTO {t} ({n}) SELECT {n} FROM {s} ON CONFLICT DO NOTHING").format(**parts)
    ).rowcount


def move_refs(connection: Connection, table: Exported) -> None:
    """Give the staged rows the references that their bodies have here."""
    for column in table.bodies:
        connection.execute(
            sql.SQL(
                "UPDATE {s} AS s SET {c} = m.here FROM {m} AS m WHERE m.ref = s.{c} AND m.device_id = s.device_id"
            ).format(s=sql.Identifier(STAGED), m=sql.Identifier(MOVED), c=sql.Identifier(column))
        )


def leave_out_known_days(connection: Connection, table: Exported) -> None:
    """Remove the staged days that the table has rows of: two halves of a day are no day. Before `insert`."""
    query = sql.SQL("DELETE FROM {s} AS s USING (SELECT DISTINCT day FROM {t}) AS t WHERE s.day = t.day")
    connection.execute(query.format(s=sql.Identifier(STAGED), t=sql.Identifier(table.name)))


def settle(connection: Connection, table: Exported) -> None:
    """Where the staged rows and the table's answer to the same scope differ, only the newer answer is to stand.

    Of a derived table; before `insert`. What stands on both sides is one answer, and then nothing changes.
    """
    contract = table.table
    if contract is None or not contract.derived:
        return
    scope = (*contract.scope, "stage", "stage_version")
    parts = {
        "t": sql.Identifier(table.name),
        "s": sql.Identifier(STAGED),
        "scope": sql.SQL(", ").join(map(sql.Identifier, scope)),
        "same": _equal("t", "f", scope),
        "inside": _equal("x", "c", scope),
    }
    connection.execute(sql.SQL("ANALYZE {s}").format(**parts))
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE contested ON COMMIT DROP AS SELECT f.*, f.newest > max(t.computed_at) AS newer "
            "FROM (SELECT {scope}, max(computed_at) AS newest FROM {s} WHERE superseded_at IS NULL GROUP BY {scope}) "
            "AS f JOIN {t} AS t ON {same} AND t.superseded_at IS NULL GROUP BY {f}, f.newest"
        ).format(**parts, f=sql.SQL(", ").join(sql.Identifier("f", c) for c in scope))
    )
    for statement in (_THERE_STANDS, _STAGED_STANDS, _STANDS_AGAIN):
        connection.execute(sql.SQL(statement).format(**parts))


_THERE_STANDS: Final = (
    "UPDATE {s} AS x SET superseded_at = now() FROM contested AS c "
    "WHERE {inside} AND NOT c.newer AND x.superseded_at IS NULL"
)
_STAGED_STANDS: Final = (
    "UPDATE {t} AS x SET superseded_at = now() FROM contested AS c "
    "WHERE {inside} AND c.newer AND x.superseded_at IS NULL "
    "AND NOT EXISTS (SELECT FROM {s} AS s WHERE s.timestamp = x.timestamp AND s.message_id = x.message_id "
    "AND s.superseded_at IS NULL)"
)
_STANDS_AGAIN: Final = (
    "UPDATE {t} AS x SET superseded_at = NULL FROM contested AS c, {s} AS s WHERE {inside} AND c.newer "
    "AND x.superseded_at IS NOT NULL AND s.timestamp = x.timestamp AND s.message_id = x.message_id "
    "AND s.superseded_at IS NULL"
)


def heed_erasures(connection: Connection, table: Exported, rows: ParquetRows) -> None:
    """Leave out of `rows` what the person had erased here; no erasure begins until the transaction ends."""
    if table.topic is None:
        return
    connection.execute("SELECT FROM loom_erasures('infinity')")
    query = _ERASED.format(
        "asked_at" if "received_at" in {c.name for c in rows.columns} else "coalesce(cleared_at, now())"
    )
    rows.erased = tuple(Span(*row) for row in connection.execute(query.encode()).fetchall())


def lock_stages(connection: Connection, rows: ParquetRows) -> None:
    """Keep the stages of derived rows from writing until the transaction ends, as their own batches do."""
    if "stage" not in {c.name for c in rows.columns}:
        return
    found: set[str] = set()
    with pq.ParquetFile(rows.place) as file:
        for batch in file.iter_batches(_ROWS, columns=["stage"]):
            found.update(batch.column("stage").unique().to_pylist())
    for name in sorted(found):
        connection.execute(LOCK_STAGE, (name,))


def _copy(connection: Connection, target: str, rows: ParquetRows) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(target), rows.names)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for piece in rows.encoded():
                copy.write(piece)
        return cursor.rowcount


def _equal(left: str, right: str, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, n), sql.Identifier(right, n)) for n in names
    )
