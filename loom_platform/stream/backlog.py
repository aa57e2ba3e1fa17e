"""How far each stage is behind, and a wait for the first record: what the Kafka sensor and `loom lag` ask."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.stream import lease, offsets, topics
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect
from loom_platform.stream.errors import OffsetOutOfRangeError, TopicMissingError, TopicRecreatedError
from loom_platform.stream.pauses import paused
from loom_platform.stream.report import Lag
from loom_platform.stream.source import admin_client, broker_config
from loom_platform.stream.topics import TopicState

_STORED = "SELECT stage, topic, partition, topic_id, next_offset FROM stream_offsets WHERE stage = ANY(%s)"
_TIMERS = """
SELECT stage, stage_version, count(*) FILTER (WHERE due_at <= now()), min(due_at) FROM stream_timers
WHERE stage = ANY(%s) GROUP BY stage, stage_version
"""


def backlog(stages: Sequence[Stage], config: StreamConfig) -> dict[str, Lag]:
    """The Lag of each stage by name. Raises DependencyError when the broker or the database is away."""
    try:
        with connect(config.database_url, "loom backlog") as connection:
            states = _topic_states(stages, config)
            return _lags(connection, stages, states, config)
    except psycopg.OperationalError as error:
        raise DependencyError(f"database: {error}") from error


def wait_for_backlog(stages: Sequence[Stage], config: StreamConfig, timeout_seconds: float) -> list[str]:
    """Names of the stages that have work and no live run; waits up to `timeout_seconds` for the first, returns on it.

    It returns an empty list when nothing came. A stage that is halted (its topic was recreated or truncated) is
    left out: a run would only fail.
    """
    deadline = time.monotonic() + timeout_seconds
    by_name = {s.name: s for s in stages}
    while True:
        lags = backlog(stages, config)
        ready = [n for n, lag in lags.items() if lag.has_work and not lag.has_live_run]
        left = deadline - time.monotonic()
        if ready or left <= 0:
            return ready
        waiting = {n: lag for n, lag in lags.items() if lag.halted is None and not lag.has_live_run}
        if not waiting:
            # All are taken or halted: look again only at the next tick.
            return []
        timers = [lag.next_timer_at for lag in waiting.values() if lag.next_timer_at is not None]
        if timers:
            first = min(timers)
            left = min(left, max(0.0, (first - datetime.now(first.tzinfo)).total_seconds()))
        _first_record([by_name[n] for n in waiting], waiting, config, left)


def _first_record(stages: Sequence[Stage], lags: Mapping[str, Lag], config: StreamConfig, timeout: float) -> None:
    """Return when a record is there, or at the time-out."""
    consumer = Consumer(
        {
            **broker_config(config.bootstrap_servers),
            "group.id": "loom-sensor",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            # One small record is all that is wanted; what is behind it is the run's to fetch.
            "queued.min.messages": 1,
            "fetch.message.max.bytes": 1024,
            "fetch.wait.max.ms": 5_000,
        }
    )
    try:
        ends: dict[tuple[str, int], int] = {}
        for stage in stages:
            for partition, (_, high) in lags[stage.name].offsets.items():
                ends[stage.source.on_broker(config.topic_prefix), partition] = high
        consumer.assign([TopicPartition(t, p, o) for (t, p), o in ends.items()])
        consumer.poll(timeout)
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _topic_states(stages: Sequence[Stage], config: StreamConfig) -> dict[str, TopicState | str]:
    """Each source topic as it is on the broker, or why it can't be read."""
    names = sorted({s.source.on_broker(config.topic_prefix) for s in stages})
    states = topics.states(admin_client(config.bootstrap_servers), names)
    return {name: state or str(TopicMissingError(name)) for name, state in states.items()}


def _lags(
    connection: psycopg.Connection[Any],
    stages: Sequence[Stage],
    states: Mapping[str, TopicState | str],
    config: StreamConfig,
) -> dict[str, Lag]:
    names = [s.name for s in stages]
    stored: dict[tuple[str, str], dict[int, tuple[str, int]]] = {}
    for stage, topic, partition, topic_id, offset in connection.execute(_STORED, (names,)).fetchall():
        stored.setdefault((stage, topic), {})[partition] = (topic_id, offset)
    timers = {(s, v): (due, first) for s, v, due, first in connection.execute(_TIMERS, (names,)).fetchall()}
    live = {row[0] for row in connection.execute(lease.LIVE).fetchall()}
    pauses = paused(connection, names)
    lags: dict[str, Lag] = {}
    for stage in stages:
        topic = stage.source.on_broker(config.topic_prefix)
        due, first = timers.get((stage.name, stage.version), (0, None))
        state = states[topic]
        messages, positions, halted = 0, {}, pauses.get(stage.name)
        if isinstance(state, str):
            halted = state
        else:
            known = stored.get((stage.name, topic), {})
            for partition, (low, high) in state.ranges.items():
                topic_id, offset = known.get(partition, (state.topic_id, low))
                positions[partition] = (offset, high)
                messages += max(0, high - offset)
                if topic_id != state.topic_id:
                    halted = str(TopicRecreatedError(stage.name, topic, topic_id, state.topic_id))
                elif not low <= offset <= high:
                    halted = str(OffsetOutOfRangeError(stage.name, topic, partition, offset, low, high))
        lags[stage.name] = Lag(stage.name, messages, positions, stage.name in live, due, first, halted)
    return lags


def reset_offsets(stage: Stage, config: StreamConfig, to: str) -> dict[int, int]:
    """Set a stage's offsets to the `earliest` or `latest` records of its topic; returns them by partition."""
    topic = stage.source.on_broker(config.topic_prefix)
    state = topics.state(admin_client(config.bootstrap_servers), topic)
    positions = {p: (low if to == "earliest" else high) for p, (low, high) in state.ranges.items()}
    with connect(config.database_url, "loom reset") as connection:
        offsets.reset(connection, stage.name, topic, state, positions)
    return positions
