"""Bodies out of object storage into files named by their checksum, with an index of which rows refer to them."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from loom_platform.errors import PlatformError
from loom_platform.export.catalogue import Exported
from loom_platform.export.columns import LiveColumn, arrow_schema
from loom_platform.export.folder import BLOBS, sync
from loom_platform.export.manifest import BlobsEntry, sha256_of
from loom_platform.export.progress import Progress
from loom_platform.export.selection import Selection
from loom_platform.export.snapshot import Snapshot
from loom_platform.export.tables import ParquetFile

INDEX: Final = "blobs.parquet"
COLUMNS: Final = (
    LiveColumn("ref", "text", False),
    LiveColumn("device_id", "text", False),
    LiveColumn("sha256", "text", False),
    LiveColumn("size_bytes", "bigint", False),
    LiveColumn("path", "text", True),
    LiveColumn("problem", "text", True),
)
"""Of the index: a row's reference, whose it is, the body's checksum and size, its file, or why there is none."""
_REFERRED: Final = pa.schema([("ref", pa.string()), ("device_id", pa.string())])
_FORM: Final = re.compile(r"(?P<kind>[^/]+)/(?:.+/)?(?P<sha256>[0-9a-f]{64})(?P<suffix>\.?[A-Za-z0-9._-]*)")
_AT_ONCE: Final = 4
_IN_FLIGHT: Final = 16
_INDEX_ROWS: Final = 10_000


class Bodies(Protocol):
    """What an export needs of the object storage."""

    def get(self, ref: str) -> bytes:
        """The body at `ref`, decrypted; raises KeyError when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference says of its body. Its file in an export is `path`."""

    kind: str
    sha256: str
    suffix: str

    @property
    def path(self) -> str:
        """Where it is, from the export's directory."""
        return f"{BLOBS}/{self.sha256[:2]}/{self.sha256}{self.suffix}"


def parsed(ref: str) -> Reference | None:
    """What `ref` says; None when it is not a reference that Loom gives."""
    found = _FORM.fullmatch(ref)
    return None if found is None else Reference(found["kind"], found["sha256"], found["suffix"])


def write_bodies(
    folder: Path, snap: Snapshot, tables: Sequence[Exported], wanted: Selection, bodies: Bodies, progress: Progress
) -> BlobsEntry:
    """Write every body that a row of `tables` refers to, each once, and their index.

    One that is missing or cannot be decrypted is in the index with its `problem`. What an earlier attempt left is kept
    where its checksum is right, so a body is fetched once.
    """
    index = ParquetFile(folder, INDEX, COLUMNS, {"table": "blobs"})
    count = size = missing = 0
    lines: list[_Line] = []
    with ThreadPoolExecutor(_AT_ONCE, "bodies") as pool:
        groups = (list(g) for _, g in groupby(_references(snap, tables, wanted), lambda each: _name(each[0])))
        while chunk := list(islice(groups, _IN_FLIGHT)):
            for found in pool.map(lambda group: [_fetch(folder, ref, device, bodies) for ref, device in group], chunk):
                lines += found
                missing += sum(1 for line in found if line.path is None)
                there = next((line for line in found if line.path is not None), None)
                if there is not None:
                    count, size = count + 1, size + there.size_bytes
            if len(lines) >= _INDEX_ROWS:
                index.write(_as_batch(lines))
                lines.clear()
            progress("bodies", count, size)
        index.write(_as_batch(lines))
    entry = BlobsEntry(count, size, missing, index.done())
    for path in strangers(folder):
        # of an earlier attempt, and no row refers to it any more
        (folder / path).unlink()
    return entry


def files(folder: Path) -> Iterator[str]:
    """The paths of the bodies that are there, from the export's directory."""
    for place in sorted(p for p in (folder / BLOBS).glob("*") if p.is_dir()):
        for body in sorted(place.iterdir()):
            yield f"{BLOBS}/{place.name}/{body.name}"


