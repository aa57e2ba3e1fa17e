"""What Kafka still holds of an erasure, until when, and removing it at once.

A record cannot be taken out of a partition; only everything before an offset can. So the proof says where the records
lie and when retention removes them, and `remove` does it now, with whatever else lies before them.
"""

import base64
import binascii
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from loom_contracts.topics.processing import ERRORS_PREFIX
from loom_contracts.topics.registry import TOPICS
from loom_models.errors import DependencyError
from loom_models.flows import STAGES
from loom_platform.erasure.scope import Erasure
from loom_platform.stream import topics
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.erased import event_of
from loom_platform.stream.source import admin_client, broker_config

SCAN_LIMIT: Final = 1_000_000
"""Of a longer partition only the ends are told: reading it would take longer than the erasure."""

_CLOCKS: Final = timedelta(hours=48)
"""A record may be sensed so much later than it was accepted, by a wrong clock."""
_CHECK: Final = timedelta(minutes=5)
"""How often a broker looks for what has passed its retention."""
_LOOK_SECONDS: Final = 0.5
_TIMEOUT: Final = 30.0
_ANSWER: Final = 5.0
_AT_ONCE: Final = 10_000
_WAIT: Final = 0.2
_PASSED: Final = "SELECT stage, next_offset FROM stream_offsets WHERE topic = %s AND partition = %s"

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Holding:
    """Records of the scope in a partition: offsets from `first` to `last`, the last one accepted at `at`.

    `records` is their number, None where the partition was too long to be read: then all of it may hold some.
    `others` are records of other devices or times that lie before `last`, and go with it; `until` is when retention
    has removed it at the latest, None when never. `waits` are stages that have not passed it, and where they stand.
    """

    topic: str
    partition: int
    first: int
    last: int
    records: int | None
    others: int
    at: datetime
    until: datetime | None = None
    waits: dict[str, int | None] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As the proof has it."""
        return {
            "topic": self.topic, "partition": self.partition, "first": self.first, "last": self.last,
            "records": self.records, "others_before": self.others,
            "until": None if self.until is None else self.until.isoformat(),
        }  # fmt: skip


def holdings(
    connection: psycopg.Connection[Any],
    config: StreamConfig,
    erasure: Erasure,
    known: Mapping[str, Mapping[str, Any]],
    rows: Iterable[str],
    progress: Progress = lambda _what, _n: None,
) -> list[Holding]:
    """What Kafka holds of the erasure now; raises DependencyError when the broker is away.

    `known` are the places of deleted rows (`topic/partition` to first, last, at), `rows` the identities of rows outside
    the scope that went with it.
    """
    admin = admin_client(config.bootstrap_servers)
    names = _names(admin, config)
    states = topics.states(admin, names) if names else {}
    wanted = set(rows)
    found: list[Holding] = []
    consumer = Consumer(
        {
            **broker_config(config.bootstrap_servers),
            "group.id": "loom-erasure",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        scans = []
        for name, state in states.items():
            for partition, (low, high) in ({} if state is None else state.ranges).items():
                place = known.get(f"{name.removeprefix(f'{config.topic_prefix}.')}/{partition}")
                if low >= high or not _may_hold(erasure, partition, len(state.ranges) if state else 1, place):
                    continue
                start = _start(consumer, erasure, (name, partition), low, high)
                if high - start > SCAN_LIMIT:
                    first = start if place is None else max(low, int(place["first"]))
                    found.append(Holding(name, partition, first, high - 1, None, high - low, erasure.asked_at))
                elif start < high:
                    scans.append(_Scan(name, partition, low, high, start))
        _read(consumer, erasure, scans, wanted, progress)
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error
    finally:
        consumer.close()
    found += [holding for scan in scans if (holding := scan.holding()) is not None]
    for holding in found:
        holding.waits = _waits(connection, config, holding)
    _until(admin, found)
    return sorted(found, key=lambda h: (h.topic, h.partition))


@dataclass(slots=True)
class _Scan:
    """A partition that is read from `at` to `high`, and what was found in it."""

    topic: str
    partition: int
    low: int
    high: int
    at: int
    records: int = 0
    first: int = 0
    last: int = 0
    last_ms: int = 0

    def take(self, offset: int, accepted_ms: int) -> None:
        """This record is of the erasure."""
        self.first = offset if not self.records else self.first
        self.records += 1
        self.last = offset
        self.last_ms = max(self.last_ms, accepted_ms)

    def holding(self) -> Holding | None:
        """What it holds; None when that is nothing."""
        if not self.records:
            return None
        others = self.last + 1 - self.low - self.records
        moment = datetime.fromtimestamp(self.last_ms / 1000, UTC)
        return Holding(self.topic, self.partition, self.first, self.last, self.records, others, moment)


def remove(
    connection: psycopg.Connection[Any],
    config: StreamConfig,
    found: Sequence[Holding],
    *,
    patience: timedelta,
    progress: Progress = lambda _what, _n: None,
) -> list[Holding]:
    """Remove the records up to each holding's last, once every stage has passed it; those that could not be removed.

    Waits for the stages up to `patience`. Everything before goes too, of every device; it is in the tables.
    """
    admin = admin_client(config.bootstrap_servers)
    deadline = time.monotonic() + patience.total_seconds()
    left = list(found)
    removed = 0
    while left:
        ready = []
        for holding in left:
            holding.waits = _waits(connection, config, holding)
            if not holding.waits:
                ready.append(holding)
        if ready:
            asked = [TopicPartition(h.topic, h.partition, h.last + 1) for h in ready]
            for future in admin.delete_records(asked, request_timeout=_TIMEOUT).values():
                try:
                    future.result(timeout=_TIMEOUT)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.OFFSET_OUT_OF_RANGE:  # retention was quicker
                        raise DependencyError(f"broker: {error.args[0].str()}") from error
            left = [h for h in left if h.waits]
            removed += len(ready)
            progress("removed from Kafka", removed)
        if left:
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_SECONDS)
    return left


def _names(admin: AdminClient, config: StreamConfig) -> list[str]:
    """Loom's topics on the broker."""
    try:
        there = admin.list_topics(timeout=_ANSWER).topics
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error
    prefix = f"{config.topic_prefix}." if config.topic_prefix else ""
    ours = {t.on_broker(config.topic_prefix) for t in TOPICS}
    return sorted(n for n in there if n in ours or n.startswith(f"{prefix}{ERRORS_PREFIX}."))


