"""Computing a day: read what it is made from, compute, and write what is different, in one transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import polars as pl

from loom_contracts.table import ColumnType
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.dataset import Connection, Dataset, Window
from loom_platform.zones import read_clock

_DROPPED: Final = """
SELECT EXISTS (SELECT FROM retention_drops WHERE table_name = ANY(%s) AND row_count > 0 AND day BETWEEN %s AND %s)
"""
_ZONE: Final = "SELECT time_zone FROM person_days WHERE day = %s AND source = 'setting'"


@dataclass(frozen=True, slots=True)
class Computed:
    """What became of one day of a dataset. `kept`: what it is made from is partly gone by retention, so the rows that
    are there stay as they are."""

    table: str
    rows: int
    changed: bool
    kept: bool = False


def window_of(connection: Connection, day: date, datasets: Sequence[Dataset], default_zone: str | None) -> Window:
    """What the rows of `day` are computed from. Without a `default_zone` it is the one that the day had."""
    clock = read_clock(connection, day, day, default_zone or _zone_before(connection, day))
    bounds = clock.day(day)
    sources = {s.name: s for d in datasets for s in d.sources}
    frames = {name: s.read(connection, bounds.starts_at, bounds.ends_at) for name, s in sources.items()}
    return Window(bounds, clock, frames)


def compute_day(
    connection: Connection,
    day: date,
    run_id: str,
    default_zone: str | None,
    datasets: Sequence[Dataset] = DATASETS,
    *,
    whatever_is_left: bool = False,
) -> list[Computed]:
    """Bring `day` of each dataset up to date; a table is written only where its rows are different.

    With `whatever_is_left` also where retention has taken some of what the day was made from: an erasure must.
    """
    done = []
    with connection.transaction():
        # Two runs of one day follow each other, and the later one reads later.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('loom-days'), %s)", (day.toordinal(),))
        window = window_of(connection, day, datasets, default_zone)
        for dataset in datasets:
            known = rows_of(connection, dataset, day)
            if known and not whatever_is_left and _gone(connection, dataset, window):
                done.append(Computed(dataset.table, len(known), changed=False, kept=True))
                continue
            rows = wire(dataset, dataset.compute(window))
            if rows != known:
                _replace(connection, dataset, day, rows, run_id)
            done.append(Computed(dataset.table, len(rows), changed=rows != known))
    return done


def _zone_before(connection: Connection, day: date) -> str:
    row = connection.execute(_ZONE, (day,)).fetchone()
    return str(row[0]) if row else "UTC"


def _gone(connection: Connection, dataset: Dataset, window: Window) -> bool:
    """Whether retention has taken rows that this day is made from."""
    tables = [topic.table.name for topic in dataset.topics]
    first, last = window.day.starts_at.astimezone(UTC).date(), window.day.ends_at.astimezone(UTC).date()
    row = connection.execute(_DROPPED, (tables, first, last)).fetchone()
    return bool(row and row[0])


def rows_of(connection: Connection, dataset: Dataset, day: date) -> list[tuple[Any, ...]]:
    """The rows of `day` as they stand, in order of their key."""
    names = ", ".join(f"{c.name}::text" if c.type is ColumnType.UUID else c.name for c in dataset.columns)
    query = f"SELECT {names} FROM {dataset.table} WHERE day = %s"
    return _ordered(dataset, [tuple(map(_utc, row)) for row in connection.execute(query.encode(), (day,)).fetchall()])


def wire(dataset: Dataset, frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The rows of a computed frame as the table gives them back, in order of their key."""
    json_columns = {c.name for c in dataset.columns if c.type is ColumnType.JSON and c.name != "device_ids"}
    read = [json.loads if c.name in json_columns else _utc for c in dataset.columns]
    rows = frame.select(c.name for c in dataset.columns).iter_rows()
    return _ordered(dataset, [tuple(f(v) for f, v in zip(read, row, strict=True)) for row in rows])


def _ordered(dataset: Dataset, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    places = [n for n, c in enumerate(dataset.columns) if c.name in dataset.key]
    return sorted(rows, key=lambda row: [row[n] for n in places])


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _replace(connection: Connection, dataset: Dataset, day: date, rows: list[tuple[Any, ...]], run_id: str) -> None:
    columns = ["day", *(c.name for c in dataset.columns), "run_id"]
    query = f"INSERT INTO {dataset.table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"
    values = [(day, *(json.dumps(v) if isinstance(v, dict) else v for v in row), run_id) for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {dataset.table} WHERE day = %s".encode(), (day,))
        cursor.executemany(query.encode(), values)
