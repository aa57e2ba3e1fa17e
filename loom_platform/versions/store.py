"""Which versions of a stage there are, and which one its `_current` views show.

A promotion is one row changed and one line in the log, in one transaction: a reader sees the old version or the new
one, never both or none.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from loom_contracts.topic import Topic
from loom_platform.errors import PlatformError

Connection = psycopg.Connection[Any]

_VERSIONS = """
SELECT v.stage, v.version, v.first_run_at, p.version IS NOT NULL AS promoted, p.promoted_at
FROM stage_versions v LEFT JOIN stage_promotions p ON p.stage = v.stage AND p.version = v.version
WHERE %(stage)s::text IS NULL OR v.stage = %(stage)s ORDER BY v.stage, v.first_run_at, v.version
"""
# The row lock makes two promotions of one stage follow each other, so the log is one line of history.
_PROMOTED = "SELECT version FROM stage_promotions WHERE stage = %s FOR UPDATE"
_PROMOTE = """
INSERT INTO stage_promotions (stage, version) VALUES (%(stage)s, %(version)s)
ON CONFLICT (stage) DO UPDATE SET version = EXCLUDED.version, promoted_at = now()
"""
_LOG = """
INSERT INTO stage_promotion_log (stage, version, previous, action)
VALUES (%(stage)s, %(version)s, %(previous)s, %(action)s)
"""
_HISTORY = """
SELECT version, previous, action, promoted_at FROM stage_promotion_log WHERE stage = %s ORDER BY id
"""
# Only days, so the index of the partitions' key is walked and no row is fetched twice.
_DAYS = """
SELECT DISTINCT (timestamp AT TIME ZONE 'UTC')::date FROM {table}
WHERE stage = %s AND stage_version = %s AND superseded_at IS NULL ORDER BY 1
"""
_ROWS = """
SELECT stage_version, count(*) FILTER (WHERE superseded_at IS NULL), count(*) FILTER (WHERE superseded_at IS NOT NULL),
       min(timestamp), max(timestamp)
FROM {table} WHERE stage = %s GROUP BY stage_version
"""


class VersionError(PlatformError):
    """That version cannot be shown."""


class VersionInfo(NamedTuple):
    """One version of one stage."""

    stage: str
    version: str
    first_run_at: datetime
    promoted: bool
    promoted_at: datetime | None


class Rows(NamedTuple):
    """What one version has in one table: rows that stand, rows that were superseded, and their first and last time."""

    version: str
    standing: int
    superseded: int
    first_at: datetime | None
    last_at: datetime | None


class Promotion(NamedTuple):
    """One line of the log."""

    version: str
    previous: str | None
    action: str
    promoted_at: datetime


def versions(connection: Connection, stage: str | None = None) -> list[VersionInfo]:
    """Every version that ever ran, of `stage` or of all, in the order of their first runs."""
    return [VersionInfo(*row) for row in connection.execute(_VERSIONS, {"stage": stage}).fetchall()]


def rows(connection: Connection, stage: str, sink: Topic) -> dict[str, Rows]:
    """What each version of `stage` has in the table of `sink`; reads the whole table."""
    found = connection.execute(_in(_ROWS, sink), (stage,)).fetchall()
    return {row[0]: Rows(*row) for row in found}


def history(connection: Connection, stage: str) -> list[Promotion]:
    """The promotions of `stage`, the oldest first."""
    return [Promotion(*row) for row in connection.execute(_HISTORY, (stage,)).fetchall()]


def days(connection: Connection, stage: str, version: str, sink: Topic) -> set[date]:
    """UTC days on which `version` has rows that stand."""
    return {row[0] for row in connection.execute(_in(_DAYS, sink), (stage, version)).fetchall()}


def promoted(connection: Connection, stage: str) -> str | None:
    """The version that is shown; None where any is."""
    row = connection.execute("SELECT version FROM stage_promotions WHERE stage = %s", (stage,)).fetchone()
    return None if row is None else row[0]


def uncovered(connection: Connection, stage: str, version: str, sinks: Sequence[Topic]) -> list[date]:
    """Days that the shown version has answers for and `version` has none: they would be empty after a promotion."""
    shown = promoted(connection, stage)
    if shown is None or shown == version:
        return []
    missing: set[date] = set()
    for sink in sinks:
        missing |= days(connection, stage, shown, sink) - days(connection, stage, version, sink)
    return sorted(missing)


def promote(connection: Connection, stage: str, version: str, action: str = "promote") -> str | None:
    """Show `version` of `stage`; the version that was shown before. Raises VersionError when it never ran."""
    with connection.transaction():
        row = connection.execute(_PROMOTED, (stage,)).fetchone()
        previous = None if row is None else row[0]
        known = [v.version for v in versions(connection, stage)]
        if version not in known:
            raise VersionError(
                f"stage {stage} has no version {version!r}: those that ran are {', '.join(known) or 'none'}; "
                "compute it first with `loom recompute`"
            )
        if previous != version:
            values = {"stage": stage, "version": version, "previous": previous, "action": action}
            connection.execute(_PROMOTE, values)
            connection.execute(_LOG, values)
    return previous


def rollback(connection: Connection, stage: str) -> tuple[str, str]:
    """Show again what was shown before the last promotion: (from, to). Raises VersionError when there is none.

    Two rollbacks go back two promotions: what was rolled back is not counted.
    """
    with connection.transaction():
        connection.execute(_PROMOTED, (stage,))
        shown: list[str] = []
        for line in history(connection, stage):
            if line.action == "rollback" and len(shown) > 1:
                shown.pop()
            else:
                shown.append(line.version)
        if len(shown) < 2:
            raise VersionError(f"stage {stage}: nothing was promoted before, so there is nothing to go back to")
        promote(connection, stage, shown[-2], "rollback")
    return shown[-1], shown[-2]


def _in(query: str, sink: Topic) -> sql.Composed:
    return sql.SQL(query).format(table=sql.Identifier(sink.table.name))
