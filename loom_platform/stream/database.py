"""The engine's connections to PostgreSQL, and what it says there of itself."""

from typing import Any

import psycopg

from loom_models.stage import Stage

_SHOW_FIRST = """
WITH shown AS (
    INSERT INTO stage_promotions (stage, version) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING stage, version
)
INSERT INTO stage_promotion_log (stage, version, action) SELECT stage, version, 'first' FROM shown
"""
# A plan for any parameters is one for the partitions of all days, and takes their locks: each is made for its own.
_OPTIONS = (
    "-c synchronous_commit=off -c statement_timeout=60s -c idle_in_transaction_session_timeout=120s -c jit=off "
    "-c plan_cache_mode=force_custom_plan"
)


def connect(database_url: str, application_name: str) -> psycopg.Connection[Any]:
    """A connection in autocommit mode, named for `pg_stat_activity`.

    A lost server loses no record with `synchronous_commit` off, because a batch's rows and its offset are lost together
    and Kafka still has the records (docs/adr/0001).
    """
    return psycopg.connect(
        database_url, autocommit=True, options=_OPTIONS, application_name=application_name[:63], connect_timeout=5
    )


def register(connection: psycopg.Connection[Any], stage: Stage) -> None:
    """Remember that this version of `stage` runs; the first one is the one that is shown."""
    known = (stage.name, stage.version)
    connection.execute("INSERT INTO stage_versions (stage, version) VALUES (%s, %s) ON CONFLICT DO NOTHING", known)
    connection.execute(_SHOW_FIRST, known)
