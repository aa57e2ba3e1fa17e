"""Frames of a payload: the polars schema of its wire form."""

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
