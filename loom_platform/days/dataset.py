"""What a dataset of days is: a table with a set of rows for each day, what it reads, and how they are computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from loom_contracts.table import Column
from loom_contracts.topic import Topic
from loom_models.bounds import bounds
from loom_platform.zones import Clock, Day

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Rows that tell of a day. `sql` takes `start`, `end` (of the day) and gives the columns of `schema`.

    `topics` are what it reads, by how many days back (UTC) a row may lie that tells of a day, and how many ahead.
    `bounded` tables are read from `before` the day to `after` it, which is as far as the query reaches or farther.
    """

    name: str
    sql: str
    schema: pl.Schema
    topics: Mapping[Topic, tuple[int, int]]
    before: timedelta
    after: timedelta = timedelta(0)

    def read(self, connection: Connection, start: datetime, end: datetime) -> pl.DataFrame:
        """The rows that tell of [start, end)."""
        values = {"start": start, "end": end, **bounds((start, end), self.before, self.after)}
        rows = connection.execute(self.sql.encode(), values).fetchall()
        return pl.DataFrame(rows, schema=self.schema, orient="row")


@dataclass(frozen=True)
class Window:
    """What one day's rows are computed from. `frames` are by the names of sources."""

    day: Day
    clock: Clock
    frames: Mapping[str, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table with a set of rows a day. `compute` gives a frame with `columns`, which do not name the day; `key` are
    those that tell rows of one day apart."""

    table: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    sources: tuple[Source, ...]
    compute: Callable[[Window], pl.DataFrame]

    @property
    def topics(self) -> Mapping[Topic, tuple[int, int]]:
        """Every topic that is read, with the widest reach."""
        return widest([source.topics for source in self.sources])


def widest(reaches: Sequence[Mapping[Topic, tuple[int, int]]]) -> dict[Topic, tuple[int, int]]:
    """Every topic of any of them, with its widest reach back and ahead."""
    found: dict[Topic, tuple[int, int]] = {}
    for topics in reaches:
        for topic, (back, ahead) in topics.items():
            known = found.get(topic, (0, 0))
            found[topic] = max(back, known[0]), max(ahead, known[1])
    return found