def _may_hold(erasure: Erasure, partition: int, partitions: int, place: Mapping[str, Any] | None) -> bool:
    devices = erasure.scope.devices
    keyed = {(int(murmur2(d.encode())) & 0x7FFFFFFF) % partitions for d in devices}
    return not devices or place is not None or partition in keyed


def _start(consumer: Consumer, erasure: Erasure, where: tuple[str, int], low: int, high: int) -> int:
    """The first offset that may hold something."""
    since = erasure.scope.since
    if since is None or since.year < 1971:
        return low
    moment = int((since - _CLOCKS).timestamp() * 1000)
    (found,) = consumer.offsets_for_times([TopicPartition(*where, moment)], timeout=_TIMEOUT)
    return max(low, found.offset) if found.offset >= 0 else high


def _read(consumer: Consumer, erasure: Erasure, scans: Sequence[_Scan], rows: set[str], progress: Progress) -> None:
    """Read the partitions, all of them at once."""
    reading = {(s.topic, s.partition): s for s in scans}
    if not reading:
        return
    consumer.assign([TopicPartition(s.topic, s.partition, s.at) for s in scans])
    deadline = time.monotonic() + _TIMEOUT
    read = 0
    while reading:
        got = consumer.consume(min(_AT_ONCE, sum(s.high - s.at for s in reading.values())), _WAIT)
        for message in got:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            scan = reading.get((str(message.topic()), int(message.partition() or 0)))
            offset = int(message.offset() or 0)
            if scan is not None and offset < scan.high:
                scan.at = offset + 1
                if _mine(erasure, message, rows):
                    scan.take(offset, message.timestamp()[1])
        if got:
            deadline = time.monotonic() + _TIMEOUT
            read += len(got)
            progress("records of Kafka", read)
        else:
            # The last offsets may hold no record.
            for place in consumer.position([TopicPartition(*where) for where in reading]):
                reading[place.topic, place.partition].at = max(reading[place.topic, place.partition].at, place.offset)
            if time.monotonic() > deadline:
                where = ", ".join(f"{t}[{p}] from offset {s.at}" for (t, p), s in reading.items())
                raise DependencyError(f"broker: nothing came for {_TIMEOUT:g} s of {where}")
        reading = {where: scan for where, scan in reading.items() if scan.at < scan.high}


def _mine(erasure: Erasure, message: Any, rows: set[str]) -> bool:
    """Whether the record is of the scope, or of a row that went with it; a dead letter, by the record in it."""
    key, devices = message.key(), erasure.scope.devices
    device = key.decode(errors="replace") if isinstance(key, bytes) else key
    if devices and device is not None and device not in devices:
        return False
    received = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    if received > erasure.asked_at:
        return False
    if erasure.scope.whole and device is not None:
        return True
    value = message.value()
    if rows and value is not None and _identity(value) in rows:
        return True
    if ERRORS_PREFIX in message.topic():
        value = _inner(value)
    return erasure.span.holds(*event_of(device, value, received))


def _identity(value: bytes) -> str | None:
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return str(fields.get("message_id")) if isinstance(fields, dict) else None


def _inner(value: bytes | None) -> bytes | None:
    """The record that a dead letter is of; the letter itself where that was left out."""
    try:
        body = json.loads(value or b"")["value"]
        return base64.b64decode(body) if body else value
    except (ValueError, KeyError, TypeError, binascii.Error):
        return value


def _waits(connection: psycopg.Connection[Any], config: StreamConfig, holding: Holding) -> dict[str, int | None]:
    """The stages that have not passed the holding, and where each stands; None for one that never began."""
    stood = dict(connection.execute(_PASSED, (holding.topic, holding.partition)).fetchall())
    readers = {s.name for s in STAGES if s.source.on_broker(config.topic_prefix) == holding.topic}
    places: dict[str, int | None] = {name: stood.get(name) for name in readers | stood.keys()}
    return {name: place for name, place in places.items() if place is None or place <= holding.last}


def _until(admin: AdminClient, found: Sequence[Holding]) -> None:
    """When retention has removed each: its last record's age, and as long as a segment may grow."""
    if not found:
        return
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in sorted({h.topic for h in found})]
    for resource, future in admin.describe_configs(resources, request_timeout=_TIMEOUT).items():
        try:
            settings = future.result(timeout=_TIMEOUT)
        except KafkaException as error:
            raise DependencyError(f"broker: {error.args[0].str()}") from error
        kept, segment = (int(settings[n].value) for n in ("retention.ms", "segment.ms"))
        for holding in found:
            if holding.topic == resource.name and kept >= 0:
                holding.until = holding.at + timedelta(milliseconds=kept + segment) + _CHECK
