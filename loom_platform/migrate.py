"""Schema migrations: the numbered plain SQL of `sql/`, applied in order by yoyo-migrations.

Only one process migrates at a time. The lock is PostgreSQL's advisory lock, not yoyo's own table: the server
releases it when its holder is killed, so nobody has to break a stale one. A migration, its mark and its checksum
are one transaction: a killed `loom db migrate` leaves all of it or nothing.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import MigrationList

from loom_platform.errors import PlatformError
from loom_platform.timeseries import settle, use_timescaledb

DIRECTORY = Path(__file__).parents[1] / "sql"
LOCK = 0x4C6F6F6D  # "Loom"


_CHECKSUMS = """
CREATE TABLE IF NOT EXISTS migration_checksums (
    name        text        PRIMARY KEY,
    sha256      text        NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""

State = Literal["applied", "missing", "changed", "unknown"]


class MigrationError(PlatformError):
    """A migration could not be applied; nothing of that migration remains."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration: `applied` or `missing`, `changed` since it was applied, or `unknown` to this version of Loom."""

    name: str
    state: State

    @property
    def applied(self) -> bool:
        """Whether the database has it as it is here."""
        return self.state == "applied"


def migrate(database_url: str, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is missing and return its names, in order; raises MigrationError.

    It refuses a database that has a migration other than the one here, or one that is not here at all.
    """
    with _locked(database_url) as lock, _backend(database_url, directory) as (backend, migrations):
        _require_known(_states(backend, migrations), directory)
        for name, sha256 in _not_noted(backend, migrations):
            backend.note(name, sha256)
        if not backend.get_applied_migration_hashes():
            use_timescaledb(lock)
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
        settle(lock)
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
        return _states(backend, migrations)


def checksum(path: Path) -> str:
    """SHA-256 of a migration, the same on a machine that writes its lines with CRLF."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _states(backend: "_Backend", migrations: MigrationList) -> list[MigrationStatus]:
    noted = backend.noted()
    pending = {migration.id for migration in backend.to_apply(migrations)}
    found: list[MigrationStatus] = []
    for migration in migrations:
        here = checksum(Path(migration.path))
        state: State = "missing" if migration.id in pending else "applied"
        if state == "applied" and noted.get(migration.id, here) != here:
            state = "changed"
        found.append(MigrationStatus(migration.id, state))
    known = {migration.id for migration in migrations}
    return found + [MigrationStatus(name, "unknown") for name in sorted(noted.keys() - known)]


def _not_noted(backend: "_Backend", migrations: MigrationList) -> list[tuple[str, str]]:
    """What was applied before checksums were kept."""
    noted = backend.noted()
    pending = {migration.id for migration in backend.to_apply(migrations)}
    return [(m.id, checksum(Path(m.path))) for m in migrations if m.id not in pending and m.id not in noted]


def _require_known(states: list[MigrationStatus], directory: Path) -> None:
    named: dict[State, str] = {
        state: ", ".join(s.name for s in states if s.state == state) for state in get_args(State)
    }
    if named["unknown"]:
        raise MigrationError(
            f"the database has {named['unknown']}, which {directory} has not: it was migrated by a newer Loom; "
            "use that one"
        )
    if named["changed"]:
        raise MigrationError(
            f"{named['changed']} in {directory} is not what was applied to the database: restore the file "
            "(`git checkout`), and put the change into a migration of its own"
        )


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

    def init_database(self) -> None:
        super().init_database()
        self.connection.execute(_CHECKSUMS)

    def noted(self) -> dict[str, str]:
        """The checksum of each migration that was applied, by name."""
        return dict(self.connection.execute("SELECT name, sha256 FROM migration_checksums").fetchall())

    def note(self, name: str, sha256: str) -> None:
        """Keep the checksum of a migration that is applied."""
        self.connection.execute("INSERT INTO migration_checksums (name, sha256) VALUES (%s, %s)", (name, sha256))

    def apply_one(self, migration: Any, force: bool = False, mark: bool = True) -> None:
        """Yoyo's own marks a migration in a transaction of its own, after it."""
        self.ensure_internal_schema_updated()
        migration.load()
        if not migration.use_transactions:
            raise MigrationError(f"{migration.path} is not transactional, so a kill could leave half of it: make it so")
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            if mark:
                self.mark_one(migration)
                self.note(migration.id, checksum(Path(migration.path)))


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
def _locked(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(database_url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise MigrationError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
    with connection:
        connection.execute("select pg_advisory_lock(%s)", [LOCK])
        yield connection
