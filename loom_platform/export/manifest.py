"""The manifest of an export: what it holds, the checksum of every file, and so the last file that is written."""

import json
from dataclasses import asdict, dataclass, field
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any, Final

from loom_platform.export.errors import DamagedError, ImportDataError

NAME: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
FORMAT: Final = "loom-export"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: `path` from the export's directory, `rows` of a Parquet file, `day` where it holds one UTC day."""

    path: str
    bytes: int
    sha256: str
    rows: int | None = None
    day: str | None = None


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One table: its rows and its files, the oldest day first."""

    rows: int
    bytes: int
    files: tuple[FileEntry, ...]


@dataclass(frozen=True, slots=True)
class BlobsEntry:
    """Bodies: how many files and bytes, how many are `missing`, and their index, a Parquet file."""

    count: int
    bytes: int
    missing: int
    index: FileEntry


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of it. `snapshot` is the time as of which the rows are; `selection` is what was asked for."""

    created_at: str
    finished_at: str
    snapshot: str
    loom_version: str
    migrations: list[str]
    selection: dict[str, Any]
    tables: dict[str, TableEntry]
    blobs: BlobsEntry
    others: list[FileEntry] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(t.rows for t in self.tables.values())

    @property
    def files(self) -> list[FileEntry]:
        """Every file but the bodies, whose names are their checksums, and the manifest itself."""
        return [*self.others, *(f for t in self.tables.values() for f in t.files), self.blobs.index]

    def text(self) -> str:
        """As it is in the file."""
        body = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def read(folder: Path) -> Manifest:
    """The manifest of the export in `folder`.

    Raises ImportDataError when there is none or it is of another format, DamagedError when it is not what SHA256SUMS
    says.
    """
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ImportDataError(
            f"{folder}: no {NAME}, so it is not an export, or one that was not finished; finish it with the "
            "`loom export` that began it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ImportDataError(f"{path}: cannot be read ({error})") from None
    _check_sum(folder, path)
    try:
        body = json.loads(text)
        if (body["format"], body["version"]) != (FORMAT, FORMAT_VERSION):
            raise ImportDataError(
                f"{path}: is {body['format']!r} version {body['version']!r}; this Loom reads {FORMAT!r} version "
                f"{FORMAT_VERSION}: use a newer one"
            )
        return _parsed(body)
    except (KeyError, TypeError, ValueError) as error:
        raise ImportDataError(f"{path}: is not a manifest of an export ({error!r})") from None


def _parsed(body: dict[str, Any]) -> Manifest:
    names = ("created_at", "finished_at", "snapshot", "loom_version", "migrations", "selection")
    blobs = body["blobs"]
    found = Manifest(
        **{name: body[name] for name in names},
        tables={
            name: TableEntry(t["rows"], t["bytes"], tuple(FileEntry(**f) for f in t["files"]))
            for name, t in body["tables"].items()
        },
        blobs=BlobsEntry(blobs["count"], blobs["bytes"], blobs["missing"], FileEntry(**blobs["index"])),
        others=[FileEntry(**f) for f in body["others"]],
    )
    for entry in found.files:
        if not inside(entry.path):
            raise ValueError(f"{entry.path} is not a path inside it")
    return found


def inside(path: str) -> bool:
    """Whether `path` cannot lead out of the export's directory."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not PurePosixPath(path).is_absolute() and ".." not in parts


def _check_sum(folder: Path, path: Path) -> None:
    """The manifest against its line in SHA256SUMS, which is the only other place that knows its checksum."""
    try:
        lines = (folder / SUMS).open(encoding="utf-8")
    except OSError as error:
        raise ImportDataError(f"{folder / SUMS}: cannot be read ({error})") from None
    with lines:
        told = next((line[:64] for line in lines if line.rstrip("\n")[66:] == NAME), "none")
    if (found := sha256_of(path)) != told:
        raise DamagedError(f"{NAME}: its SHA-256 is {found}, {SUMS} says {told}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