def paths(folder: Path, digits: str | None = None) -> Iterator[str]:
    """The paths that the index names, each once; with `digits`, of the bodies whose checksum begins so."""
    asked = None if digits is None else [("sha256", ">=", digits), ("sha256", "<", f"{digits}g")]
    last = None
    index = folder / INDEX
    if asked is not None:
        table = pq.read_table(index, columns=["path"], filters=asked)
        batches = iter(table.to_batches())
    else:
        batches = pq.ParquetFile(index).iter_batches(_INDEX_ROWS, columns=["path"])
    for batch in batches:
        for path in batch.column("path").to_pylist():
            if path is not None and path != last:
                yield path
                last = path


def strangers(folder: Path) -> Iterator[str]:
    """The paths of bodies that the index does not name."""
    digits, named = "", frozenset[str]()
    for path in files(folder):
        if (place := path.split("/")[1]) != digits:
            digits, named = place, frozenset(paths(folder, place))
        if path not in named:
            yield path


def measure(snap: Snapshot, tables: Sequence[Exported], wanted: Selection) -> tuple[int, int]:
    """How many bodies the rows refer to and their bytes, as the rows say; nothing is fetched."""
    rows = [
        sql.SQL("SELECT {} AS ref, {} AS size FROM {} WHERE {}").format(
            sql.Identifier(c),
            sql.Identifier(f"{c.removesuffix('_ref')}_size_bytes"),
            sql.Identifier(t.name),
            wanted.where(t),
        )
        for t in tables
        for c in t.bodies
    ]
    if not rows:
        return 0, 0
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(size), 0)::bigint FROM "
        "(SELECT DISTINCT substring(ref from '[^/]*$'), size FROM ({}) AS r WHERE ref IS NOT NULL) AS d"
    ).format(sql.SQL(" UNION ALL ").join(rows))
    row = snap.connection.execute(query).fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def _references(snap: Snapshot, tables: Sequence[Exported], wanted: Selection) -> Iterator[tuple[str, str]]:
    """Each reference and its device, those of one body after another. The server sorts them, on its disk."""
    rows = [
        sql.SQL("SELECT {} AS ref, device_id FROM {} WHERE {}").format(
            sql.Identifier(column), sql.Identifier(table.name), wanted.where(table)
        )
        for table in tables
        for column in table.bodies
    ]
    if not rows:
        return
    query = sql.SQL(
        "SELECT ref, device_id FROM ({}) AS r WHERE ref IS NOT NULL GROUP BY ref, device_id "
        "ORDER BY substring(ref from '[^/]*$') COLLATE \"C\", ref, device_id"
    ).format(sql.SQL(" UNION ALL ").join(rows))
    for batch in snap.query(query, _REFERRED):
        yield from zip(batch.column("ref").to_pylist(), batch.column("device_id").to_pylist(), strict=True)


def _name(ref: str) -> str:
    """What all references to one body end with."""
    return ref.rpartition("/")[2]


def _fetch(folder: Path, ref: str, device: str, bodies: Bodies) -> "_Line":
    reference = parsed(ref)
    if reference is None:
        return _Line(ref, device, "", 0, None, "it is not a reference to a body")
    place = folder / reference.path
    if place.exists() and sha256_of(place) == reference.sha256:
        return _Line(ref, device, reference.sha256, place.stat().st_size, reference.path, None)
    try:
        body = bodies.get(ref)
    except KeyError:
        return _Line(ref, device, reference.sha256, 0, None, "object storage has it no more")
    except PlatformError as error:
        return _Line(ref, device, reference.sha256, 0, None, str(error))
    if (found := sha256(body).hexdigest()) != reference.sha256:
        return _Line(ref, device, reference.sha256, 0, None, f"its SHA-256 is {found}")
    place.parent.mkdir(parents=True, exist_ok=True)
    building = place.with_name(f"{place.name}.new")
    building.write_bytes(body)
    sync(building)
    building.replace(place)
    return _Line(ref, device, reference.sha256, len(body), reference.path, None)


class _Line(NamedTuple):
    """A row of the index; fields as in COLUMNS."""

    ref: str
    device_id: str
    sha256: str
    size_bytes: int
    path: str | None
    problem: str | None


def _as_batch(lines: list[_Line]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([line._asdict() for line in lines], schema=arrow_schema(COLUMNS))
