"""How a database keeps its series: on which engine, and over which days.

The tables are the same on both engines: PostgreSQL's own partitions, one for each UTC day, or TimescaleDB's
hypertables with chunks of a day, compressed when they are a week old (`sql/0015.timeseries.sql`).
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

# Without it, changing or erasing rows of compressed days fails once it has unpacked so many.
_UNPACKED = "timescaledb.max_tuples_decompressed_per_dml_transaction"

_ENGINE = """
SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb'),
       coalesce(current_setting('timescaledb.license', true) = 'timescale', false)
"""
_DAYS = """
SELECT count(DISTINCT t.table_name), count(d.day), count(d.day) FILTER (WHERE d.compressed), min(d.day), max(d.day),
       coalesce(sum(d.bytes), 0)::bigint
FROM timeseries_tables t LEFT JOIN LATERAL loom_days(t.table_name) d ON true
"""
_MISSING_ROLES = """
SELECT array_agg(name ORDER BY name) FROM unnest('{loom_ingest,loom_migrate,loom_read,loom_stream}'::text[]) name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
"""


@dataclass(frozen=True, slots=True)
class Storage:
    """What `loom db status` says of the tables: `days` and `compressed` count a day once for each table that has it."""

    postgresql: str
    timescaledb: str | None
    timescaledb_available: bool
    compressing: bool
    tables: int
    days: int
    compressed: int
    first_day: date | None
    last_day: date | None
    bytes: int
    missing_roles: tuple[str, ...]


def storage(connection: psycopg.Connection[Any]) -> Storage:
    """Look at a database that is migrated to 0015 or later."""
    engine = connection.execute(_ENGINE).fetchone()
    days = connection.execute(_DAYS).fetchone()
    roles = connection.execute(_MISSING_ROLES).fetchone()
    if engine is None or days is None or roles is None:
        raise AssertionError("an aggregate without GROUP BY gives one row")
    return Storage(*(*engine, *days, tuple(roles[0] or ())))


def use_timescaledb(connection: psycopg.Connection[Any]) -> bool:
    """Install the extension in an empty database of a server that runs it; False where days will be native.

    That is so too where the user may not install it, and the administrator did not.
    """
    # its own setting is there when the server has loaded it, and unlike shared_preload_libraries anyone may see it
    running = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'timescaledb.max_background_workers') "
        "AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
    ).fetchone()
    if running is None or not running[0]:
        return False
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def settle(connection: psycopg.Connection[Any]) -> None:
    """Let changes to compressed days unpack as much as they need; only the database's owner can say so."""
    row = connection.execute(
        "SELECT current_database(), pg_has_role(d.datdba, 'USAGE') "
        "AND EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') "
        "AND NOT EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0 "
        "AND %s = ANY (s.setconfig)) FROM pg_database d WHERE d.datname = current_database()",
        (f"{_UNPACKED}=0",),
    ).fetchone()
    if row is not None and row[1]:
        statement = sql.SQL("ALTER DATABASE {} SET {} = 0")
        connection.execute(statement.format(sql.Identifier(row[0]), sql.SQL(_UNPACKED)))
