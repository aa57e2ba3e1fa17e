"""A day of a stage's source as a recompute reads it: one device after the other, in order of time, slice by slice."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from loom_contracts.message import StoredBody
from loom_contracts.table import ColumnType, Table
from loom_contracts.topic import Topic
from loom_models.errors import DependencyError
from loom_models.frames import frame_schema
from loom_models.stage import BlobStore, Stage

DAY = timedelta(days=1)
_OPTIONS = "-c statement_timeout=60s -c jit=off"
# A plain DISTINCT would read every row of the day; this jumps from one device to the next along the index.
_DEVICES = """
WITH RECURSIVE found (device_id) AS (
    (SELECT t.device_id FROM {table} t WHERE timestamp >= {start} AND timestamp < {end} ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT (SELECT t.device_id FROM {table} t WHERE t.device_id > f.device_id AND timestamp >= {start}
            AND timestamp < {end} ORDER BY 1 LIMIT 1)
    FROM found f WHERE f.device_id IS NOT NULL
) SELECT device_id FROM found WHERE device_id IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a device's day is done: up to and with the row (timestamp, message_id), or all before `timestamp`."""

    timestamp: datetime
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows as the batch that the transform gets, and where they end; `last` when none follow.

    `unreadable` are rows whose body is missing or damaged, by message_id, with the reason; they are not in the batch.
    """

    batch: pl.DataFrame
    end: Position
    last: bool
    unreadable: dict[str, str] = field(default_factory=dict)


def bounds(day: date) -> tuple[datetime, datetime]:
    """First moment of the UTC `day`, and of the next."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + DAY


def devices_of(connection: psycopg.Connection[Any], tables: Sequence[Table], day: date) -> list[str]:
    """Devices that have rows of the UTC `day` in any of `tables`."""
    start, end = map(sql.Literal, bounds(day))
    found: set[str] = set()
    for table in tables:
        query = sql.SQL(_DEVICES).format(table=sql.Identifier(table.name), start=start, end=end)
        found.update(row[0] for row in connection.execute(query).fetchall())
    return sorted(found)


class SliceReader:
    """Reads the source of `stage` over a connection of its own, straight into Arrow; a context manager."""

    def __init__(self, stage: Stage, database_url: str, blobs: BlobStore | None) -> None:
        self._stage, self._blobs = stage, blobs
        conninfo = make_conninfo(database_url, options=_OPTIONS, application_name="loom recompute reader"[:63])
        # Autocommit: between two slices it holds no lock, so that partitions can come and go.
        self._connection = adbc.connect(conninfo, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def read(self, day: date, device_id: str, after: Position | None, rows: int) -> Slice | None:
        """The next rows of the device's day after `after`, about `rows` of them; None when there are none.

        Where the stage's context is to be had from the slice it ends between two windows, however many rows one has.
        """
        start, end = bounds(day)
        frame = self._select(device_id, after or Position(start), end, rows)
        if frame.is_empty():
            return None
        full = frame.height >= rows
        window = _window(self._stage)
        if full and window is not None:
            frame, boundary = self._whole_windows(frame, device_id, end, window)
            return self._slice(frame, Position(boundary), last=boundary >= end)
        where = Position(frame["timestamp"][-1], frame["message_id"][-1])
        return self._slice(frame, where, last=not full)

    def _slice(self, frame: pl.DataFrame, end: Position, *, last: bool) -> Slice:
        unreadable: dict[str, str] = {}
        return Slice(self._batch(frame, unreadable), end, last, unreadable)

    def empty(self) -> pl.DataFrame:
        """A batch without any row."""
        nobody = Position(datetime(1970, 1, 1, tzinfo=UTC))
        return self._batch(self._select("", nobody, nobody.timestamp, 0), {})

    def _whole_windows(
        self, frame: pl.DataFrame, device_id: str, end: datetime, window: timedelta
    ) -> tuple[pl.DataFrame, datetime]:
        """`frame` without its last window, which may go on; or the whole of it, where it is the only one."""
        starts = frame["timestamp"].dt.truncate(window)
        boundary: datetime = starts[-1]
        whole = frame.filter(starts < boundary)
        if not whole.is_empty():
            return whole, boundary
        after = min(boundary + window, end)
        return self._select(device_id, Position(frame["timestamp"][0]), after, None), after

    def _select(self, device_id: str, after: Position, end: datetime, rows: int | None) -> pl.DataFrame:
        source = self._stage.source
        query = sql.SQL(
            "SELECT {columns} FROM {table} t WHERE t.device_id = {device} AND t.timestamp >= {start} "
            "AND t.timestamp < {end}{current}{more} ORDER BY t.timestamp, t.message_id{limit}"
        ).format(
            columns=sql.SQL(", ").join(map(sql.SQL, _selected(source))),
            table=sql.Identifier(source.table.name),
            device=sql.Literal(device_id),
            start=sql.Literal(after.timestamp),
            end=sql.Literal(end),
            current=sql.SQL(" AND t.superseded_at IS NULL" if source.table.derived else ""),
            more=sql.SQL(" AND (t.timestamp > {} OR t.message_id > {})").format(
                sql.Literal(after.timestamp), sql.Literal(after.message_id)
            )
            if after.message_id is not None
            else sql.SQL(""),
            limit=sql.SQL(" LIMIT {}").format(rows) if rows is not None else sql.SQL(""),
        )
        with self._connection.cursor() as cursor:
            cursor.execute(query.as_string())
            return pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table()))

    def _batch(self, rows: pl.DataFrame, unreadable: dict[str, str]) -> pl.DataFrame:
        """Landed rows in the form of a live batch: a stored body is fetched back into its field.

        Rows whose body cannot be had are left out and added to `unreadable`.
        """
        payload = self._stage.source.payload
        body = self._stage.source.table.body
        if body is not None:
            blobs = self._blobs
            if blobs is None:
                stage = self._stage.name
                raise DependencyError(f"stage {stage}: no object storage is configured, its source keeps bodies there")
            fields = payload.model_fields.items()
            name = next(n for n, f in fields if any(isinstance(m, StoredBody) for m in f.metadata))
            stored = blobs.get_all(rows[f"{body.name}_ref"].to_list())
            encoded = [None if isinstance(c, Exception) else base64.b64encode(c).decode() for c in stored]
            wrong = {i: str(c) for i, c in zip(rows["message_id"], stored, strict=True) if isinstance(c, Exception)}
            unreadable.update(wrong)
            rows = rows.with_columns(pl.Series(name, encoded, dtype=pl.String)).filter(pl.col(name).is_not_null())
        schema = frame_schema(payload)
        return rows.with_columns(
            *(pl.col(n).cast(d) for n, d in schema.items()), pl.int_range(pl.len(), dtype=pl.UInt32).alias("position")
        )


def _window(stage: Stage) -> timedelta | None:
    """What the slices of `stage` are whole multiples of, if its context is to be had from them."""
    return max((q.window for q in stage.context if q.window is not None), default=None)


def _selected(topic: Topic) -> list[str]:
    casts = {ColumnType.UUID, ColumnType.JSON}
    return [f"t.{c.name}::text AS {c.name}" if c.type in casts else f"t.{c.name}" for c in topic.table.columns]
