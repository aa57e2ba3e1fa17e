"""After the databases are back: Kafka gets what they do not have, and each stage goes on where it stood."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from loom_contracts.errors import ContractError
from loom_contracts.topics.registry import topic_on_broker
from loom_platform.backup import folder, offsets, spool
from loom_platform.backup.broker import Broker, add_partitions
from loom_platform.backup.errors import BackupError
from loom_platform.backup.kafka import Restorer
from loom_platform.backup.manifest import Manifest, TopicEntry
from loom_platform.backup.offsets import Fate, Places
from loom_platform.backup.progress import Progress
from loom_platform.backup.records import read_records
from loom_platform.backup.snapshot import Stored
from loom_platform.settings import Settings
from loom_platform.stream import topics
from loom_platform.stream.source import admin_client
from loom_platform.stream.topics import TopicState
from loom_platform.topics import create_topics

_STORED: Final = "SELECT stage, topic, partition, topic_id, next_offset FROM stream_offsets"


@dataclass(slots=True)
class Resumed:
    """What became of each topic, what was sent, and how many dead letters made room for new ones."""

    topics: dict[str, Fate] = field(default_factory=dict)
    records: int = 0
    spooled: int = 0
    letters_moved: int = 0


def resume(
    settings: Settings, broker: Broker, source: Path, database_url: str, manifest: Manifest, progress: Progress
) -> Resumed:
    """Send what the tables do not have, and have each stage go on where it stood. Raises BackupError."""
    done, entries = Resumed(), manifest.topics
    with psycopg.connect(database_url, autocommit=True) as connection:
        stored = [Stored(*row) for row in connection.execute(_STORED).fetchall()]
    states = _topics(settings, broker, entries)
    done.topics = {e.name: offsets.fate(e, states[e.name], stored) for e in entries}
    fresh = [e for e in entries if done.topics[e.name] is Fate.FRESH]
    starts = {
        (e.name, p.partition): p.first
        for e in fresh
        for p in e.partitions
        if states[e.name].ranges[p.partition][0] != p.first
    }
    if starts and broker.begin_at(starts):
        states = _topics(settings, broker, entries)
    sender = Restorer(broker.bootstrap_servers)
    places = [Places(e, stored) for e in entries if done.topics[e.name] is not Fate.SAME]
    for place in places:
        for record in read_records(source / folder.KAFKA / f"{place.entry.name}.parquet"):
            place.add(record)
            sender.send(record)
            done.records += 1
            progress("unprocessed records", done.records, manifest.unprocessed, "records")
    sender.flush()
    first = dict(sender.first)
    for record in read_records(source / folder.SPOOL / spool.RECORDS):
        sender.send(record)
        done.spooled += 1
    sender.flush()
    anew = [e.name for e in entries if done.topics[e.name] is not Fate.SAME and not _goes_on(e, states[e.name])]
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        for place in places:
            name = place.entry.name
            offsets.apply(connection, place.moved(done.topics[name], states[name], first))
        done.letters_moved = offsets.make_room(connection, anew)
    return done


def _goes_on(entry: TopicEntry, state: TopicState) -> bool:
    """Whether the topic's offsets are the old ones' continuation."""
    return all(state.ranges[p.partition][0] == p.first for p in entry.partitions)


def _topics(settings: Settings, broker: Broker, entries: tuple[TopicEntry, ...]) -> dict[str, TopicState]:
    """The backup's topics as they are on the broker, made where they are missing, with at least as many partitions."""
    try:
        known = [topic_on_broker(e.name, settings.kafka_topic_prefix) for e in entries]
    except ContractError as error:
        raise BackupError(f"the backup is of another Loom: {error}") from None
    create_topics(
        broker.bootstrap_servers,
        prefix=settings.kafka_topic_prefix,
        partitions=settings.kafka_default_partitions,
        replication_factor=settings.kafka_default_replication_factor,
        topics=known,
    )
    add_partitions(broker.bootstrap_servers, {e.name: len(e.partitions) for e in entries})
    found = topics.states(admin_client(broker.bootstrap_servers), [e.name for e in entries])
    return {name: state for name, state in found.items() if state is not None}
