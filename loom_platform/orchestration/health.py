"""How each stage is doing: its lag, its dead letters, and when its source last spoke. No dagster here."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from loom_models.errors import DependencyError
from loom_models.stage import Stage
from loom_platform.stream.api import Lag, StreamConfig, backlog

WINDOW: Final = timedelta(hours=1)
"""Dead letters are counted among the records accepted in the last hour."""

OPENING: Final = timedelta(seconds=15)
"""An idle platform takes up to 8 s to open a stream run; so much and a little is added to every SLA."""

SILENT_AFTER: Final = timedelta(hours=6)
RETIRED_AFTER: Final = timedelta(days=14)
"""A source that was silent for so long has been put away; nobody wants to be told of it for ever."""

FEW: Final = 20
"""With fewer records than this in the hour, a rate says nothing: then dead letters are only told of."""

_ANSWER_SECONDS = 3.0
_DEAD = """
SELECT e.stage, count(*) FROM processing_errors e
JOIN unnest(%s::text[], %s::text[], %s::int[], %s::bigint[]) AS since (stage, topic, partition, "offset")
  ON e.stage = since.stage AND e.topic = since.topic AND e.partition = since.partition AND e."offset" >= since."offset"
WHERE e.resolved_at IS NULL
GROUP BY e.stage
"""


@dataclass(frozen=True, slots=True)
class StageHealth:
    """What was measured of one stage. `oldest_accepted_at` is of its first unread record, None when all are read."""

    stage: Stage
    lag: Lag
    oldest_accepted_at: datetime | None
    records_last_hour: int
    dead_letters_last_hour: int
    last_accepted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check. `severe` tells an error from a warning; `numbers` are plotted."""

    check: str
    passed: bool
    severe: bool
    description: str
    numbers: Mapping[str, float | int]


LAG, DEAD_LETTERS, FRESHNESS = "lag", "dead_letters", "freshness"


def checks_of(stage: Stage) -> tuple[str, ...]:
    """The checks that a stage's assets have: only what devices send can be silent."""
    return (LAG, DEAD_LETTERS, FRESHNESS) if stage.landing else (LAG, DEAD_LETTERS)


def verdicts(health: StageHealth, now: datetime) -> Iterator[Verdict]:
    """Each check of the stage, in the order of `checks_of`."""
    yield lag_verdict(health, now)
    yield dead_letter_verdict(health)
    if health.stage.landing:
        yield freshness_verdict(health, now)


def lag_seconds(health: StageHealth, now: datetime) -> float:
    """For how long the oldest unread record has been waiting."""
    if health.oldest_accepted_at is None:
        return 0.0
    return max(0.0, (now - health.oldest_accepted_at).total_seconds())


def lag_verdict(health: StageHealth, now: datetime) -> Verdict:
    """Whether the oldest unread record waits within the SLA."""
    lag, allowed = health.lag, health.stage.policy.sla + OPENING
    seconds = lag_seconds(health, now)
    numbers = {"lag_seconds": round(seconds, 1), "messages": lag.messages}
    if lag.halted is not None:
        return Verdict(LAG, False, True, lag.halted, numbers)
    if seconds <= allowed.total_seconds():
        return Verdict(LAG, True, False, f"{lag.messages} records unread, the oldest for {seconds:.0f} s", numbers)
    run = "a run is on it" if lag.has_live_run else "and no run is on it: see the sensor's ticks"
    text = f"{lag.messages} records unread, the oldest for {seconds:.0f} s of {allowed.total_seconds():.0f} s, {run}"
    return Verdict(LAG, False, not lag.has_live_run and seconds > 300, text, numbers)


def dead_letter_verdict(health: StageHealth) -> Verdict:
    """Whether the share of dead letters in the last hour is normal for the stage."""
    records, dead = health.records_last_hour, health.dead_letters_last_hour
    rate = dead / records if records else 0.0
    numbers = {"dead_letter_rate": round(rate, 5), "dead_letters": dead, "records": records}
    limit = health.stage.policy.error_threshold
    passed = rate <= limit or (records < FEW and dead < records)
    text = f"{dead} of {records} records of the last hour are dead letters; {limit:.1%} is normal"
    if not passed:
        text += f". Their reasons are in processing_errors: loom deadletters list --stage {health.stage.name}"
    return Verdict(DEAD_LETTERS, passed, rate > 0.5, text, numbers)


def freshness_verdict(health: StageHealth, now: datetime) -> Verdict:
    """Whether a device has sent something to the stage's topic in the last six hours."""
    last = health.last_accepted_at
    if last is None:
        return Verdict(FRESHNESS, True, False, "no device has sent any yet", {})
    silent = now - last
    numbers = {"silent_hours": round(silent / timedelta(hours=1), 2)}
    hours = numbers["silent_hours"]
    if silent <= SILENT_AFTER:
        return Verdict(FRESHNESS, True, False, f"last record {hours:.1f} h ago", numbers)
    if silent > RETIRED_AFTER:
        return Verdict(FRESHNESS, True, False, f"no device sends this any more, the last did on {last:%F}", numbers)
    return Verdict(FRESHNESS, False, False, f"silent for {hours:.1f} h: is the device on, and is it sending?", numbers)


