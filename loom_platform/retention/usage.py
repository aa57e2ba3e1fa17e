"""What everything takes on disk: tables, roll-ups, Kafka's topics, bodies, Dagster's database, and the rest."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from loom_contracts.rollups import UNITS, rollup_of
from loom_contracts.topic import Topic
from loom_models.errors import DependencyError
from loom_platform.blobs import open_blobs
from loom_platform.retention.keeping import Keeper
from loom_platform.retention.logdirs import topic_bytes
from loom_platform.rollups.marks import store
from loom_platform.topics import topics_with_errors

Connection = psycopg.Connection[Any]

_DAYS = "SELECT coalesce(sum(bytes), 0)::bigint FROM loom_days(%s)"
# What is kept by day is counted above, and TimescaleDB keeps its days in a schema of its own.
_OTHERS = """
SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'm') AND NOT c.relispartition
  AND c.relname <> ALL(%s) ORDER BY 2 DESC
"""
_STORE = """
SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint + pg_total_relation_size(%(store)s::regclass)
FROM pg_inherits i WHERE i.inhparent = %(store)s::regclass
"""
_DAGSTER = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r'
  AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC
"""
_DIRECTORIES: Final = ("spool", "logs", "dagster")
"""Of the data directory, what grows and is not counted elsewhere."""


@dataclass(frozen=True, slots=True)
class TopicUsage:
    """Bytes of one topic; None where it is not known, because the broker is away."""

    topic: str
    table: int
    rollups: int
    kafka: int | None


@dataclass(slots=True)
class Usage:
    """All that is taken: bodies by kind, the others by table or directory. `unknown` says what could not be asked."""

    topics: list[TopicUsage] = field(default_factory=list)
    bodies: dict[str, tuple[int, int]] = field(default_factory=dict)
    database: dict[str, int] = field(default_factory=dict)
    dagster: dict[str, int] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    @property
    def sums(self) -> dict[str, int]:
        """Bytes of each kind of thing."""
        return {
            "tables": sum(t.table for t in self.topics),
            "roll-ups": sum(t.rollups for t in self.topics),
            "Kafka": sum(t.kafka or 0 for t in self.topics),
            "bodies": sum(size for _, size in self.bodies.values()),
            "other tables": sum(self.database.values()),
            "Dagster": sum(self.dagster.values()),
            "files": sum(self.directories.values()),
        }


def usage(keeper: Keeper, progress: Callable[[str], None] = lambda _: None) -> Usage:
    """Measure it all. What is away is named in `unknown`; raises DependencyError when the database is."""
    found = Usage()
    settings = keeper.settings
    progress("Kafka")
    kafka: Mapping[str, int] | None = None
    try:
        kafka = topic_bytes(settings.kafka_bootstrap_servers)
    except DependencyError as error:
        found.unknown["Kafka"] = str(error)
    progress("tables")
    with keeper.connect() as connection:
        found.topics = _topics(connection, keeper, kafka, settings.kafka_topic_prefix)
        counted = [t.table.name for t in keeper.tabled]
        stores = [f"{r.view(unit)}_kept" for t in keeper.tabled if (r := rollup_of(t.table)) for unit in UNITS]
        found.database = dict(connection.execute(_OTHERS, ([*counted, *stores],)).fetchall())
    progress("Dagster")
    try:
        with keeper.connect_dagster() as dagster:
            found.dagster = dict(dagster.execute(_DAGSTER).fetchall())
    except DependencyError as error:
        found.unknown["Dagster"] = str(error)
    progress("bodies")
    blobs = open_blobs(settings)
    try:
        for each in blobs.usage():
            count, size = found.bodies.get(each.kind or "not Loom's", (0, 0))
            found.bodies[each.kind or "not Loom's"] = count + each.bodies, size + each.bytes
    except DependencyError as error:
        found.unknown["bodies"] = str(error)
    finally:
        blobs.close()
    progress("files")
    found.directories = {
        n: bytes_below(settings.data_dir / n) for n in _DIRECTORIES if (settings.data_dir / n).is_dir()
    }
    return found


def _topics(connection: Connection, keeper: Keeper, kafka: Mapping[str, int] | None, prefix: str) -> list[TopicUsage]:
    """Topics with a table, and others that take anything in Kafka; the largest first."""
    rows = []
    for topic in topics_with_errors((s.name for s in keeper.stages), keeper.topics):
        table = _one(connection, _DAYS, (topic.table.name,)) if topic in keeper.tabled else 0
        rollups = _rollups(connection, topic) if topic in keeper.tabled else 0
        taken = None if kafka is None else kafka.get(topic.on_broker(prefix), 0)
        if topic in keeper.tabled or taken:
            rows.append(TopicUsage(topic.name, table, rollups, taken))
    return sorted(rows, key=lambda r: -(r.table + r.rollups + (r.kafka or 0)))


def _rollups(connection: Connection, topic: Topic) -> int:
    rollup = rollup_of(topic.table)
    if rollup is None:
        return 0
    return sum(_one(connection, _STORE, {"store": store(connection, rollup, unit)}) for unit in UNITS)


def _one(connection: Connection, query: str, values: Sequence[object] | Mapping[str, object]) -> int:
    row = connection.execute(query.encode(), values).fetchone()
    return int(row[0]) if row else 0


def bytes_below(directory: Path) -> int:
    """What the files below `directory` take; those that go meanwhile, or may not be read, count nothing."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:
                continue
    return total
