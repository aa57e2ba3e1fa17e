"""`manifest.json`: what a backup holds. It is written last, so a backup without it was not finished."""

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from loom_platform.backup.errors import BackupError

NAME: Final = "manifest.json"
FORMAT: Final = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FileEntry(_Part):
    """One file of the backup; `path` is relative to it."""

    path: str
    bytes: int
    sha256: str


class PartitionEntry(_Part):
    """One partition: what the broker had of it (`low` to `high`) and what was kept (`first` up to `high`).

    `records` is how many were kept. What lies before `first` was in the tables of every stage that reads the topic.
    """

    partition: int
    low: int
    first: int
    high: int
    records: int


class TopicEntry(_Part):
    """One topic that stages read, by its name on the broker."""

    name: str
    topic_id: str
    partitions: tuple[PartitionEntry, ...]


class BlobsEntry(_Part):
    """Large bodies that rows refer to; `missing` of them were not in the object storage."""

    count: int
    bytes: int
    missing: int


class Manifest(_Part):
    """All of a backup. `tables` are rows of each table of Loom's database, in the snapshot."""

    format: Literal[1] = 1
    loom_version: str
    began_at: datetime
    snapshot_at: datetime
    finished_at: datetime
    postgresql: str
    extensions: dict[str, str]
    migrations: tuple[str, ...]
    tables: dict[str, int]
    dagster: bool
    topic_prefix: str
    topics: tuple[TopicEntry, ...]
    spooled: int
    blobs: BlobsEntry
    keys: int
    keys_apart: bool
    files: tuple[FileEntry, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())

    @property
    def unprocessed(self) -> int:
        """Kafka's records that are in the backup."""
        return sum(p.records for t in self.topics for p in t.partitions)


def read(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`; raises BackupError when there is none that this version can read."""
    path = folder / NAME
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackupError(f"{folder}: no {NAME}: it is no backup, or one that was not finished; make another") from None
    except OSError as error:
        raise BackupError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BackupError(
            f"{path}: {where}: {first['msg']}; it is damaged, or of a newer Loom: restore it with that one"
        ) from None
