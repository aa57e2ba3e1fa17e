"""Tables in context queries, bounded in time.

A table has a partition for each day, for years. PostgreSQL plans for, and locks, every partition that a query does not
rule out by values that are known when it is planned; times that come out of the query itself rule out none. So each
query of a live stage also says, by parameters, between which moments all that it reads lies.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta


def bounded(table: str) -> str:
    """SQL of a table or view between the parameters that `bounds` gives; it takes the place of its name.

    It is merged into the query around it, whose indexes are used as if it were not there.
    """
    return f"(SELECT * FROM {table} WHERE timestamp BETWEEN %(earliest)s AND %(latest)s)"


def bounds(times: Iterable[datetime], before: timedelta, after: timedelta) -> Mapping[str, datetime]:
    """The parameters of `bounded` for a query that reads from `before` the first of `times` to `after` the last."""
    known = list(times)
    return {"earliest": min(known) - before, "latest": max(known) + after}
