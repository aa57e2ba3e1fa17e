"""The engine against the real broker and database, without Dagster."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_models.stage import Stage
from loom_platform.stream.api import StageReport, StageSummary, StreamConfig, run_stream

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@dataclass
class Bench:
    """A database, a broker and a prefix of one test's own, and what tests do with them."""

    config: StreamConfig
    admin: AdminClient
    producer: Producer
    reports: list[StageReport] = field(default_factory=list)

    def create(self, *topics: Topic | str, partitions: int = 1) -> None:
        names = [self.name(t) for t in topics]
        for future in self.admin.create_topics([NewTopic(n, partitions, 1) for n in names]).values():
            future.result(timeout=20)

    def name(self, topic: Topic | str) -> str:
        prefix = self.config.topic_prefix
        return topic.on_broker(prefix) if isinstance(topic, Topic) else f"{prefix}.{topic}"

    def send(self, topic: Topic, *values: bytes | Message | None, key: str | None = None) -> None:
        for value in values:
            body = value.model_dump_json().encode() if isinstance(value, Message) else value
            owner = key if key is not None or not isinstance(value, Message) else value.device_id
            self.producer.produce(self.name(topic), body, owner)
        assert self.producer.flush(20) == 0

    def run(self, *stages: Stage, landing: Sequence[Stage] = (), **changes: Any) -> list[StageSummary]:
        config = replace(self.config, **{"idle_timeout": timedelta(seconds=1), **changes})
        return run_stream(stages, config, on_report=self.reports.append, stop=threading.Event(), landing_stages=landing)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.config.database_url, autocommit=True) as connection:
            return connection.execute(query, values).fetchall()


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for `condition`, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)
