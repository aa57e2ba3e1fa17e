"""How the answers of two versions of a stage differ, day by day, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import polars as pl
from adbc_driver_postgresql import dbapi as adbc

from loom_contracts.table import ColumnType
from loom_contracts.topic import Topic

EXAMPLES: Final = 5
_OF_THE_ROW: Final = frozenset(
    {"message_id", "trace_id", "span_id", "schema_version", "stage", "stage_version", "run_id", "computed_at",
     "superseded_at"}
)  # fmt: skip
"""What tells of the row itself, not of the answer."""


@dataclass
class Difference:
    """Answers of two versions over some days. An answer is all rows of one scope: one window, one fix.

    `changed_columns` counts, for each column, the changed answers in which it differs; `examples` are (scope, column,
    first, second) of some changed ones, `alone` are (version, scope) of some that only one version has.
    """

    topic: Topic
    first: str
    second: str
    rows: tuple[int, int] = (0, 0)
    same: int = 0
    changed: int = 0
    only_first: int = 0
    only_second: int = 0
    changed_columns: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[dict[str, Any], str, Any, Any]] = field(default_factory=list)
    alone: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def answers(self) -> int:
        """Scopes that either version has answered."""
        return self.same + self.changed + self.only_first + self.only_second

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program."""
        return {
            "topic": self.topic.name,
            "first": {"version": self.first, "rows": self.rows[0], "only": self.only_first},
            "second": {"version": self.second, "rows": self.rows[1], "only": self.only_second},
            "same": self.same,
            "changed": self.changed,
            "changed_columns": self.changed_columns,
            "examples": [
                {"scope": scope, "column": column, "first": one, "second": two}
                for scope, column, one, two in self.examples
            ],
            "only_one_has": [{"version": version, "scope": scope} for version, scope in self.alone],
        }


def difference(
    database_url: str,
    topic: Topic,
    stage: str,
    first: str,
    second: str,
    days: tuple[date, date],
    device_id: str | None = None,
) -> Difference:
    """Compare what versions `first` and `second` of `stage` say in the table of `topic` on UTC `days`, both included.

    With `device_id` only what they say of that device. Numbers that differ by less than one in 10⁹ are the same.
    """
    found = Difference(topic, first, second)
    for day in _each_day(*days):
        one, two = (_answers(database_url, topic, stage, version, day, device_id) for version in (first, second))
        _compare(found, one, two)
    return found


def _each_day(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        yield day
        day += timedelta(days=1)


def _answers(
    database_url: str, topic: Topic, stage: str, version: str, day: date, device_id: str | None
) -> pl.DataFrame:
    """The standing rows of one version and day: the scope, and the compared columns."""
    table = topic.table
    casts = {ColumnType.UUID, ColumnType.JSON}
    columns = [
        f"{c.name}::text AS {c.name}" if c.type in casts else c.name
        for c in table.columns
        if c.name not in _OF_THE_ROW or c.name in table.scope
    ]
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    query = (
        f"SELECT {', '.join(columns)} FROM {table.name} WHERE stage = $1 AND stage_version = $2 "
        f"AND timestamp >= $3 AND timestamp < $4 AND superseded_at IS NULL AND ($5 = '' OR device_id = $5)"
    )
    with adbc.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(query, (stage, version, start, start + timedelta(days=1), device_id or ""))
        return pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table()))


def _compare(found: Difference, one: pl.DataFrame, two: pl.DataFrame) -> None:
    scope = list(found.topic.table.scope)
    compared = [c for c in one.columns if c not in scope]
    # Rows of one scope are an answer together: those alike are matched by their order.
    ordered = [
        frame.sort(*scope, *compared, nulls_last=True).with_columns(pl.int_range(pl.len()).over(scope).alias("_row"))
        for frame in (one, two)
    ]
    marked = [frame.with_columns(pl.lit(value=True).alias("_here")) for frame in ordered]
    both = marked[0].join(marked[1], on=[*scope, "_row"], how="full", suffix="_2", coalesce=True, nulls_equal=True)
    differs = [_differs(name, one.schema[name]).alias(f"_differs_{name}") for name in compared]
    both = both.with_columns(pl.col("_here", "_here_2").fill_null(value=False)).with_columns(*differs)
    flags = [pl.col(f"_differs_{name}").any().alias(f"_differs_{name}") for name in compared]
    answers = both.group_by(scope, maintain_order=True).agg(
        pl.col("_here").any().alias("_one"),
        pl.col("_here_2").any().alias("_two"),
        (pl.any_horizontal(pl.lit(value=False), *(pl.col(f"_differs_{n}") for n in compared)).any()).alias("_changed"),
        (pl.col("_here") != pl.col("_here_2")).any().alias("_uneven"),
        *flags,
    )
    together = answers.filter("_one", "_two")
    changed = together.filter(pl.col("_changed") | pl.col("_uneven"))
    found.rows = (found.rows[0] + one.height, found.rows[1] + two.height)
    alone = (answers.filter("_one", ~pl.col("_two")), answers.filter("_two", ~pl.col("_one")))
    found.only_first += alone[0].height
    found.only_second += alone[1].height
    for version, frame in zip((found.first, found.second), alone, strict=True):
        known = sum(v == version for v, _ in found.alone)
        scopes = frame.select(scope).head(max(0, EXAMPLES - known)).iter_rows(named=True)
        found.alone += [(version, each) for each in scopes]
    found.changed += changed.height
    found.same += together.height - changed.height
    for name in compared:
        if number := int(changed[f"_differs_{name}"].sum()):
            found.changed_columns[name] = found.changed_columns.get(name, 0) + number
    _exemplify(found, both, scope, compared)


def _differs(name: str, dtype: pl.DataType) -> pl.Expr:
    one, two = pl.col(name), pl.col(f"{name}_2")
    unequal = one.ne_missing(two)
    if dtype.is_float():
        # Sums in another order differ in their last digits.
        close = (one - two).abs() <= 1e-9 * pl.max_horizontal(one.abs(), two.abs(), pl.lit(1e-9))
        unequal = unequal & ~close.fill_null(value=False)
    return unequal & pl.col("_here") & pl.col("_here_2")


def _exemplify(found: Difference, both: pl.DataFrame, scope: list[str], compared: list[str]) -> None:
    for name in compared:
        if len(found.examples) >= EXAMPLES:
            return
        if any(column == name for _, column, _, _ in found.examples):
            continue
        for row in both.filter(pl.col(f"_differs_{name}")).head(1).iter_rows(named=True):
            found.examples.append(({s: row[s] for s in scope}, name, row[name], row[f"{name}_2"]))
