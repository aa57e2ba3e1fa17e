"""Migrations: from nothing, from each earlier schema, by many at once, killed, and changed when they had run."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from loom_platform import migrate
from loom_platform.migrate import MigrationError
from loom_platform.timeseries import storage
from tests.conftest import fresh_database

pytestmark = pytest.mark.integration

NAMES = sorted(path.stem for path in migrate.DIRECTORY.glob("*.sql"))

_SHAPE = {
    "columns": """
        SELECT c.relname, c.relkind::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND a.attnum > 0
          AND NOT a.attisdropped AND NOT c.relispartition ORDER BY 1, 3""",
    "indexes": """
        SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition ORDER BY 1""",
    "constraints": """
        SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition ORDER BY 1, 2""",
    "functions": """
        SELECT p.oid::regprocedure::text, md5(p.prosrc), p.prosecdef, p.proconfig FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'loom%' ORDER BY 1""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
    "series": "SELECT table_name, kind FROM timeseries_tables ORDER BY 1",
}


def shape(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything about the schema that a migration can change."""
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query.encode()).fetchall() for name, query in _SHAPE.items()}


def directory_of(folder: Path, names: list[str]) -> Path:
    """A directory of migrations that has only `names`."""
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(migrate.DIRECTORY / f"{name}.sql", folder)
    return folder


def put_rows(url: str, known: Collection[str] = ()) -> dict[str, int]:
    """A row in each other table that is kept by day, in a day of 2024 and in one of 2031; how many rows each has."""
    counts: dict[str, int] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        tables = "SELECT table_name FROM timeseries_tables WHERE table_name <> ALL (%s)"
        for (table,) in connection.execute(tables, (list(known),)).fetchall():
            columns = connection.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
                "AND attnum > 0 AND attnotnull AND NOT atthasdef",
                (table,),
            ).fetchall()
            values = {
                "text": "'text'",
                "uuid": "gen_random_uuid()",
                "jsonb": "'[]'",
                "boolean": "true",
                "timestamp with time zone": "now()",
            }
            for day in ("2024-02-29", "2031-01-01"):
                connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table, day, day))
                connection.execute(
                    sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
                        sql.SQL(", ").join(
                            sql.SQL(f"'{day} 23:59:59Z'" if name == "timestamp" else values.get(kind, "1"))
                            for name, kind in columns
                        ),
                    )
                )
            counts[table] = rows(connection, table)
    return counts


def rows(connection: psycopg.Connection[Any], table: str) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert found is not None
    return int(found[0])


def test_every_step_with_rows_in_the_tables_ends_where_an_empty_database_does(
    empty_database_url: str, database_url: str, tmp_path: Path
) -> None:
    counts: dict[str, int] = {}
    for count, name in enumerate(NAMES, 1):
        assert migrate.migrate(empty_database_url, directory_of(tmp_path / "sql", NAMES[:count])) == [name]
        with psycopg.connect(empty_database_url) as connection:
            assert {table: rows(connection, table) for table in counts} == counts, f"{name} has lost rows"
        if count < len(NAMES):
            counts |= put_rows(empty_database_url, counts)
    assert len(counts) > 30
    assert shape(empty_database_url) == shape(database_url)
    assert [(s.name, s.state) for s in migrate.status(empty_database_url)] == [(n, "applied") for n in NAMES]


# The last schema of each earlier issue.
@pytest.mark.parametrize("released", ["0005.landing-rest", "0014.pauses"])
def test_an_earlier_release_is_brought_up_to_date_at_once(
    released: str, empty_database_url: str, database_url: str, tmp_path: Path
) -> None:
    known = [n for n in NAMES if n <= released]
    assert migrate.migrate(empty_database_url, directory_of(tmp_path / "sql", known)) == known
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        # Checksums came later than these.
        connection.execute("DROP TABLE migration_checksums")
    counts = put_rows(empty_database_url)
    assert migrate.migrate(empty_database_url) == [n for n in NAMES if n > released]
    assert migrate.migrate(empty_database_url) == []
    with psycopg.connect(empty_database_url) as connection:
        assert {table: rows(connection, table) for table in counts} == counts
        noted = connection.execute("SELECT name FROM migration_checksums ORDER BY 1").fetchall()
    assert [name for (name,) in noted] == NAMES
    assert shape(empty_database_url) == shape(database_url)


def test_many_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate.migrate(empty_database_url), range(4)))
    assert sorted(applied) == [[], [], [], NAMES]


_KILLED = """
import os, signal, sys
from pathlib import Path
from loom_platform import migrate
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(migrate._Backend, sys.argv[3], die)
migrate.migrate(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.parametrize("point", ["mark_one", "note", "commit"])
def test_killed_between_a_migration_and_its_mark_it_leaves_nothing(
    point: str, empty_database_url: str, tmp_path: Path
) -> None:
    folder = directory_of(tmp_path / "sql", [])
    migrate.migrate(empty_database_url, folder)
    folder.joinpath("0001.first.sql").write_text("-- depends:\nCREATE TABLE first (id integer);\n")
    died = subprocess.run(
        [sys.executable, "-c", _KILLED, empty_database_url, str(folder), point], env=os.environ, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert [s.state for s in migrate.status(empty_database_url, folder)] == ["missing"]
    assert migrate.migrate(empty_database_url, folder) == ["0001.first"]


def test_a_migration_that_fails_leaves_nothing_and_can_be_mended(empty_database_url: str, tmp_path: Path) -> None:
    folder = directory_of(tmp_path / "sql", [])
    path = folder / "0001.first.sql"
    path.write_text("-- depends:\nCREATE TABLE first (id integer);\nCREATE TABLE first (id integer);\n")
    with pytest.raises(MigrationError, match=r"0001\.first failed: .*already exists"):
        migrate.migrate(empty_database_url, folder)
    path.write_text("-- depends:\nCREATE TABLE first (id integer);\n")
    assert migrate.migrate(empty_database_url, folder) == ["0001.first"]


def test_a_migration_that_was_changed_after_it_ran_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    folder = directory_of(tmp_path / "sql", [])
    path = folder / "0001.first.sql"
    path.write_text("-- depends:\nCREATE TABLE first (id integer);\n")
    migrate.migrate(empty_database_url, folder)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate.migrate(empty_database_url, folder) == []
    path.write_text("-- depends:\nCREATE TABLE first (id bigint);\n")
    assert [s.state for s in migrate.status(empty_database_url, folder)] == ["changed"]
    with pytest.raises(MigrationError, match=r"0001\.first in .* is not what was applied"):
        migrate.migrate(empty_database_url, folder)


def test_a_newer_database_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    folder = directory_of(tmp_path / "sql", [])
    path = folder / "0001.first.sql"
    path.write_text("-- depends:\nCREATE TABLE first (id integer);\n")
    migrate.migrate(empty_database_url, folder)
    path.unlink()
    assert [s.state for s in migrate.status(empty_database_url, folder)] == ["unknown"]
    with pytest.raises(MigrationError, match=r"0001\.first.*newer Loom"):
        migrate.migrate(empty_database_url, folder)


def test_a_user_without_rights_gets_native_days(server_url: str) -> None:
    """The extension, if the server has it, is for an administrator to install; the platform works without it."""
    name = f"loom_plain_{os.getpid()}"
    with fresh_database(server_url, name) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'plain'").format(sql.Identifier(name)))
        try:
            connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(name)))
            base, _, host = url.partition("@")
            migrate.migrate(f"{base.partition('://')[0]}://{name}:plain@{host}")
            kept = storage(connection)
            assert (kept.timescaledb, kept.tables > 30) == (None, True)
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
