"""An export into a platform: same rows, same ids, same history. What is there already stays as it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg
import pyarrow.parquet as pq
from psycopg import errors as pg
from psycopg import sql

from loom_models.errors import DependencyError
from loom_platform import rollups
from loom_platform.blobs import Blobs
from loom_platform.blobs.store import BlobWriter
from loom_platform.export import bodies, drops, frozen, promotions, staging, verify
from loom_platform.export.catalogue import (
    AUDIT_LOG,
    ERASURES,
    RETENTION_DROPS,
    STAGE_PROMOTION_LOG,
    STAGE_PROMOTIONS,
    TABLES,
    Exported,
)
from loom_platform.export.columns import LiveColumn, columns_of
from loom_platform.export.errors import DamagedError, ImportDataError
from loom_platform.export.manifest import Manifest
from loom_platform.export.progress import Progress, silent
from loom_platform.export.staging import ParquetRows

Connection = psycopg.Connection[Any]

NOT_IMPORTED: Final[dict[str, str]] = {
    AUDIT_LOG.name: "this platform has an audit log of its own, a chain that nothing can be put into",
    STAGE_PROMOTIONS.name: "taken from the log of promotions",
}
"""Tables of an export that an import reads nothing from, each with its reason."""
_OPTIONS: Final = (
    "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off -c timezone=UTC "
    # rows may belong to days that TimescaleDB has compressed; elsewhere it is a name and nothing more
    "-c timescaledb.max_tuples_decompressed_per_dml_transaction=0"
)
_ONE_AT_A_TIME: Final = "SELECT pg_try_advisory_lock(hashtext('loom-import'))"
_REVISIONS: Final = """
SELECT setval('georegion_revisions', greatest(max(g.revision), max(s.last_value)))
FROM georegions AS g, georegion_revisions AS s HAVING count(*) > 0
"""
_CATEGORY_REVISIONS: Final = """
SELECT setval('app_category_revisions', greatest(max(c.revision), max(s.last_value)))
FROM app_categories AS c, app_category_revisions AS s HAVING count(*) > 0
"""


@dataclass(slots=True)
class Imported:
    """What came of an import: of each table the rows that were new and those that were there; bodies stored.

    `erased` counts rows of the export that were erased here, and are not taken again.
    """

    new: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    bodies: int = 0
    erased: int = 0


def load(
    database_url: str,
    blobs: Blobs,
    folder: Path,
    *,
    progress: Progress = silent,
    after: Callable[[Connection], int],
) -> Imported:
    """Read the export in `folder` into the platform, after every checksum of it was found right.

    Each file is one transaction, so an import that was killed is simply run again. `after` is given a connection when
    all rows are there; it applies the ledger of erasures and tells how many rows that took away. Raises DamagedError
    for a file that is not what was exported, ImportDataError when the export does not fit this platform.
    """
    found = verify.check(folder, progress=progress)
    done = Imported()
    with _connected(database_url) as connection:
        if connection.execute(_ONE_AT_A_TIME).fetchone() != (True,):
            raise ImportDataError("another import is running on this database; wait for it")
        columns = _fitting(connection, folder, found)
        # no sweep takes a body whose row comes later in this session
        moved = _bodies(connection, blobs.within(connection, session=True), folder, done, progress)
        for table in TABLES:
            entry = found.tables.get(table.name)
            if entry is None or table.name in NOT_IMPORTED:
                continue
            if table is ERASURES and not _empty(connection):
                # what is here is this platform's own ledger to decide upon
                continue
            done.new[table.name] = done.known[table.name] = 0
            for file in entry.files:
                rows = staging.opened(folder / file.path, table, columns[table.name])
                new = _file(connection, table, rows, file.day, moved=moved and bool(table.bodies))
                done.new[table.name] += new
                done.known[table.name] += (file.rows or 0) - new - rows.left_out
                done.erased += rows.left_out
                progress(table.name, done.new[table.name] + done.known[table.name], 0)
        connection.execute(_REVISIONS)
        connection.execute(_CATEGORY_REVISIONS)
    with _connected(database_url) as connection:
        # hours of what outlived its rows can only be counted from the minutes
        if outlived := [t.rolled_up for t in TABLES if t.rolled_up is not None and done.new.get(t.name)]:
            rollups.refresh(connection, outlived)
        done.erased += after(connection)
    return done


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    try:
        connection = psycopg.connect(
            database_url, autocommit=True, application_name="loom import", connect_timeout=5, options=_OPTIONS
        )
    except psycopg.OperationalError as error:
        raise DependencyError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
    try:
        with connection:
            yield connection
    except (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedFunction) as error:
        raise ImportDataError(f"the database is not as this Loom has it ({error}); run `loom db migrate`") from error
    except psycopg.OperationalError as error:
        raise DependencyError(f"the database went away ({str(error).strip()}); run the import again") from error


def _empty(connection: Connection) -> bool:
    """Whether no device has sent anything yet."""
    rows = [sql.SQL("EXISTS (SELECT FROM {})").format(sql.Identifier(t.name)) for t in TABLES if t.topic is not None]
    return connection.execute(sql.SQL("SELECT {}").format(sql.SQL(" OR ").join(rows))).fetchone() == (False,)


def _fitting(connection: Connection, folder: Path, found: Manifest) -> dict[str, tuple[LiveColumn, ...]]:
    """The columns that the tables of the export have here.

    Raises ImportDataError unless every file fits its table; nothing is written before that is sure.
    """
    known = {t.name: t for t in TABLES}
    columns: dict[str, tuple[LiveColumn, ...]] = {}
    for name, entry in found.tables.items():
        if not entry.rows:
            continue
        row = connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()
        if name not in known or row is None or row[0] is None:
            raise ImportDataError(
                f"{folder}: there is no table {name} here: the export is of a newer Loom; update this one and run "
                "`loom db migrate`"
            )
        columns[name] = columns_of(connection, name)
        for file in entry.files:
            staging.opened(folder / file.path, known[name], columns[name])
    return columns


def _bodies(connection: Connection, store: BlobWriter, folder: Path, done: Imported, progress: Progress) -> bool:
    """Store the bodies; whether any has another reference here, which is then in the table `moved_refs`."""
    connection.execute(f"CREATE TEMPORARY TABLE {staging.MOVED} (ref text, device_id text, here text)")
    moved = False
    size = 0
    with pq.ParquetFile(folder / bodies.INDEX) as index:
        for batch in index.iter_batches(1_000):
            for line in batch.to_pylist():
                reference = bodies.parsed(line["ref"])
                if line["path"] is None or reference is None:
                    continue
                body = (folder / line["path"]).read_bytes()
                if (digest := sha256(body).hexdigest()) != line["sha256"]:
                    raise DamagedError(f"{line['path']}: its SHA-256 is {digest}, its name says {line['sha256']}")
                stored = store.put(body, device_id=line["device_id"], kind=reference.kind, suffix=reference.suffix)
                if stored.ref != line["ref"]:
                    connection.execute(
                        f"INSERT INTO {staging.MOVED} VALUES (%s, %s, %s)", (line["ref"], line["device_id"], stored.ref)
                    )
                    moved = True
                done.bodies += 1
                size += len(body)
                progress("bodies", done.bodies, size)
    return moved


def _file(connection: Connection, table: Exported, rows: ParquetRows, of_day: str | None, *, moved: bool) -> int:
    """One file in one transaction; how many of its rows were new."""
    with connection.transaction():
        staging.heed_erasures(connection, table, rows)
        staging.lock_stages(connection, rows)
        day = None if of_day is None else date.fromisoformat(of_day)
        if day is not None:
            connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table.name, day, day))
            new = None if moved else staging.copy_day(connection, table, rows, day)
            if new is not None:
                frozen.mark(connection, table.name, rows)
                return new
        staging.stage(connection, table, rows)
        if table is STAGE_PROMOTION_LOG:
            return promotions.take(connection)
        if table is RETENTION_DROPS:
            drops.leave_out_days_with_rows(connection)
        if table.rolled_up is not None:
            return frozen.take(connection, table, rows)
        if moved:
            staging.move_refs(connection, table)
        if table.whole_days:
            staging.leave_out_known_days(connection, table)
        staging.settle(connection, table)
        new = staging.insert(connection, table, rows.columns, day)
        if new and day is not None:
            frozen.mark(connection, table.name, rows)
        return new
