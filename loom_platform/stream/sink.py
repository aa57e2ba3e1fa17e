"""Derived messages and dead letters onto Kafka: acknowledged by all replicas before the database commits."""

import base64
import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import polars as pl
from confluent_kafka import KafkaError, KafkaException, Producer

from loom_contracts.message import SCHEMA_VERSION, utc_now
from loom_contracts.payloads.processing import UNKNOWN_DEVICE
from loom_contracts.table import ColumnType, Table
from loom_contracts.topic import Topic
from loom_models.errors import DependencyError
from loom_platform.stream.errors import ProduceError, TooLargeError
from loom_platform.stream.source import broker_config

_FLUSH_SECONDS = 30.0
_LARGEST_MESSAGE = 16 * 1024 * 1024
_LARGEST_LETTER = 700_000
"""In base64 and JSON this is below 1 MB, which every broker takes by default."""

_LETTERS = uuid5(NAMESPACE_URL, "https://github.com/loomv2/loomv2#dead-letter")
_DEVICE = re.compile(r"[A-Za-z0-9_-]{3,64}")


class Sink:
    """An idempotent producer. `send` only queues; `flush` returns when every message is acknowledged, or raises."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self._prefix = prefix
        self._failed: list[tuple[str, KafkaError, int]] = []
        self._bootstrap_servers = bootstrap_servers

    @cached_property
    def _producer(self) -> Producer:
        """Made with the first message: a landing stage without dead letters needs none."""
        return Producer(
            {
                **broker_config(self._bootstrap_servers),
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 1,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "message.timeout.ms": 20_000,
                "message.max.bytes": _LARGEST_MESSAGE,
                "queue.buffering.max.kbytes": 65_536,
            }
        )

    def send(self, topic: Topic | str, keys: Sequence[str | None], values: Sequence[bytes]) -> None:
        """Queue messages for `topic`; waits where the queue is full. Raises TooLargeError for one of no use."""
        name = topic.on_broker(self._prefix) if isinstance(topic, Topic) else self._on_broker(topic)
        for key, value in zip(keys, values, strict=True):
            while True:
                try:
                    self._producer.produce(name, value, key, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException as error:
                    if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                        raise TooLargeError(name, len(value)) from error
                    raise DependencyError(f"broker: {error.args[0].str()}") from error

    def flush(self) -> None:
        """Wait for every acknowledgement; raises ProduceError when one is missing, and forgets the rest.

        Raises TooLargeError when the broker takes no message of such a size.
        """
        left = self._producer.flush(_FLUSH_SECONDS)
        failed, self._failed = self._failed, []
        if left:
            self._producer.purge()
            self._producer.flush(1.0)
            self._failed = []
        for name, error, size in failed:
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise TooLargeError(name, size)
        if left or failed:
            why = f"{failed[0][0]}: {failed[0][1].str()}" if failed else "time-out"
            raise ProduceError(f"{left + len(failed)} messages not acknowledged: {why}")

    def close(self) -> None:
        """Drop what is still queued."""
        if "_producer" not in self.__dict__:
            return
        self._producer.purge()
        self._producer.flush(1.0)

    def _on_broker(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append((message.topic(), error, len(message.value() or b"")))


def encode(frame: pl.DataFrame, topic: Topic) -> tuple[list[str], list[bytes]]:
    """Keys and values of a frame's rows in the wire form: one flat JSON object each, times as ISO 8601 in UTC."""
    if frame.is_empty():
        return [], []
    fields, json_fields = _wire(topic, tuple(frame.columns))
    wire = frame.select(fields)
    keys = frame["device_id"].to_list()
    if not json_fields:
        return keys, wire.write_ndjson().encode().splitlines()
    values = []
    for row in wire.iter_rows(named=True):
        for name in json_fields:
            row[name] = None if row[name] is None else json.loads(row[name])
        values.append(json.dumps(row, separators=(",", ":")).encode())
    return keys, values


@lru_cache(maxsize=256)
def _wire(topic: Topic, columns: tuple[str, ...]) -> tuple[list[pl.Expr], list[str]]:
    """The fields of a message of `topic` from a frame with `columns`, and those of them that are JSON."""
    table: Table = topic.table
    names = [n for n in topic.payload.model_fields if n in columns]
    fields = [
        pl.col(n).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") if table.column(n).type is ColumnType.TIMESTAMP else pl.col(n)
        for n in names
    ]
    return fields, [n for n in names if table.column(n).type is ColumnType.JSON]


def dead_letter(
    *,
    stage: str,
    version: str,
    topic: str,
    partition: int,
    offset: int,
    topic_id: str,
    key: str | None,
    error_type: str,
    reason: str,
    value: bytes | None,
) -> bytes:
    """A dead letter's wire form: where it came from, why it failed, and its bytes in base64.

    Its identity is that of the record's place, so a repeated one can be told. Bytes that most brokers would not take
    are left out; processing_errors has them.
    """
    body = base64.b64encode(value).decode() if value else None
    if value and len(value) > _LARGEST_LETTER:
        body = None
        reason = f"{reason} (its {len(value)} bytes are kept in processing_errors)"
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "message_id": str(uuid5(_LETTERS, f"{stage}\n{topic}\n{topic_id}\n{partition}\n{offset}")),
            "device_id": key if key and _DEVICE.fullmatch(key) else UNKNOWN_DEVICE,
            "timestamp": utc_now().isoformat(),
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
