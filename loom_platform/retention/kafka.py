"""Keeps `retention.ms` on the broker equal to what was said, and lets nothing expire that a stage has still to read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
)

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import TOPICS
from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.retention.rules import Kept, Kind, Rules
from loom_platform.stream.source import admin_client
from loom_platform.stream.topics import TopicState, states
from loom_platform.topics import spec_of, topics_with_errors

Connection = psycopg.Connection[Any]

FOR_EVER: Final = "-1"
_TIMEOUT: Final = 10.0
_MARGIN: Final = timedelta(days=2)
"""So long before unread records would expire their topic stops removing any."""

_SETTINGS: Final = ("retention.ms", "segment.ms")
_STORED = "SELECT stage, topic, partition, topic_id, next_offset FROM stream_offsets"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting of a topic that is otherwise than it should be."""

    topic: str
    setting: str
    found: str
    wanted: str


@dataclass(slots=True)
class Equalled:
    """What was changed on the broker, and which topics remove nothing now because a stage has old records to read."""

    changes: list[Change] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)


def equal(
    connection: Connection,
    bootstrap_servers: str,
    rules: Rules,
    stages: Sequence[Stage],
    now: datetime,
    *,
    prefix: str = "",
    topics: Sequence[Topic] = TOPICS,
    dry_run: bool = False,
) -> Equalled:
    """Make the broker's topics keep what `rules` say; topics that are not there are left out.

    While a stage has records to read that would expire within two days (or half of the retention), their topic keeps
    everything, and goes back when they are read. Raises DependencyError when the broker is away or refuses.
    """
    admin = admin_client(bootstrap_servers)
    mine = {t.on_broker(prefix): t for t in topics_with_errors((s.name for s in stages), topics)}
    there = {n: state for n, state in states(admin, list(mine)).items() if state is not None}
    kept = {name: rules.of(Kind.KAFKA, mine[name]) for name in there}
    done = Equalled(held=_unread(connection, admin, mine, there, kept, stages, now))
    wanted = {name: settings(mine[name], kept[name], held=name in done.held) for name in there}
    for name, found in _found(admin, there).items():
        done.changes += [Change(name, s, found[s], v) for s, v in wanted[name].items() if found[s] != v]
    if done.changes and not dry_run:
        _change(admin, done.changes)
    return done


def settings(topic: Topic, kept: Kept, *, held: bool = False) -> dict[str, str]:
    """What the broker should have of a topic."""
    spec = spec_of(topic, prefix="", partitions=1, replication_factor=1, retention=kept.length)
    return {s: FOR_EVER if held and s == "retention.ms" else spec.config[s] for s in _SETTINGS}


def _unread(
    connection: Connection,
    admin: AdminClient,
    mine: Mapping[str, Topic],
    there: Mapping[str, TopicState],
    kept: Mapping[str, Kept],
    stages: Sequence[Stage],
    now: datetime,
) -> dict[str, str]:
    """Topics of which a stage has still to read what would soon expire, each with the reason."""
    stored: dict[tuple[str, str], dict[int, tuple[str, int]]] = {}
    for stage, topic, partition, topic_id, offset in connection.execute(_STORED).fetchall():
        stored.setdefault((stage, topic), {})[partition] = (topic_id, offset)
    readers = {name: [s for s in stages if s.source is mine[name]] for name in there}
    asked: dict[TopicPartition, OffsetSpec] = {}
    for name, state in there.items():
        length = kept[name].length
        if length is not None and readers[name]:
            moment = int((now - length + min(_MARGIN, length / 2)).timestamp() * 1000)
            for partition, (low, high) in state.ranges.items():
                if low < high:
                    asked[TopicPartition(name, partition)] = OffsetSpec.for_timestamp(moment)
    held: dict[str, str] = {}
    for (name, partition), offset in _offsets(admin, asked).items():
        low, high = there[name].ranges[partition]
        old = high if offset < 0 else offset
        for reader in readers[name]:
            topic_id, stands = stored.get((reader.name, name), {}).get(partition, ("", low))
            begins = max(low, stands) if topic_id == there[name].topic_id else low
            if begins < old:
                held[name] = f"stage {reader.name} has {old - begins:,} old records to read"
    return held


def _offsets(admin: AdminClient, asked: Mapping[TopicPartition, OffsetSpec]) -> dict[tuple[str, int], int]:
    if not asked:
        return {}
    try:
        futures = admin.list_offsets(dict(asked), request_timeout=_TIMEOUT)
        return {(tp.topic, tp.partition): f.result(timeout=_TIMEOUT).offset for tp, f in futures.items()}
    except (KafkaException, TimeoutError) as error:
        raise DependencyError(f"broker: {error}") from error


def _found(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    if not resources:
        return found
    try:
        for resource, future in admin.describe_configs(resources, request_timeout=_TIMEOUT).items():
            entries = future.result(timeout=_TIMEOUT)
            found[resource.name] = {s: str(entries[s].value) for s in _SETTINGS}
    except (KafkaException, TimeoutError) as error:
        raise DependencyError(f"broker: {error}") from error
    return found


def _change(admin: AdminClient, changes: Sequence[Change]) -> None:
    by_topic: dict[str, list[ConfigEntry]] = {}
    for change in changes:
        entry = ConfigEntry(change.setting, change.wanted, incremental_operation=AlterConfigOpType.SET)
        by_topic.setdefault(change.topic, []).append(entry)
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        for name, entries in by_topic.items()
    ]
    try:
        for future in admin.incremental_alter_configs(resources, request_timeout=_TIMEOUT).values():
            future.result(timeout=_TIMEOUT)
    except (KafkaException, TimeoutError) as error:
        raise DependencyError(
            f"the broker did not change a topic's retention: {error}; this client needs ALTER_CONFIGS on its topics"
        ) from error
