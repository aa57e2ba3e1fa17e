"""The topics of the contract, created on a broker with their retention, compression and segments."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from loom_contracts.topic import Topic
from loom_contracts.topics.processing import PROCESSING_ERRORS, errors_of
from loom_contracts.topics.registry import TOPICS
from loom_platform.errors import ServiceError

MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024
MAX_BODY_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Bounds of one record, without and with a base64 body; producers and consumers need the same."""

_SEGMENTS: Final = 168
"""A segment spans 1/168 of the retention, an hour for the seven days of audio, so that data goes when it is due."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What one topic should be on the broker."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that the broker's topic has otherwise than the contract wants it."""

    topic: str
    setting: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What `create_topics` did and found."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[Difference, ...]


def topics_with_errors(stages: Iterable[str], topics: Sequence[Topic] = TOPICS) -> tuple[Topic, ...]:
    """`topics`, with one topic of dead letters for each stage in place of their pattern."""
    return (*(t for t in topics if t is not PROCESSING_ERRORS), *(errors_of(s) for s in stages))


CONTRACT: Final = timedelta(0)
"""Stands for the retention of the contract."""


def spec_of(
    topic: Topic, *, prefix: str, partitions: int, replication_factor: int, retention: timedelta | None = CONTRACT
) -> TopicSpec:
    """What `topic` should be on a broker; `partitions` is for topics that name no number of their own.

    `retention` is what the person wants in place of the contract's; None is for ever.
    """
    kept = topic.retention if retention == CONTRACT else retention
    config = {
        "cleanup.policy": "delete",
        "retention.ms": "-1" if kept is None else _ms(kept),
        "segment.ms": _ms((kept or topic.retention) / _SEGMENTS),
        "compression.type": topic.compression,
        "max.message.bytes": str(MAX_BODY_MESSAGE_BYTES if topic.table.body else MAX_MESSAGE_BYTES),
    }
    if replication_factor >= 3:
        config["min.insync.replicas"] = "2"
    return TopicSpec(topic.on_broker(prefix), topic.partitions or partitions, replication_factor, config)


def create_topics(
    bootstrap_servers: str,
    *,
    prefix: str = "",
    partitions: int = 3,
    replication_factor: int = 1,
    stages: Iterable[str] = (),
    topics: Sequence[Topic] = TOPICS,
    timeout_s: float = 30.0,
) -> TopicsReport:
    """Create the topics that are missing, and those of the dead letters of `stages`; returns when they have leaders.

    Topics that exist are left as they are; where they differ from the contract, the report says so. Raises
    ServiceError when the broker is away or refuses.
    """
    specs = [
        spec_of(t, prefix=prefix, partitions=partitions, replication_factor=replication_factor)
        for t in topics_with_errors(stages, topics)
    ]
    admin = _admin(bootstrap_servers)
    there = _partition_counts(admin, bootstrap_servers, timeout_s)
    missing = [s for s in specs if s.name not in there]
    existing = [s for s in specs if s.name in there]
    created = _create(admin, missing, timeout_s)
    _wait_for_leaders(admin, bootstrap_servers, [s.name for s in missing], timeout_s)
    return TopicsReport(
        created=tuple(created),
        existing=tuple(s.name for s in specs if s.name not in set(created)),
        differences=tuple(_differences(admin, existing, there, timeout_s)),
    )


def broker_topics(bootstrap_servers: str, timeout_s: float = 10.0) -> dict[str, int]:
    """Names on the broker and their partition counts; raises ServiceError when it is away."""
    return _partition_counts(_admin(bootstrap_servers), bootstrap_servers, timeout_s)


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap_servers, "socket.timeout.ms": 10_000, "log_level": 2})


def _partition_counts(admin: AdminClient, bootstrap_servers: str, timeout_s: float) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise ServiceError(
            f"no Kafka broker at {bootstrap_servers} answered within {timeout_s:g} s ({_text(error)}): "
            "start it with `loom up`, or correct LOOM_KAFKA_BOOTSTRAP_SERVERS"
        ) from error
    return {n: len(t.partitions) for n, t in metadata.topics.items() if t.error is None and _led(t)}


def _led(metadata: Any) -> bool:
    return bool(metadata.partitions) and all(p.leader >= 0 for p in metadata.partitions.values())


def _create(admin: AdminClient, specs: Sequence[TopicSpec], timeout_s: float) -> list[str]:
    """Names of those created; a topic that another process created meanwhile is not among them."""
    if not specs:
        return []
    new = [NewTopic(s.name, s.partitions, s.replication_factor, config=dict(s.config)) for s in specs]
    created = []
    for name, future in admin.create_topics(new, operation_timeout=timeout_s, request_timeout=timeout_s).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            raise ServiceError(f"the broker refused topic {name}: {_text(error)}{_remedy(error)}") from error
        created.append(name)
    return created


def _remedy(error: KafkaException) -> str:
    code = error.args[0].code()
    if code == KafkaError.INVALID_REPLICATION_FACTOR:
        return "; set LOOM_KAFKA_DEFAULT_REPLICATION_FACTOR to no more than the number of brokers"
    if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return "; grant this client CREATE on the cluster, or create the topic by hand"
    return ""


def _wait_for_leaders(admin: AdminClient, bootstrap_servers: str, names: Sequence[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    missing = set(names)
    while missing:
        missing -= _partition_counts(admin, bootstrap_servers, timeout_s).keys()
        if missing and time.monotonic() > deadline:
            raise ServiceError(f"topics without a leader after {timeout_s:g} s: {', '.join(sorted(missing))}")
        if missing:
            time.sleep(0.1)


def _differences(
    admin: AdminClient, specs: Sequence[TopicSpec], counts: Mapping[str, int], timeout_s: float
) -> Iterable[Difference]:
    """How existing topics differ; a topic with more partitions than wanted is as good."""
    if not specs:
        return
    resources = {s.name: ConfigResource(ConfigResource.Type.TOPIC, s.name) for s in specs}
    answers = {
        r.name: f for r, f in admin.describe_configs(list(resources.values()), request_timeout=timeout_s).items()
    }
    for spec in specs:
        if counts[spec.name] < spec.partitions:
            yield Difference(spec.name, "partitions", str(spec.partitions), str(counts[spec.name]))
        try:
            actual = answers[spec.name].result()
        except KafkaException as error:
            raise ServiceError(f"the broker does not describe topic {spec.name}: {_text(error)}") from error
        for setting, expected in spec.config.items():
            value = actual[setting].value if setting in actual else "unset"
            if value != expected:
                yield Difference(spec.name, setting, expected, str(value))


def _ms(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))


def _text(error: KafkaException) -> str:
    return str(error.args[0].str()) if error.args else str(error)