def measure(
    stages: Sequence[Stage], config: StreamConfig, connection: psycopg.Connection[Any], now: datetime
) -> dict[str, StageHealth]:
    """The health of each stage by name; raises DependencyError when the broker is away."""
    lags = backlog(stages, config)
    topics = {s.name: s.source.on_broker(config.topic_prefix) for s in stages}
    partitions = {(topics[n], p) for n, lag in lags.items() for p in lag.offsets}
    try:
        since = _offsets_at(partitions, now - WINDOW, config)
        last = _last_accepted(partitions, config)
        oldest = _oldest_unread(lags, topics, config)
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error
    asked = [
        (n, topics[n], p, since.get((topics[n], p), o)) for n, g in lags.items() for p, (o, _) in g.offsets.items()
    ]
    dead = dict(connection.execute(_DEAD, tuple(map(list, zip(*asked, strict=True)))).fetchall()) if asked else {}
    return {
        s.name: StageHealth(
            stage=s,
            lag=lags[s.name],
            oldest_accepted_at=oldest.get(s.name),
            records_last_hour=sum(
                max(0, o - since.get((topics[s.name], p), o)) for p, (o, _) in lags[s.name].offsets.items()
            ),
            dead_letters_last_hour=dead.get(s.name, 0),
            last_accepted_at=last.get(topics[s.name]),
        )
        for s in stages
    }


def oldest_unread(lags: Mapping[str, Lag], stages: Sequence[Stage], config: StreamConfig) -> dict[str, datetime]:
    """When the first unread record of each stage that is behind was accepted; raises DependencyError."""
    try:
        return _oldest_unread(lags, {s.name: s.source.on_broker(config.topic_prefix) for s in stages}, config)
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error


def _consumer(config: StreamConfig) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": config.bootstrap_servers,
            "group.id": "loom-health",
            "enable.auto.commit": False,
            "log_level": 2,
            "queued.min.messages": 1,
            "fetch.message.max.bytes": 1024,
        }
    )


def _offsets_at(partitions: set[tuple[str, int]], moment: datetime, config: StreamConfig) -> dict[tuple[str, int], int]:
    """The first offset accepted after `moment`; a partition without any is left out."""
    if not partitions:
        return {}
    consumer = _consumer(config)
    try:
        asked = [TopicPartition(t, p, int(moment.timestamp() * 1000)) for t, p in sorted(partitions)]
        found = consumer.offsets_for_times(asked, timeout=10.0)
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}
    finally:
        consumer.close()


def _last_accepted(partitions: set[tuple[str, int]], config: StreamConfig) -> dict[str, datetime]:
    """When the last record of each topic was accepted; an empty topic is left out."""
    if not partitions:
        return {}
    admin = AdminClient({"bootstrap.servers": config.bootstrap_servers, "log_level": 2})
    latest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(t, p): latest for t, p in partitions}
    last: dict[str, datetime] = {}
    for partition, future in admin.list_offsets(asked, request_timeout=10.0).items():
        milliseconds = future.result(timeout=15.0).timestamp
        if milliseconds is not None and milliseconds >= 0:
            accepted = datetime.fromtimestamp(milliseconds / 1000, UTC)
            last[partition.topic] = max(accepted, last.get(partition.topic, accepted))
    return last


def _oldest_unread(lags: Mapping[str, Lag], topics: Mapping[str, str], config: StreamConfig) -> dict[str, datetime]:
    """Reads the one record at the stored offset of each partition that is behind."""
    wanted: dict[tuple[str, int], int] = {}
    for name, lag in lags.items():
        if lag.halted is None:
            for partition, (offset, end) in lag.offsets.items():
                if offset < end:
                    key = topics[name], partition
                    wanted[key] = min(offset, wanted.get(key, offset))
    if not wanted:
        return {}
    found: dict[tuple[str, int], datetime] = {}
    consumer = _consumer(config)
    try:
        consumer.assign([TopicPartition(t, p, o) for (t, p), o in wanted.items()])
        deadline = time.monotonic() + _ANSWER_SECONDS
        while len(found) < len(wanted) and (left := deadline - time.monotonic()) > 0:
            message = consumer.poll(left)
            if message is None or message.error() is not None:
                continue
            key = str(message.topic()), int(message.partition() or 0)
            if key not in found:
                found[key] = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
                consumer.incremental_unassign([TopicPartition(*key)])
    finally:
        consumer.close()
    oldest: dict[str, datetime] = {}
    for name, lag in lags.items():
        ages = [found[topics[name], p] for p, (o, end) in lag.offsets.items() if o < end and (topics[name], p) in found]
        if ages:
            oldest[name] = min(ages)
    return oldest
