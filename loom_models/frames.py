"""Frames of a payload: the polars schema of its wire form; and the days of their rows."""

from datetime import date, datetime

import polars as pl

from loom_contracts.message import Message
from loom_contracts.table import ColumnType, type_of

UTC_MICROS = pl.Datetime("us", "UTC")

_DTYPES: dict[ColumnType, pl.DataType] = {
    ColumnType.TEXT: pl.String(),
    ColumnType.UUID: pl.String(),
    ColumnType.JSON: pl.String(),
    ColumnType.TIMESTAMP: UTC_MICROS,
    ColumnType.FLOAT: pl.Float64(),
    ColumnType.INTEGER: pl.Int64(),
    ColumnType.INT4: pl.Int32(),
    ColumnType.BOOLEAN: pl.Boolean(),
}


def dtype_of(column_type: ColumnType) -> pl.DataType:
    """The dtype of a column of this type in a stage's frames."""
    return _DTYPES[column_type]


def frame_schema(payload: type[Message]) -> pl.Schema:
    """The columns of `payload` in a batch; JSON values are text, and so are identities and stored bodies."""
    return pl.Schema({name: _DTYPES[type_of(f.annotation, name)[0]] for name, f in payload.model_fields.items()})


def rows_by_day(times: pl.Series) -> dict[date, int]:
    """How many of `times` (Datetime, UTC, no nulls) are of each day."""
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return {}
    if first.date() == last.date():  # a live batch, as a rule; the quick way by far
        return {first.date(): len(times)}
    return dict(times.dt.date().value_counts().iter_rows())
