"""What the broker has of a topic: its identity and the ends of its partitions, for many topics in three requests."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # it is not in the __all__ of its package

from loom_models.errors import DependencyError
from loom_platform.stream.errors import TopicMissingError

_TIMEOUT = 10.0
_LEADER_UNSETTLED = (
    *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE),
    *(KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH),
)
_LEADER_RETRY_SECONDS = 0.05
_T = TypeVar("_T")
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library leaves it untyped
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic on the broker: Kafka's identity of it, and for each partition the first offset and the next one."""

    topic_id: str
    ranges: Mapping[int, tuple[int, int]]


def identity(admin: AdminClient, topic: str) -> tuple[str, int]:
    """Kafka's present identity of `topic` and how many partitions it has.

    Raises TopicMissingError, or DependencyError when the broker is away.
    """
    description = _describe(admin, [topic])[topic]
    if description is None:
        raise TopicMissingError(topic)
    return description


def state(admin: AdminClient, topic: str) -> TopicState:
    """`topic` as it is; raises TopicMissingError, or DependencyError when the broker is away."""
    found = states(admin, [topic])[topic]
    if found is None:
        raise TopicMissingError(topic)
    return found


def states(admin: AdminClient, topics: Sequence[str]) -> dict[str, TopicState | None]:
    """Each of `topics` as it is, None for one that the broker does not have; raises DependencyError."""
    described = _describe(admin, topics)
    partitions = [TopicPartition(t, p) for t, d in described.items() if d is not None for p in range(d[1])]
    low, high = _offsets(admin, partitions, _EARLIEST), _offsets(admin, partitions, _LATEST)
    return {
        topic: None
        if description is None
        else TopicState(description[0], {p: (low[topic, p], high[topic, p]) for p in range(description[1])})
        for topic, description in described.items()
    }


def _describe(admin: AdminClient, topics: Sequence[str]) -> dict[str, tuple[str, int] | None]:
    found: dict[str, tuple[str, int] | None] = {}
    futures = _asked(lambda: admin.describe_topics(TopicCollection(list(topics)), request_timeout=_TIMEOUT))
    for topic, future in futures.items():
        try:
            description = _answer(future)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise DependencyError(f"broker: {error.args[0].str()}") from error
            found[topic] = None
        else:
            found[topic] = str(description.topic_id), len(description.partitions)
    return found


def _offsets(admin: AdminClient, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    if not partitions:
        return {}
    deadline = time.monotonic() + _TIMEOUT
    while True:
        futures = _asked(lambda: admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=_TIMEOUT))
        try:
            return {(tp.topic, tp.partition): _answer(future).offset for tp, future in futures.items()}
        except KafkaException as error:
            # A topic that was just made has its leaders a moment later, and so has a broker that was started again.
            if error.args[0].code() not in _LEADER_UNSETTLED or time.monotonic() > deadline:
                raise DependencyError(f"broker: {error.args[0].str()}") from error
            time.sleep(_LEADER_RETRY_SECONDS)


def _asked(ask: Callable[[], Mapping[Any, "Future[_T]"]]) -> Mapping[Any, "Future[_T]"]:
    try:
        return ask()
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error


def _answer(future: "Future[_T]") -> _T:
    try:
        return future.result(timeout=_TIMEOUT)
    except TimeoutError as error:
        raise DependencyError("broker: no answer") from error
