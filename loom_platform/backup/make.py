"""`loom backup`: a platform, running or not in the middle of anything, into a directory.

What the person's devices were told is safe must be in it. A record goes from the spool to Kafka to the tables, so they
are looked at in another order: the tables at one moment, then the spool, then Kafka up to its end. What has left the
spool is in Kafka by then, and what Kafka has before the stored offsets is in the tables. A record may be in it twice,
with the same identity, and is stored once.
"""

import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loom_models.flows import STAGES
from loom_platform.backup import blobs, folder, kafka, postgres, spool
from loom_platform.backup.errors import BackupError
from loom_platform.backup.manifest import BlobsEntry, Manifest, TopicEntry
from loom_platform.backup.progress import Progress, silent
from loom_platform.backup.records import record_file
from loom_platform.backup.snapshot import Snapshot, snapshot
from loom_platform.database import database_answers
from loom_platform.settings import Settings
from loom_platform.stream import topics
from loom_platform.stream.source import admin_client

UMASK: Final = 0o077


@dataclass(slots=True)
class Planned:
    """What a backup would hold, measured without writing anything; bytes are those of the server's disk."""

    tables: dict[str, int] = field(default_factory=dict)
    database_bytes: int = 0
    dagster_bytes: int = 0
    bodies: int = 0
    unprocessed: int = 0
    spooled: int = 0
    free_bytes: int = 0


def plan(settings: Settings, target: Path, progress: Progress = silent) -> Planned:
    """Measure what `make` would keep; raises BackupError for what would stop it."""
    folder.check_free(target)
    planned = Planned(free_bytes=shutil.disk_usage(_existing(target)).free)
    with snapshot(settings.database_url) as moment:
        planned.tables = _count(moment, progress)
        planned.database_bytes = moment.size()
        for planned.bodies, _ in enumerate(moment.references(), 1):
            pass
        planned.spooled = sum(1 for _ in spool.spooled(settings.spool))
        planned.unprocessed = sum(p.high - p.first for t in _unprocessed(settings, moment) for p in t.partitions)
    if database_answers(dagster := dagster_url(settings)):
        with snapshot(dagster) as moment:
            planned.dagster_bytes = moment.size()
    return planned


def make(
    settings: Settings, target: Path, *, keys: Path | None = None, dagster: bool = True, progress: Progress = silent
) -> Manifest:
    """Write a backup into `target` and return its manifest. `keys` is where the bodies' keys go instead of into it.

    Raises BackupError; what was written by then is of no use, and is removed by the next backup into it.
    """
    began = _now()
    if keys is not None and keys.exists():
        raise BackupError(f"--keys {keys}: is there already; give another file, or remove it")
    with _private(), folder.opened(target):
        with snapshot(settings.database_url) as moment:
            stored_keys = moment.keys()
            tables = _count(moment, progress)
            postgres.dump(
                settings.database_url,
                target / folder.DATABASE,
                lambda size: progress("database", size, None, "B"),
                snapshot=moment.name,
            )
            spooled = _keep_spool(settings, target, progress)
            kept = _keep_topics(settings, moment, target, progress)
            bodies = blobs.copy_out(settings.blobs, moment.references(), target, progress)
            told = (moment.at, moment.postgresql, moment.extensions(), moment.migrations())
        has_dagster = dagster and _keep_dagster(settings, target, progress)
        folder.write(keys or target / folder.KEYS, json.dumps(stored_keys).encode())
        manifest = _manifest(target, began, told, tables, kept, spooled, bodies, progress).model_copy(
            update={"dagster": has_dagster, "keys": len(stored_keys), "keys_apart": keys is not None}
            | {"topic_prefix": settings.kafka_topic_prefix, "finished_at": _now()}
        )
        folder.finish(target, manifest.model_dump_json(indent=2) + "\n")
    return manifest


@contextmanager
def _private() -> Iterator[None]:
    """What is written meanwhile is for the person alone; the process's umask is then what it was."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def dagster_url(settings: Settings) -> str:
    """The URL of Dagster's own database, for libpq."""
    return settings.dagster_url_of_storage.replace("postgresql+psycopg2://", "postgresql://", 1)


def _count(moment: Snapshot, progress: Progress) -> dict[str, int]:
    moment.migrations()
    names = moment.tables()
    counted = {}
    for number, name in enumerate(names, 1):
        counted[name] = moment.count(name)
        progress("tables counted", number, len(names), "tables")
    return counted


def _unprocessed(settings: Settings, moment: Snapshot) -> list[TopicEntry]:
    names = sorted({s.source.on_broker(settings.kafka_topic_prefix) for s in STAGES})
    states = topics.states(admin_client(settings.kafka_bootstrap_servers), names)
    return kafka.unprocessed(STAGES, settings.kafka_topic_prefix, moment.offsets(), states)


def _keep_topics(settings: Settings, moment: Snapshot, target: Path, progress: Progress) -> tuple[TopicEntry, ...]:
    kept = []
    (target / folder.KAFKA).mkdir(mode=0o700)
    for topic in _unprocessed(settings, moment):
        if any(p.first < p.high for p in topic.partitions):
            with record_file(target / folder.KAFKA / f"{topic.name}.parquet") as file:
                topic = kafka.read_topic(settings.kafka_bootstrap_servers, topic, file, progress)
        kept.append(topic)
    return tuple(kept)


def _keep_spool(settings: Settings, target: Path, progress: Progress) -> int:
    spool.copy_out(settings.spool, target / folder.SPOOL)
    with record_file(target / folder.SPOOL / spool.RECORDS) as file:
        for record in spool.spooled(settings.spool):
            file.add(record)
            progress("spooled records", file.written)
    return file.written


def _keep_dagster(settings: Settings, target: Path, progress: Progress) -> bool:
    url = dagster_url(settings)
    if not database_answers(url):
        return False
    postgres.dump(url, target / folder.DAGSTER, lambda size: progress("dagster's database", size, None, "B"))
    return True


def _manifest(
    target: Path,
    began: datetime,
    told: tuple[datetime, str, dict[str, str], tuple[str, ...]],
    tables: dict[str, int],
    kept: tuple[TopicEntry, ...],
    spooled: int,
    bodies: BlobsEntry,
    progress: Progress,
) -> Manifest:
    """Everything but the bodies is listed with its checksum; theirs are in their index."""
    os.sync()
    paths = sorted(p for p in target.rglob("*") if p.is_file() and p.name != folder.MARKER)
    paths = [p for p in paths if folder.BLOBS not in p.relative_to(target).parts[:1]]
    files = []
    for number, path in enumerate(paths, 1):
        files.append(folder.entry(target, path))
        progress("checksums", number, len(paths), "files")
    at, version, extensions, migrations = told
    return Manifest(
        loom_version=importlib.metadata.version("loom"),
        began_at=began,
        snapshot_at=at,
        finished_at=began,
        postgresql=version,
        extensions=extensions,
        migrations=migrations,
        tables=tables,
        dagster=False,
        topic_prefix="",
        topics=kept,
        spooled=spooled,
        blobs=bodies,
        keys=0,
        keys_apart=False,
        files=tuple(files),
    )


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _now() -> datetime:
    return datetime.now(UTC)
