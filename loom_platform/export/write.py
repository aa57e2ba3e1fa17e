"""An export from its first file to its last, which is the manifest."""

import importlib.metadata
import json
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from psycopg import sql

from loom_platform.export import bodies, folder, manifest, readme
from loom_platform.export.bodies import Bodies
from loom_platform.export.columns import columns_of, json_schema
from loom_platform.export.errors import ExportError
from loom_platform.export.manifest import FileEntry, Manifest, TableEntry
from loom_platform.export.progress import Progress, silent
from loom_platform.export.selection import Selection
from loom_platform.export.snapshot import Snapshot, snapshot
from loom_platform.export.tables import write_table

_MIGRATIONS: Final = "SELECT migration_id FROM _yoyo_migration ORDER BY migration_id"


class Estimate(NamedTuple):
    """What an export would hold: rows of each table, bodies and their bytes."""

    rows: dict[str, int]
    bodies: int
    body_bytes: int


def export(database_url: str, stored: Bodies, out: Path, wanted: Selection, *, progress: Progress = silent) -> Manifest:
    """Write what is `wanted` into the directory `out`, as of one moment, and give its manifest.

    Rows are streamed: what is in memory does not grow with the data. Killed half-way it leaves a directory without a
    manifest; the same call begins anew and keeps the bodies that are there. Raises ExportError when `out` cannot be
    used or the disk is full, DependencyError when the database or the object storage is away.
    """
    wanted.check()
    began = _now()
    try:
        with folder.opened(out), snapshot(database_url) as snap:
            return _write(out, snap, stored, wanted, began, progress)
    except OSError as error:
        raise ExportError(
            f"{out}: cannot be written ({error.strerror or error}); make room and run the same command again, it keeps "
            "the bodies that are there; or remove that directory"
        ) from error


def estimate(database_url: str, wanted: Selection) -> Estimate:
    """Count what `export` would write; reads the tables."""
    wanted.check()
    with snapshot(database_url) as snap:
        tables = wanted.tables(snap.present())
        rows: dict[str, int] = {}
        for table in tables:
            query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table.name), wanted.where(table))
            found = snap.connection.execute(query).fetchone()
            rows[table.name] = 0 if found is None else found[0]
        return Estimate(rows, *bodies.measure(snap, tables, wanted))


def _write(out: Path, snap: Snapshot, stored: Bodies, wanted: Selection, began: str, progress: Progress) -> Manifest:
    tables = wanted.tables(snap.present())
    entries: dict[str, TableEntry] = {}
    others: list[FileEntry] = []
    for table in tables:
        columns = columns_of(snap.connection, table.name)
        batches = snap.rows(table, columns, wanted.where(table))
        entries[table.name] = entry = write_table(out, table, columns, batches, progress)
        if entry.rows:
            others.append(_text(out, f"schemas/{table.name}.json", _json(json_schema(table, columns))))
    index = bodies.write_bodies(out, snap, tables, wanted, stored, progress)
    done = Manifest(
        created_at=began,
        finished_at=_now(),
        snapshot=snap.taken_at,
        loom_version=importlib.metadata.version("loom"),
        migrations=[row[0] for row in snap.connection.execute(_MIGRATIONS).fetchall()],
        selection=wanted.as_json(),
        tables=entries,
        blobs=index,
        others=others,
    )
    others.append(_text(out, "README.md", readme.text(done, {t.name: t.description for t in tables})))
    _sums(out, done)
    folder.finish(out, done.text())
    return done


def _sums(out: Path, done: Manifest) -> None:
    """The checksums as `sha256sum -c` reads them: of every file, the bodies and the manifest included."""
    with (out / manifest.SUMS).open("w", encoding="utf-8") as file:
        for entry in done.files:
            file.write(f"{entry.sha256}  {entry.path}\n")
        for path in bodies.files(out):
            file.write(f"{Path(path).name[:64]}  {path}\n")
        file.write(f"{sha256(done.text().encode()).hexdigest()}  {manifest.NAME}\n")
        file.flush()
        os.fsync(file.fileno())


def _text(out: Path, path: str, text: str) -> FileEntry:
    place = out / path
    place.parent.mkdir(exist_ok=True)
    place.write_text(text, encoding="utf-8")
    folder.sync(place)
    return FileEntry(path, place.stat().st_size, manifest.sha256_of(place))


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
