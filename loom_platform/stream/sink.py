"""Derived messages and dead letters onto Kafka: acknowledged by all replicas before the database commits."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import polars as pl
from confluent_kafka import KafkaException, Producer

from loom_contracts.table import ColumnType, Table
from loom_contracts.topic import Topic
from loom_models.errors import DependencyError
from loom_platform.stream.errors import ProduceError
from loom_platform.stream.source import broker_config

_FLUSH_SECONDS = 30.0


class Sink:
    """An idempotent producer. `send` only queues; `flush` returns when every message is acknowledged, or raises."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self._prefix = prefix
        self._failed: list[str] = []
        self._producer = Producer(
            {
                **broker_config(bootstrap_servers),
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 1,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "message.timeout.ms": 20_000,
                "queue.buffering.max.kbytes": 65_536,
            }
        )

    def send(self, topic: Topic | str, keys: Sequence[str | None], values: Sequence[bytes]) -> None:
        """Queue messages for `topic`; waits where the queue is full."""
        name = topic.on_broker(self._prefix) if isinstance(topic, Topic) else self._on_broker(topic)
        for key, value in zip(keys, values, strict=True):
            while True:
                try:
                    self._producer.produce(name, value, key, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException as error:
                    raise DependencyError(f"broker: {error.args[0].str()}") from error

    def flush(self) -> None:
        """Wait for every acknowledgement; raises ProduceError when one is missing, and forgets the rest."""
        left = self._producer.flush(_FLUSH_SECONDS)
        failed, self._failed = self._failed, []
        if left:
            self._producer.purge()
            self._producer.flush(1.0)
            self._failed = []
        if left or failed:
            raise ProduceError(
                f"{left + len(failed)} derived messages not acknowledged: {failed[0] if failed else 'time-out'}"
            )

    def close(self) -> None:
        """Drop what is still queued."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _on_broker(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed.append(error.str())


def encode(frame: pl.DataFrame, topic: Topic) -> tuple[list[str], list[bytes]]:
    """Keys and values of a frame's rows in the wire form: one flat JSON object each, times as ISO 8601 in UTC."""
    table: Table = topic.table
    fields = [n for n in topic.payload.model_fields if n in frame.columns]
    json_fields = [n for n in fields if table.column(n).type is ColumnType.JSON]
    wire = frame.select(
        pl.col(n).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") if table.column(n).type is ColumnType.TIMESTAMP else pl.col(n)
        for n in fields
    )
    keys = frame["device_id"].to_list()
    if not json_fields:
        return keys, wire.write_ndjson().encode().splitlines()
    values = []
    for row in wire.iter_rows(named=True):
        for name in json_fields:
            row[name] = None if row[name] is None else json.loads(row[name])
        values.append(json.dumps(row, separators=(",", ":")).encode())
    return keys, values


def dead_letter(
    *,
    stage: str,
    version: str,
    topic: str,
    partition: int,
    offset: int,
    error_type: str,
    reason: str,
    value: bytes | None,
) -> bytes:
    """A dead letter's wire form: where it came from, why it failed, and its bytes in base64."""
    body = base64.b64encode(value).decode() if value is not None else None
    return json.dumps(
        {
            "stage": stage,
            "stage_version": version,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "error_type": error_type,
            "reason": reason,
            "value": body,
        },
        separators=(",", ":"),
    ).encode()
