"""Records by pydantic, one by one: for the reason why one breaks its contract, and for the few of a live batch.

A frame costs polars some milliseconds however few its rows are, and pydantic some microseconds a record.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import polars as pl
from pydantic import ValidationError

from loom_contracts.message import Message
from loom_contracts.table import ColumnType, type_of
from loom_models.frames import UTC_MICROS, frame_schema
from loom_platform.stream.checks import implausible
from loom_platform.stream.source import Records

_NAMESPACE = uuid5(NAMESPACE_URL, "https://github.com/loomv2/loomv2#received")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NO_COLUMN = "value can't be put in a column: a number or text outside what the table holds"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """A frame of the payload's columns, the position of each of its rows, and the reasons of the others."""

    frame: pl.DataFrame
    positions: list[int]
    poison: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Columns:
    schema: pl.Schema
    times: tuple[str, ...]
    json: tuple[str, ...]


@lru_cache(maxsize=256)
def _columns(payload: type[Message]) -> _Columns:
    schema = frame_schema(payload)
    times = tuple(n for n, d in schema.items() if d == UTC_MICROS)
    fields = payload.model_fields.items()
    return _Columns(schema, times, tuple(n for n, f in fields if type_of(f.annotation, n)[0] is ColumnType.JSON))


def one_by_one(records: Records, positions: Sequence[int], payload: type[Message]) -> Rows:
    """The records at `positions` as rows in the payload's canonical form, and why the others are none."""
    rows: dict[int, Row] = {}
    poison: dict[int, str] = {}
    for position in positions:
        try:
            rows[position] = _row(records, position, payload)
        except ValidationError as error:
            poison[position] = describe(error)
        except (ValueError, RecursionError) as error:
            poison[position] = str(error)
    frame = _frame(rows, payload, poison)
    return Rows(frame, [p for p in rows if p not in poison] if poison else list(rows), poison)


def _row(records: Records, position: int, payload: type[Message]) -> Row:
    """The record as its columns take it: times in microseconds since 1970, JSON as text.

    Raises ValueError (ValidationError is one) with the reason when the record breaks its contract.
    """
    value = records.values[position]
    if value is None:
        raise ValueError("the message has no value")
    columns = _columns(payload)
    message = payload.model_validate_json(value)
    told = message.model_fields_set
    received: datetime = records.received_at[position]
    if why := implausible(message.schema_version, message.timestamp if "timestamp" in told else received, received):
        raise ValueError(why)
    fields = message.model_dump(mode="json")
    for name in columns.times:
        moment: datetime | None = getattr(message, name)
        fields[name] = None if moment is None else (moment - _EPOCH) // _MICROSECOND
    if "message_id" not in told:
        fields["message_id"] = str(_identity(records, position))
    if "timestamp" not in told:
        fields["timestamp"] = (received - _EPOCH) // _MICROSECOND
    for name in columns.json:
        if fields[name] is not None:
            fields[name] = json.dumps(fields[name], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            if _NUL.search(fields[name]):
                raise ValueError(_no_nul(name))
    for name, item in fields.items():
        if isinstance(item, str) and "\x00" in item:
            raise ValueError(_no_nul(name))
        if isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise ValueError(f"{name}: {item} does not fit into 64 bits")
    return fields


def _no_nul(name: str) -> str:
    return f"{name}: text holds a NUL character, which no table can keep: remove it at the sender"


def _identity(records: Records, position: int) -> UUID:
    """An identity for a record that came without one: where it lies, and since when (a topic can be made again)."""
    received: datetime = records.received_at[position]
    where = f"{records.partitions[position]}\n{records.offsets[position]}\n{received.isoformat()}"
    return uuid5(_NAMESPACE, where)


def _frame(rows: Mapping[int, Row], payload: type[Message], poison: dict[int, str]) -> pl.DataFrame:
    """A frame of `rows`; one that no column takes is told in `poison` and left out."""
    try:
        return _series(list(rows.values()), payload)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        if len(rows) == 1:
            poison[next(iter(rows))] = _NO_COLUMN
            return _series([], payload)
    positions = list(rows)
    middle = len(positions) // 2
    halves = positions[:middle], positions[middle:]
    return pl.concat([_frame({p: rows[p] for p in half}, payload, poison) for half in halves])


def _series(rows: Sequence[Row], payload: type[Message]) -> pl.DataFrame:
    columns = _columns(payload)
    made = []
    for name, dtype in columns.schema.items():
        values = [row[name] for row in rows]
        time = name in columns.times
        series = pl.Series(name, values, dtype=pl.Int64 if time else dtype)
        made.append(series.cast(UTC_MICROS) if time else series)
    return pl.DataFrame(made)


def describe(error: ValidationError) -> str:
    """Every complaint of `error` as `field: what (got value)`, short, so that a person can mend the sender."""
    complaints = []
    for e in error.errors(include_url=False)[:5]:
        where = ".".join(str(part) for part in e["loc"]) or "message"
        got = "" if e["type"] in ("missing", "json_invalid") else f" (got {repr(e['input'])[:80]})"
        complaints.append(f"{where}: {e['msg']}{got}")
    return "; ".join(complaints)
