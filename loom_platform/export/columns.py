"""The columns of a table as they are in the database, in Parquet, in a JSON Schema, and in binary COPY.

A uuid and JSON are text in Parquet, because every reader has text; times are microseconds in UTC. ADBC gives the other
types as Arrow has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import psycopg
import pyarrow as pa
from psycopg import sql

from loom_models.frames import UTC_MICROS
from loom_platform.export.catalogue import Exported
from loom_platform.export.errors import ExportError

_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull
FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_JSONB_VERSION: Final = "\x01"

_ARROW: Final[dict[str, pa.DataType]] = {
    "text": pa.string(),
    "uuid": pa.string(),
    "jsonb": pa.string(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "double precision": pa.float64(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "bytea": pa.binary(),
    "text[]": pa.list_(pa.string()),
}
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string"},
    "uuid": {"type": "string", "format": "uuid"},
    "jsonb": {"type": "string", "contentMediaType": "application/json"},
    "timestamp with time zone": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "double precision": {"type": "number"},
    "bigint": {"type": "integer"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "bytea": {"type": "string", "contentEncoding": "base64"},
    "text[]": {"type": "array", "items": {"type": "string"}},
}
_RANDOM: Final = frozenset({"message_id", "source_message_id", "previous_message_id", "trace_id", "span_id"})
"""Columns in which few values come twice, so that a dictionary of them only costs time."""


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column of the database: `type` is PostgreSQL's name of it."""

    name: str
    type: str
    nullable: bool

    @property
    def arrow(self) -> pa.DataType:
        """Its type in Parquet."""
        return _ARROW[self.type]


def columns_of(connection: psycopg.Connection[Any], name: str) -> tuple[LiveColumn, ...]:
    """The columns of the table `name`, in its own order; raises ExportError for a type that has no form in Parquet."""
    columns = tuple(LiveColumn(*row) for row in connection.execute(_COLUMNS, (name,)).fetchall())
    for column in columns:
        if column.type not in _ARROW:
            raise ExportError(
                f"{name}.{column.name}: type {column.type} has no form in an export; add it to export/columns.py"
            )
    return columns


def arrow_schema(columns: Sequence[LiveColumn]) -> pa.Schema:
    """What a Parquet file of these columns has."""
    return pa.schema([pa.field(c.name, c.arrow, c.nullable) for c in columns])


def dictionary(columns: Sequence[LiveColumn]) -> list[str]:
    """The columns that Parquet keeps a dictionary of."""
    return [c.name for c in columns if c.type in ("text", "jsonb") and c.name not in _RANDOM]


def selected(columns: Sequence[LiveColumn]) -> sql.Composed:
    """The select list that gives them as they are in Parquet."""
    return sql.SQL(", ").join(
        sql.SQL("{0}::text AS {0}" if c.type in ("uuid", "jsonb") else "{0}").format(sql.Identifier(c.name))
        for c in columns
    )


def json_schema(table: Exported, columns: Sequence[LiveColumn]) -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of one row; `x-parquet` is the type that a column has in the file."""
    told = {} if table.table is None else {c.name: c.description for c in table.table.columns}
    properties: dict[str, Any] = {}
    for column in columns:
        form = dict(_SCHEMAS[column.type])
        if column.nullable:
            form["type"] = [form["type"], "null"]
        if told.get(column.name):
            form["description"] = told[column.name]
        properties[column.name] = form | {"x-parquet": str(column.arrow), "x-postgresql": column.type}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:loom:export:{table.name}",
        "title": table.name,
        "description": table.description,
        "type": "object",
        "properties": properties,
        "required": [c.name for c in columns],
        "additionalProperties": False,
        "x-key": list(table.key),
    }


def to_copy(rows: pl.DataFrame, columns: Sequence[LiveColumn]) -> pa.Table:
    """Rows from Parquet as Arrow in the form that binary COPY wants: a uuid as 16 bytes, JSON with jsonb's version."""
    return rows.select(_encoded(c) for c in columns).to_arrow()


def _encoded(column: LiveColumn) -> pl.Expr:
    value = pl.col(column.name)
    match column.type:
        case "uuid":
            return value.str.replace_all("-", "", literal=True).str.decode("hex")
        case "jsonb":
            return (pl.lit(_JSONB_VERSION) + value).alias(column.name)
        case "timestamp with time zone":
            return value.cast(UTC_MICROS)
        case _:
            return value
