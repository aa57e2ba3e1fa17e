"""What there is of each roll-up, and whether what it tells is right."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from psycopg import sql

from loom_contracts.errors import ContractError
from loom_contracts.rollups import ROLLUPS, UNITS, Rollup, Unit, rollup_of
from loom_contracts.topics.registry import topic_named
from loom_platform.errors import PlatformError
from loom_platform.rollups.marks import Connection, store

DAY: Final = timedelta(days=1)
_STATUS = """
SELECT r.kind, nullif(r.frozen_before, '-infinity'),
       (SELECT count(*) FROM rollup_marks m WHERE m.table_name = r.table_name)
FROM rollup_tables r WHERE r.table_name = %s
"""
_FLOOR = "SELECT nullif(greatest(frozen_before, kept_from), '-infinity') FROM rollup_tables WHERE table_name = %s"
_ROWS = "SELECT count(*), min(bucket), max(bucket) FROM {}"
_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint + pg_total_relation_size(%(store)s::regclass)
FROM pg_inherits i WHERE i.inhparent = %(store)s::regclass
"""
_PENDING = "SELECT table_name, count(*) FROM rollup_marks GROUP BY table_name ORDER BY table_name"
_EXTENT = "SELECT min(timestamp), max(timestamp) FROM {}"


@dataclass(frozen=True, slots=True)
class RollupStatus:
    """One roll-up: how it is kept, what it holds, what is to be counted anew, and before when it outlives its rows."""

    table: str
    kind: Literal["table", "aggregate"]
    measures: tuple[str, ...]
    dimensions: tuple[str, ...]
    minutes: int
    hours: int
    first: datetime | None
    last: datetime | None
    bytes: int
    marks: int
    frozen_before: datetime | None


class Difference(NamedTuple):
    """A bucket in which a roll-up does not tell what its rows do; `told` and `counted` are its samples."""

    view: str
    bucket: datetime
    device_id: str
    told: int
    counted: int


def rollup_named(name: str) -> Rollup:
    """The roll-up of the table or topic called `name`; raises PlatformError that lists those that there are."""
    found = rollup_of(name)
    if found is None:
        try:
            found = rollup_of(topic_named(name).table)
        except ContractError:
            found = None
    if found is None:
        known = ", ".join(r.topic.name for r in ROLLUPS)
        raise PlatformError(f"{name!r} has no roll-up; those that have are {known}")
    return found


def statuses(connection: Connection) -> list[RollupStatus]:
    """Every roll-up, in the order of the contract."""
    return [_status(connection, rollup) for rollup in ROLLUPS]


def pending(connection: Connection) -> dict[str, int]:
    """How many marks there are, by table; only those that have any."""
    return {str(table): int(marks) for table, marks in connection.execute(_PENDING).fetchall()}


def differences(
    connection: Connection, rollup: Rollup, first: datetime | None = None, last: datetime | None = None
) -> Iterator[Difference]:
    """Where the roll-up differs from a fresh count of the rows from `first` to `last`, or of all that are there.

    It goes day by day, in bounded memory. What is frozen is left out: its rows may be gone. So is what is not kept.
    """
    floor = _one(connection, _FLOOR, rollup)[0]
    query = sql.SQL(_EXTENT).format(sql.Identifier(rollup.table.name))
    row = connection.execute(query).fetchone()
    if row is None or row[0] is None:
        row = (None, None)
    # Buckets whose rows are all gone lie outside of the rows.
    kept = _extent(connection, rollup)
    begins = first or min((t for t in (row[0], kept[0]) if t is not None), default=None)
    ends = last or max((t for t in (row[1], kept[1]) if t is not None), default=None)
    if begins is None or ends is None:
        return
    day = begins.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if floor is not None:
        day = max(day, floor.astimezone(UTC))
    while day <= ends:
        for unit in UNITS:
            values = (rollup.table.name, unit, day, day + DAY)
            for found in connection.execute("SELECT * FROM loom_rollup_differences(%s, %s, %s, %s)", values).fetchall():
                yield Difference(rollup.view(unit), *found)
        day += DAY


def _status(connection: Connection, rollup: Rollup) -> RollupStatus:
    kind, frozen, marks = _one(connection, _STATUS, rollup)
    minutes, first, last = _rows(connection, rollup, "minute")
    hours, _, _ = _rows(connection, rollup, "hour")
    return RollupStatus(
        rollup.table.name,
        kind,
        tuple(m.name for m in rollup.measures),
        tuple(d.name for d in rollup.dimensions),
        minutes,
        hours,
        first,
        last,
        sum(_bytes(connection, rollup, unit) for unit in UNITS),
        marks,
        frozen,
    )


def _one(connection: Connection, query: str, rollup: Rollup) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), (rollup.table.name,)).fetchone()
    if row is None:
        raise PlatformError(f"the database has no roll-up of {rollup.table.name}; run `loom db migrate`")
    return tuple(row)


def _rows(connection: Connection, rollup: Rollup, unit: Unit) -> tuple[int, datetime | None, datetime | None]:
    row = connection.execute(sql.SQL(_ROWS).format(sql.Identifier(f"{rollup.view(unit)}_kept"))).fetchone()
    return (0, None, None) if row is None else (row[0], row[1], row[2])


def _extent(connection: Connection, rollup: Rollup) -> tuple[datetime | None, datetime | None]:
    _, first, last = _rows(connection, rollup, "minute")
    return first, last


def _bytes(connection: Connection, rollup: Rollup, unit: Unit) -> int:
    row = connection.execute(_BYTES, {"store": store(connection, rollup, unit)}).fetchone()
    return int(row[0]) if row else 0
