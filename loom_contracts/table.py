"""A table, derived from its topic's payload, so that a column's name and type are written once."""

import types
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from loom_contracts.errors import ContractError
from loom_contracts.message import DerivedMessage, Message, StoredBody


class ColumnType(StrEnum):
    """PostgreSQL types that Loom's tables use; the value is the name in DDL."""

    TEXT = "text"
    UUID = "uuid"
    TIMESTAMP = "timestamptz"
    FLOAT = "float8"
    INTEGER = "bigint"
    INT4 = "integer"
    BOOLEAN = "boolean"
    JSON = "jsonb"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `default` is an SQL expression, or None."""

    name: str
    type: ColumnType
    nullable: bool = True
    description: str = ""
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one topic's rows; its key is `(timestamp, message_id)`.

    `columns` are in DDL order. `body` names the stored body, if the payload has one. `scope` names the
    columns that say what a derived row answers for: of the rows of one scope and one stage version only the
    newest computation is current, the others carry `superseded_at`. It is empty for landed rows.
    """

    name: str
    columns: tuple[Column, ...]
    body: StoredBody | None
    scope: tuple[str, ...]

    @property
    def derived(self) -> bool:
        """Whether a stage's transform fills it, rather than landing."""
        return bool(self.scope)

    def column(self, name: str) -> Column:
        """The column called `name`; raises ContractError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ContractError(f"table {self.name} has no column {name!r}; it has {[c.name for c in self.columns]}")


LANDING_COLUMNS = (
    Column("kafka_partition", ColumnType.INT4, False, "Partition of the topic that it came from."),
    Column("kafka_offset", ColumnType.INTEGER, False, "Offset in that partition."),
    Column("received_at", ColumnType.TIMESTAMP, False, "When the ingest service accepted it."),
    Column("stored_at", ColumnType.TIMESTAMP, False, "When the row was written.", "now()"),
)
DERIVED_COLUMNS = (
    Column("run_id", ColumnType.TEXT, True, "Dagster run that computed it."),
    Column("computed_at", ColumnType.TIMESTAMP, False, "When the row was written.", "now()"),
    Column("superseded_at", ColumnType.TIMESTAMP, True, "When a newer computation took its place."),
)

_SCALARS: dict[type, ColumnType] = {
    str: ColumnType.TEXT,
    UUID: ColumnType.UUID,
    datetime: ColumnType.TIMESTAMP,
    AwareDatetime: ColumnType.TIMESTAMP,
    float: ColumnType.FLOAT,
    int: ColumnType.INTEGER,
    bool: ColumnType.BOOLEAN,
}


def table_of(payload: type[Message], name: str, scope: tuple[str, ...] = ()) -> Table:
    """The table called `name` for `payload`; derived when the payload is a DerivedMessage."""
    columns: list[Column] = []
    body: StoredBody | None = None
    for field_name, field in payload.model_fields.items():
        marker = next((m for m in field.metadata if isinstance(m, StoredBody)), None)
        if marker is not None:
            body = marker
            columns += (
                Column(f"{marker.name}_ref", ColumnType.TEXT, False, "Where the body lies in object storage."),
                Column(f"{marker.name}_sha256", ColumnType.TEXT, False, "SHA-256 of the body, hexadecimal."),
                Column(f"{marker.name}_size_bytes", ColumnType.INTEGER, False, "Size of the body."),
            )
        else:
            columns.append(_column(field_name, field))
    derived = issubclass(payload, DerivedMessage)
    if derived != bool(scope):
        raise ContractError(f"table {name}: a derived payload has a scope, a landed one has none; got {scope!r}")
    # The key first, then the envelope: every table starts with the same six columns.
    columns.sort(key=lambda c: _LEADING.get(c.name, len(_LEADING)))
    return Table(name, (*columns, *(DERIVED_COLUMNS if derived else LANDING_COLUMNS)), body, scope)


_LEADING = {
    name: place
    for place, name in enumerate(("timestamp", "message_id", "device_id", "schema_version", "trace_id", "span_id"))
}


def _column(name: str, field: FieldInfo) -> Column:
    column_type, optional = type_of(field.annotation, name)
    return Column(name, column_type, optional, field.description or "")


def type_of(annotation: Any, name: str) -> tuple[ColumnType, bool]:
    """The column type of a field's annotation, and whether it may be null; raises ContractError for an unknown one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return type_of(get_args(annotation)[0], name)
    if origin in (Union, types.UnionType):
        arms = [a for a in get_args(annotation) if a is not type(None)]
        kinds = {type_of(a, name)[0] for a in arms}
        kind = ColumnType.FLOAT if kinds == {ColumnType.FLOAT, ColumnType.INTEGER} else kinds.pop()
        return kind, len(arms) < len(get_args(annotation))
    if origin is Literal:
        return ColumnType.TEXT, False
    if origin in (list, dict, tuple, frozenset, set):
        return ColumnType.JSON, False
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return ColumnType.TEXT, False
        for scalar in (annotation, *annotation.__mro__):
            if scalar in _SCALARS:
                return _SCALARS[scalar], False
        return ColumnType.JSON, False
    if annotation is Any:
        return ColumnType.JSON, True
    raise ContractError(f"field {name!r}: no column type for {annotation!r}")
