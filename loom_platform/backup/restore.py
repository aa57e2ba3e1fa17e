"""`loom restore`: a backup into an installation that has no data, or in place of what it has.

The databases are filled beside the ones that are there and take their places at the end, so a restore that is broken
off changes none of them and can be begun again. What is sent to the broker twice by then is stored once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.backup import blobs, folder, ledger, postgres, spool
from loom_platform.backup.errors import BackupError, DamagedError
from loom_platform.backup.manifest import Manifest, read
from loom_platform.backup.progress import Progress, silent
from loom_platform.backup.resume import Resumed, resume
from loom_platform.backup.servers import Servers, standing
from loom_platform.backup.verify import verify
from loom_platform.blobs import open_blobs
from loom_platform.database import ensure_database
from loom_platform.erasure import reapply
from loom_platform.migrate import DIRECTORY, migrate
from loom_platform.settings import Settings

_SUFFIX: Final = "_restoring"
# Any row of these is a person's data.
_DATA: Final = (
    *(t.table.name for t in (*LANDED, *DERIVED)),
    *("processing_errors", "devices", "api_keys", "georegions", "own_places", "audit_log", "erasures", "device_keys"),
)


class HasDataError(BackupError):
    """The installation has data already, which the restore would replace."""


@dataclass(slots=True)
class Restored:
    """What a restore did; `erasures` are those that the backup did not know."""

    manifest: Manifest
    bodies: int = 0
    erasures: int = 0
    erased_rows: int = 0
    kafka: Resumed = field(default_factory=Resumed)


def check(source: Path, settings: Settings, keys: Path | None, progress: Progress = silent) -> Manifest:
    """The manifest of a backup that can be restored here, every byte of it verified; raises BackupError."""
    manifest = read(source)
    newer = [name for name in manifest.migrations if not (DIRECTORY / f"{name}.sql").exists()]
    if newer:
        raise BackupError(f"{source}: was made by a newer Loom (migration {newer[0]}); restore it with that one")
    if manifest.topic_prefix != settings.kafka_topic_prefix:
        raise BackupError(
            f"{source}: its topics have the prefix {manifest.topic_prefix!r}: set "
            f"LOOM_KAFKA_TOPIC_PREFIX={manifest.topic_prefix}, not {settings.kafka_topic_prefix!r}"
        )
    if manifest.keys and manifest.keys_apart and keys is None:
        raise BackupError(f"{source}: the keys of its bodies were kept apart: give their file with --keys")
    verified = verify(source, progress)
    if verified.faults:
        raise DamagedError(f"{source} is damaged; nothing was changed. " + "; ".join(verified.faults[:5]))
    return manifest


def no_point(_: str) -> None:
    """The default of `on_point`: do nothing."""


def restore(
    settings: Settings,
    source: Path,
    *,
    keys: Path | None = None,
    replace: bool = False,
    progress: Progress = silent,
    on_point: Callable[[str], None] = no_point,
) -> Restored:
    """Restore the backup in `source`; with `replace` in place of the data that is there.

    `on_point` is called when the bodies are there (`bodies`), Loom's new database is (`filled`), Kafka has its records
    (`resumed`), and Dagster's database has taken its place (`dagster`).

    Raises HasDataError when there is some and `replace` is not said, DamagedError for a backup that is not what it was,
    BackupError for what else stands in the way.
    """
    done = Restored(check(source, settings, keys, progress))
    with standing(settings, progress) as servers:
        ensure_database(servers.database_url)
        _stop_unless_free(servers.database_url, replace)
        done.bodies = blobs.copy_in(settings.blobs, source, progress, done.manifest.blobs.count)
        on_point("bodies")
        beside = postgres.beside(servers.database_url, postgres.database_of(servers.database_url) + _SUFFIX)
        _fill(beside, source, done.manifest, progress)
        with psycopg.connect(beside, autocommit=True) as connection:
            done.erasures = ledger.carry_over(connection, servers.database_url, keys or source / folder.KEYS)
            progress("erasures", 0)
            bodies = open_blobs(settings, beside)
            try:
                done.erased_rows = reapply(connection, blobs=bodies)
            finally:
                bodies.close()
        on_point("filled")
        done.kafka = resume(settings, servers.broker, source, beside, done.manifest, progress)
        on_point("resumed")
        if done.manifest.dagster:
            _restore_dagster(servers, source, progress)
        on_point("dagster")
        progress("taking its place", 0)
        postgres.swap(servers.database_url, postgres.database_of(beside))
        spool.copy_in(source / folder.SPOOL, settings.spool)
    return done


def _stop_unless_free(database_url: str, replace: bool) -> None:
    """Raise HasDataError for data that may not be replaced, BackupError while Loom's processes are connected."""
    with psycopg.connect(database_url, autocommit=True, connect_timeout=10) as connection:
        busy = connection.execute(
            "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND application_name LIKE 'loom%'"
        ).fetchall()
        if busy:
            names = ", ".join(sorted(row[0] for row in busy)[:5])
            raise BackupError(f"processes of Loom are connected to the database ({names}): stop them first")
        if not replace and (held := data_in(connection)):
            raise HasDataError(
                f"the database has data already, in {', '.join(held[:5])}{' and others' if len(held) > 5 else ''}: "
                "add --yes to put the backup in its place, or restore into an empty LOOM_DATA_DIR"
            )


