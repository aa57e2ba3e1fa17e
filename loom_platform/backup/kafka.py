"""What Kafka holds and the tables do not: out of the broker and into it again."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from loom_models.stage import Stage
from loom_platform.backup.errors import BackupError
from loom_platform.backup.manifest import PartitionEntry, TopicEntry
from loom_platform.backup.progress import Progress
from loom_platform.backup.records import Kept, RecordFile
from loom_platform.backup.snapshot import Stored
from loom_platform.stream.source import broker_config
from loom_platform.stream.topics import TopicState

_PATIENCE_SECONDS: Final = 30.0
_LARGEST_MESSAGE: Final = 16 * 1024 * 1024
_FLUSH_SECONDS: Final = 60.0


def unprocessed(
    stages: Sequence[Stage], prefix: str, offsets: Iterable[Stored], states: Mapping[str, TopicState | None]
) -> list[TopicEntry]:
    """Of each topic that `stages` read, the records that at least one of them has not processed.

    A stage without a stored offset, or whose offset is another topic's of the same name, has processed none.
    """
    stored = {(o.stage, o.topic, o.partition): o for o in offsets}
    readers: dict[str, list[str]] = {}
    for stage in stages:
        readers.setdefault(stage.source.on_broker(prefix), []).append(stage.name)
    entries = []
    for topic, names in sorted(readers.items()):
        state = states.get(topic)
        if state is None:
            continue
        partitions = []
        for partition, (low, high) in sorted(state.ranges.items()):
            places = []
            for name in names:
                found = stored.get((name, topic, partition))
                places.append(low if found is None or found.topic_id != state.topic_id else found.next_offset)
            first = min(max(low, min(places)), high)
            partitions.append(PartitionEntry(partition=partition, low=low, first=first, high=high, records=0))
        entries.append(TopicEntry(name=topic, topic_id=state.topic_id, partitions=tuple(partitions)))
    return entries


def read_topic(bootstrap_servers: str, topic: TopicEntry, file: RecordFile, progress: Progress) -> TopicEntry:
    """Write the topic's records from `first` up to `high` into `file`; the entry with how many there were.

    Raises BackupError when the broker does not give them.
    """
    wanted = [p for p in topic.partitions if p.first < p.high]
    ends = {p.partition: p.high for p in wanted}
    found = dict.fromkeys(ends, 0)
    total = sum(p.high - p.first for p in topic.partitions)
    consumer = Consumer(
        {
            **broker_config(bootstrap_servers),
            "group.id": "loom-backup",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.max.bytes": _LARGEST_MESSAGE,
        }
    )
    left = set(ends)
    try:
        consumer.assign(
            [TopicPartition(topic.name, p.partition, p.first) for p in topic.partitions if p.first < p.high]
        )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while left:
            messages = consumer.consume(max(1, min(500, total - sum(found.values()))), 1.0)
            if not messages and time.monotonic() > deadline:
                raise BackupError(f"broker: topic {topic.name} gave no record for {_PATIENCE_SECONDS:.0f} s; try again")
            for message in messages:
                deadline = time.monotonic() + _PATIENCE_SECONDS
                partition, error = message.partition(), message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise BackupError(f"broker: topic {topic.name}: {error.str()}; try again")
                if partition not in left:
                    continue
                offset = message.offset()
                if error is None and offset is not None and offset < ends[partition]:
                    file.add(_kept(message))
                    found[partition] += 1
                if error is not None or offset is None or offset >= ends[partition] - 1:
                    left.discard(partition)
            progress("unprocessed records", sum(found.values()), total)
    except KafkaException as error:
        raise BackupError(f"broker: {error.args[0].str()}") from error
    finally:
        consumer.close()
    counted = tuple(p.model_copy(update={"records": found.get(p.partition, 0)}) for p in topic.partitions)
    return topic.model_copy(update={"partitions": counted})


def _kept(message: Any) -> Kept:
    key = message.key()
    return Kept(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        key.encode() if isinstance(key, str) else key,
        message.value(),
        message.headers() or [],
    )


class Restorer:
    """Sends kept records to the broker, each once and in order; `first` is where each partition's first one went."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = Producer(
            {
                **broker_config(bootstrap_servers),
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "message.max.bytes": _LARGEST_MESSAGE,
                "queue.buffering.max.kbytes": 65_536,
            }
        )
        self._failed: str | None = None
        self.first: dict[tuple[str, int], int] = {}
        self.sent = 0

    def send(self, record: Kept) -> None:
        """Queue one record, to its own partition when it had one; raises BackupError."""
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    # 0 would be the present
                    timestamp=max(1, record.timestamp_ms),
                    headers=list(record.headers),
                    on_delivery=self._delivered,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise BackupError(f"broker: topic {record.topic}: {error.args[0].str()}") from error
        self._producer.poll(0)
        self.sent += 1

    def flush(self) -> None:
        """Return when the broker has them all; raises BackupError."""
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failed:
            raise BackupError(f"broker: {left} records are not acknowledged ({self._failed or 'time-out'}); try again")

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed = f"{message.topic()}: {error.str()}"
            return
        place = message.topic(), message.partition()
        self.first[place] = min(self.first.get(place, message.offset()), message.offset())
