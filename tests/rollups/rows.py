"""Rows for the roll-ups' tests, and a count of them that knows nothing of how Loom does it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from loom_contracts.rollups import Rollup, Unit, rollup_of
from loom_contracts.table import Column, ColumnType, Table
from loom_contracts.topics.device import ACCELEROMETER_WINDOWED, GPS_RAW
from loom_contracts.topics.phone import SENSOR_STATE_RAW
from loom_platform.stream.writer import Writer, copied

START = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
_ZERO: dict[ColumnType, Any] = {
    ColumnType.TEXT: "",
    ColumnType.UUID: str(uuid.UUID(int=0)),
    ColumnType.TIMESTAMP: START,
    ColumnType.FLOAT: 0.0,
    ColumnType.INTEGER: 0,
    ColumnType.INT4: 0,
    ColumnType.BOOLEAN: False,
    ColumnType.JSON: "{}",
}
_DTYPES: dict[ColumnType, Any] = {
    ColumnType.TIMESTAMP: pl.Datetime("us", "UTC"),
    ColumnType.FLOAT: pl.Float64(),
    ColumnType.INTEGER: pl.Int64(),
    ColumnType.INT4: pl.Int32(),
    ColumnType.BOOLEAN: pl.Boolean(),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of any of TABLES: `numbers` by column, `keys` by what else keeps rows apart."""

    device_id: str
    timestamp: datetime
    numbers: Mapping[str, float | None]
    keys: Mapping[str, str | None] = field(default_factory=dict)
    message_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def roll_up(table: Table) -> Rollup:
    rollup = rollup_of(table)
    assert rollup is not None
    return rollup


GPS = roll_up(GPS_RAW.table)
STATES = roll_up(SENSOR_STATE_RAW.table)
WINDOWS = roll_up(ACCELEROMETER_WINDOWED.table)


def write(connection: psycopg.Connection[Any], rollup: Rollup, rows: Sequence[Row]) -> None:
    """Write `rows` as the stream engine does, in the caller's transaction."""
    columns = copied(rollup.table)
    values = {c.name: [_value(c, row) for row in rows] for c in columns}
    schema = {c.name: _DTYPES.get(c.type, pl.String()) for c in columns}
    Writer(connection).write(rollup.table, pl.DataFrame(values, schema=schema))


def _value(column: Column, row: Row) -> Any:
    known: dict[str, Any] = {
        **row.numbers,
        **row.keys,
        **{n: getattr(row, n) for n in ("device_id", "timestamp", "message_id")},
    }
    if column.name in known:
        return known[column.name]
    return None if column.nullable else _ZERO[column.type]


def counted(rollup: Rollup, rows: Iterable[Row], unit: Unit) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the roll-up of `rows` by `unit` is to say, by its key: bucket, device, dimensions."""
    size = timedelta(minutes=1) if unit == "minute" else timedelta(hours=1)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda r: (r.timestamp, r.message_id)):
        bucket = row.timestamp - (row.timestamp - START.replace(minute=0)) % size
        key = (bucket, row.device_id, *(row.keys.get(d.name) or "" for d in rollup.dimensions))
        groups.setdefault(key, []).append(row)
    return {key: {"samples": len(members), **_numbers(rollup, members)} for key, members in groups.items()}


def _numbers(rollup: Rollup, members: Sequence[Row]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for measure in rollup.measures:
        found = [n if abs(n) >= 1e-290 else 0.0 for row in members if (n := row.numbers.get(measure.name)) is not None]
        name = measure.name
        if measure.optional:
            told[f"{name}_count"] = len(found)
        told[f"{name}_min"] = min(found, default=None)
        told[f"{name}_max"] = max(found, default=None)
        told[f"{name}_last"] = found[-1] if found else None
        told[f"{name}_sum"] = sum(found) if found else None
        told[f"{name}_mean"] = sum(found) / len(found) if found else None
    return told


def told(
    connection: psycopg.Connection[Any], rollup: Rollup, unit: Unit, devices: Sequence[str], suffix: str = ""
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the view says of `devices`, in the same form."""
    columns = rollup.columns
    keys = 2 + len(rollup.dimensions)
    query = sql.SQL("SELECT {} FROM {} WHERE device_id = ANY(%s)").format(
        sql.SQL(", ").join(sql.Identifier(c.name) for c in columns), sql.Identifier(rollup.view(unit) + suffix)
    )
    rows = connection.execute(query, (list(devices),)).fetchall()
    found = {tuple(row[:keys]): dict(zip((c.name for c in columns[keys:]), row[keys:], strict=True)) for row in rows}
    assert len(found) == len(rows), "a bucket is told twice"
    return found


def assert_same(one: dict[tuple[Any, ...], dict[str, Any]], other: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    """Equal, but for the last digits of sums."""
    assert one.keys() == other.keys()
    for key, numbers in one.items():
        assert numbers.keys() == other[key].keys()
        for name, number in numbers.items():
            value = other[key][name]
            if name.endswith(("_sum", "_mean")) and number is not None and value is not None:
                assert abs(number - value) <= 1e-9 * max(1.0, abs(number)), (key, name)
            else:
                assert number == value, (key, name)