def data_in(connection: psycopg.Connection[Any]) -> list[str]:
    """The tables that have a person's data."""
    there = connection.execute(
        "SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NOT NULL", (list(_DATA),)
    )
    held = []
    for (name,) in there.fetchall():
        row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(name))).fetchone()
        if row is not None and row[0]:
            held.append(name)
    return held


def _fill(url: str, source: Path, manifest: Manifest, progress: Progress) -> None:
    """A new database with all of the dump, brought up to this version's schema."""
    postgres.create(url)
    ensure_database(url, tuple(name for name in manifest.extensions if name != "timescaledb"))
    timescale = manifest.extensions.get("timescaledb")
    if timescale is not None:
        _prepare_timescale(url, timescale)
    postgres.restore(url, source / folder.DATABASE, lambda: progress("database", 0))
    with psycopg.connect(url, autocommit=True, options="-c statement_timeout=0") as connection:
        if timescale is not None:
            connection.execute("SELECT timescaledb_post_restore()")
        for number, (name, rows) in enumerate(manifest.tables.items(), 1):
            _compare(connection, name, rows)
            progress("tables counted", number, len(manifest.tables), "tables")
        progress("statistics", 0)
        connection.execute("ANALYZE")
    migrate(url)


def _prepare_timescale(url: str, version: str) -> None:
    """The extension in the very version of the dump, which is what its catalogue needs."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE EXTENSION timescaledb VERSION {}").format(sql.Literal(version)))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT timescaledb_pre_restore()")
    except psycopg.Error as error:
        raise BackupError(
            f"the backup is of a server with TimescaleDB {version}, which this one has not ({str(error).strip()}): "
            "install that version there"
        ) from None


def _compare(connection: psycopg.Connection[Any], table: str, rows: int) -> None:
    if table in postgres.NOT_DUMPED:
        return
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    if found is None or found[0] != rows:
        raise DamagedError(f"table {table}: {found and found[0]} rows were restored, the manifest says {rows}")


def _restore_dagster(servers: Servers, source: Path, progress: Progress) -> None:
    beside = postgres.beside(servers.dagster_url, postgres.database_of(servers.dagster_url) + _SUFFIX)
    postgres.create(beside)
    postgres.restore(beside, source / folder.DAGSTER, lambda: progress("dagster's database", 0))
    postgres.swap(servers.dagster_url, postgres.database_of(beside))
