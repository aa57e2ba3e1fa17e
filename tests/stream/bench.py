"""The engine against the real broker and database, without Dagster."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.stream.api import StageReport, StageSummary, StreamConfig, run_stream

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
LARGEST = 16 * 1024 * 1024
"""What the suite's broker takes."""


@dataclass
class Bench:
    """A database, a broker and a prefix of one test's own, and what tests do with them.

    The engine works as the stream role, as `config` says; tests look at the database, and change it, as its owner.
    """

    config: StreamConfig
    admin: AdminClient
    producer: Producer
    owner_url: str
    reports: list[StageReport] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    pids: list[int] = field(default_factory=list)

    def create(self, *topics: Topic | str, partitions: int = 1) -> None:
        names = [self.name(t) for t in topics]
        for future in self.admin.create_topics([NewTopic(n, partitions, 1) for n in names]).values():
            future.result(timeout=20)

    def prepare(self, *stages: Stage, partitions: int = 1) -> None:
        """Make every topic that `stages` read, fill, or send dead letters to."""
        sources = {self.name(s.source): partitions for s in stages}
        others = [self.name(t) for s in stages for t in s.sinks] + [self.name(s.error_topic) for s in stages]
        wanted = [NewTopic(name, sources.get(name, 1), 1) for name in {*sources, *others}]
        for future in self.admin.create_topics(wanted).values():
            future.result(timeout=20)

    def name(self, topic: Topic | str) -> str:
        prefix = self.config.topic_prefix
        return topic.on_broker(prefix) if isinstance(topic, Topic) else f"{prefix}.{topic}"

    def send(
        self, topic: Topic, *values: bytes | Message | None, key: str | None = None, partition: int | None = None
    ) -> None:
        where = -1 if partition is None else partition
        for value in values:
            body = value.model_dump_json().encode() if isinstance(value, Message) else value
            owner = key if key is not None or not isinstance(value, Message) else value.device_id
            self.producer.produce(self.name(topic), body, owner, where)
        assert self.producer.flush(20) == 0
        self.sent[self.name(topic)] += len(values)

    def fresh_producer(self) -> None:
        """A producer that knows the topics as they are now."""
        common: dict[str, str | int | float | bool] = {"acks": "all", "message.max.bytes": LARGEST, "log_level": 0}
        self.producer = Producer({**common, "bootstrap.servers": self.config.bootstrap_servers})

    def remove_before(self, topic: Topic, partition: int, offset: int) -> None:
        """Remove the records before `offset`, as retention does."""
        for future in self.admin.delete_records([TopicPartition(self.name(topic), partition, offset)]).values():
            future.result(timeout=20)

    def run(self, *stages: Stage, landing: Sequence[Stage] = (), **changes: Any) -> list[StageSummary]:
        """Run until idle (1 s unless told otherwise)."""
        return self.start(*stages, landing=landing, **{"idle_timeout": timedelta(seconds=1), **changes}).end()

    def drain(self, *stages: Stage, landing: Sequence[Stage] = (), **changes: Any) -> list[StageSummary]:
        """Run until every stage stands behind the last record that `send` has sent; then stop."""
        running = self.start(*stages, landing=landing, **changes)
        eventually(lambda: not running.alive() or all(self.done(s) for s in stages))
        running.stop.set()
        return running.end()

    def start(self, *stages: Stage, landing: Sequence[Stage] = (), **changes: Any) -> "Running":
        """A run in a thread of its own."""
        return Running(stages, replace(self.config, **changes), self.reports.append, landing)

    def done(self, stage: Stage) -> bool:
        """Whether the stage's stored offsets are at the end of what was sent."""
        name = self.name(stage.source)
        return sum(self.offsets(stage).values()) == self.sent[name]

    def offsets(self, stage: Stage) -> dict[int, int]:
        query = "SELECT partition, next_offset FROM stream_offsets WHERE stage = %s AND topic = %s"
        return dict(self.rows(query, stage.name, self.name(stage.source)))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def topic_values(self, topic: Topic | str) -> list[bytes]:
        """Every value on a topic, partition by partition."""
        return [value for _, value in self.topic_records(topic)]

    def topic_records(self, topic: Topic | str) -> list[tuple[str | None, bytes]]:
        """Key and value of everything on a topic, partition by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.config.bootstrap_servers, "group.id": "bench", "auto.offset.reset": "earliest"}
        )
        out: list[tuple[str | None, bytes]] = []
        try:
            name = self.name(topic)
            for partition in consumer.list_topics(name, timeout=10).topics[name].partitions:
                where = TopicPartition(name, partition, 0)
                _, high = consumer.get_watermark_offsets(where, timeout=10)
                consumer.assign([where])
                for message in consumer.consume(high, 10) if high else []:
                    key = message.key()
                    out.append((key.decode() if isinstance(key, bytes) else key, message.value() or b""))
        finally:
            consumer.close()
        return out


class Running:
    """A stream run in a thread. `end` waits for it and gives its summaries, or raises what it raised."""

    def __init__(
        self,
        stages: Sequence[Stage],
        config: StreamConfig,
        on_report: Callable[[StageReport], None],
        landing: Sequence[Stage] = (),
    ) -> None:
        self.stop = threading.Event()
        self._result: list[StageSummary] = []
        self._error: BaseException | None = None

        def work() -> None:
            try:
                self._result = run_stream(stages, config, on_report=on_report, stop=self.stop, landing_stages=landing)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self, seconds: float = 60.0) -> list[StageSummary]:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the run did not end"
        if self._error is not None:
            raise self._error
        return self._result

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(60)


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for `condition`, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)
