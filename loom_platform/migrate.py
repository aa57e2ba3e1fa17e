"""Schema migrations: the numbered plain SQL of `sql/`, applied in order by yoyo-migrations.

Only one process migrates at a time. The lock is PostgreSQL's advisory lock, not yoyo's own table: the server
releases it when its holder is killed, so nobody has to break a stale one.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import MigrationList

from loom_platform.errors import PlatformError

DIRECTORY = Path(__file__).parents[1] / "sql"
LOCK = 0x4C6F6F6D  # "Loom"


class MigrationError(PlatformError):
    """A migration could not be applied; nothing of that migration remains."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration and whether the database has it."""

    name: str
    applied: bool


def migrate(database_url: str, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is missing and return its names, in order; raises MigrationError."""
    with _locked(database_url), _backend(database_url, directory) as (backend, migrations):
        pending = backend.to_apply(migrations)
        names = [migration.id for migration in pending]
        for migration in pending:
            try:
                backend.apply_one(migration)
            except psycopg.Error as error:
                raise MigrationError(
                    f"migration {migration.id} failed: {error}; correct {migration.path} or the database and run "
                    "`loom db migrate` again"
                ) from error
        _grant(database_url)
        return names


def _grant(database_url: str) -> None:
    """Put the roles' grants right, also for what was made since the last time; raises MigrationError."""
    from loom_platform.roles.logins import grant

    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=10) as connection:
            grant(connection)
    except psycopg.Error as error:
        raise MigrationError(
            f"the roles' grants could not be put right: {error}; run `loom db migrate` as the owner of the tables"
        ) from error


def status(database_url: str, directory: Path = DIRECTORY) -> list[MigrationStatus]:
    """Each migration, in order, and whether it is applied."""
    with _locked(database_url), _backend(database_url, directory) as (backend, migrations):
        pending = {migration.id for migration in backend.to_apply(migrations)}
        return [MigrationStatus(m.id, m.id not in pending) for m in migrations]


class _QuietCursor(psycopg.Cursor[Any]):
    """Says that a statement gave no rows, or yoyo prints the answer of each SELECT in a migration."""

    @property
    def description(self) -> None:
        return None


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    def connect(self, dburi: Any) -> Any:
        connection = super().connect(dburi)
        connection.cursor_factory = _QuietCursor
        return connection


@contextmanager
def _backend(database_url: str, directory: Path) -> Iterator[tuple[_Backend, MigrationList]]:
    logging.getLogger("yoyo.migrations").setLevel(logging.WARNING)
    uri = parse_uri("postgresql+psycopg://" + database_url.partition("://")[2])
    backend = _Backend(uri, yoyo.default_migration_table)
    backend.init_database()
    try:
        yield backend, yoyo.read_migrations(str(directory))
    finally:
        backend.connection.close()


@contextmanager
def _locked(database_url: str) -> Iterator[None]:
    try:
        connection = psycopg.connect(database_url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise MigrationError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
    with connection:
        connection.execute("select pg_advisory_lock(%s)", [LOCK])
        yield
