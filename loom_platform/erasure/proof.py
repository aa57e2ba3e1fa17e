"""What is there of a scope, before an erasure and after it: counted anew, table by table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from loom_contracts.rollups import ROLLUPS, UNITS
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.erasure import border, ledger, others, rows
from loom_platform.erasure.kafka import Holding
from loom_platform.erasure.scope import Erasure, Scope

Connection = psycopg.Connection[Any]


def as_if(connection: Connection, scope: Scope) -> Erasure:
    """The erasure that would begin now; nothing is written."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    now: datetime = row[0] if row else datetime.now(UTC)
    return Erasure(UUID(int=0), scope, "", now, now, None, {}, None)


def counts(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """Rows of the scope by table, and the bodies that they refer to."""
    found = rows.remaining(connection, erasure)
    bodies = 0
    for topic in (*LANDED, *DERIVED):
        refs = [c.name for c in topic.table.columns if c.name.endswith("_ref")]
        for column in refs if found[topic.table.name] else ():
            query = sql.SQL("SELECT count(DISTINCT {}) FROM {} WHERE {}").format(
                sql.Identifier(column), sql.Identifier(topic.table.name), erasure.scope.of_rows()
            )
            row = connection.execute(query).fetchone()
            bodies += int(row[0]) if row else 0
    for name, row_count in border.near(connection, erasure).items():
        found[name] = found.get(name, 0) + row_count
    return found | others.count(connection, erasure) | ({"bodies": bodies} if bodies else {})


def remaining(connection: Connection, erasure: Erasure) -> dict[str, int]:
    """Everything that should be gone and is not; zero for each place that was looked into."""
    left = rows.remaining(connection, erasure)
    for name, count in border.remaining(connection, erasure).items():
        left[name] = left.get(name, 0) + count
    for name, count in others.count(connection, erasure).items():
        left[name] = left.get(name, 0) + count
    for rollup in ROLLUPS:
        for unit in UNITS:
            view = rollup.view(unit)
            left[view] = others.rollups_left(connection, erasure, view, rollup.table.name, unit)
    left["bodies"] = len(ledger.noted(connection, erasure, "body"))
    left["retries"] = len(ledger.noted(connection, erasure, "retry"))
    return left


def written(
    connection: Connection, erasure: Erasure, held: Sequence[Holding], waiting: int, traced: dict[str, Any]
) -> dict[str, Any]:
    """The proof as the ledger keeps it: what was erased, that none of it remains, what Kafka holds until when."""
    now = connection.execute("SELECT clock_timestamp()").fetchone()
    return {
        "proved_at": (now[0] if now else datetime.now(UTC)).isoformat(),
        "erased": dict(erasure.counts),
        "remaining": 0,
        "looked_into": len(rows.remaining(connection, erasure)) + 2 * len(ROLLUPS) + len(others.OTHERS),
        "kafka": [holding.as_json() for holding in held],
        "spool_records": waiting,
        **traced,
    }
