"""kill -9 of the service and the broker at random moments, and clocks that jump: acknowledged is stored, each once.

`LOOM_TEST_FAULTS_SECONDS` makes it longer, `LOOM_TEST_FAULTS_SEED` repeats a run, and `make soak` takes minutes.
"""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import LANDED
from loom_models.landing import landing_stage
from loom_platform.blobs import open_blobs
from loom_platform.stream.api import StreamConfig, run_stream
from loom_platform.topics import create_topics
from tests.ingest.conftest import read_topic
from tests.ingest.faults.clients import TOPICS, Clients, Log
from tests.ingest.faults.service import Service
from tests.ingest.own_broker import OwnBroker

pytestmark = [pytest.mark.integration, pytest.mark.fault]

# Of the envelope, what each request gives anew.
OF_THE_REQUEST = {"trace_id", "span_id"}


class Chaos:
    """Kills at random moments of one seed, each in a thread of its own; `kills` counts them."""

    def __init__(self, service: Service, broker: OwnBroker, seed: int) -> None:
        self._service = service
        self._broker = broker
        self._seed = seed
        self._stop = threading.Event()
        self.kills: Counter[str] = Counter()
        self._failures: list[BaseException] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the context ends; then both run."""
        threads = [
            threading.Thread(target=self._guarded, args=(each,))
            for each in (self._services, self._brokers, self._clocks)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(120)
        assert self._failures == []

    def _guarded(self, kill_some: Any) -> None:
        try:
            kill_some()
        except BaseException as error:
            self._failures.append(error)

    def _services(self) -> None:
        rng = random.Random(self._seed)
        while not self._stop.wait(rng.uniform(0.5, 2.5)):
            self._service.kill()
            self.kills["service"] += 1
            time.sleep(rng.choice((0.0, 0.0, 0.5, 1.5)))
            self._service.start()
            # Mostly it comes far enough to take something; now and then it is killed while it starts.
            if rng.random() < 0.8:
                self._service.wait_until_it_answers(20)

    def _brokers(self) -> None:
        rng = random.Random(self._seed + 1)
        while not self._stop.wait(rng.uniform(0.5, 2.5)):
            self._broker.kill()
            self.kills["broker"] += 1
            time.sleep(rng.uniform(0.0, 2.0))
            self._broker.start()

    def _clocks(self) -> None:
        """The service's clock is hours off for a while, and is then set right."""
        rng = random.Random(self._seed + 2)
        while not self._stop.wait(rng.uniform(0.5, 2.5)):
            if self._service.set_clock(rng.choice((-1, 1)) * rng.randrange(60, 5 * 3600)):
                self.kills["clock"] += 1
            time.sleep(rng.uniform(1.5, 3.0))
            self._service.set_clock(0)


@pytest.mark.timeout(600)
def test_acknowledged_is_a_subset_of_stored_each_once(own_broker: OwnBroker, tmp_path: Path, database_url: str) -> None:
    _run(own_broker, tmp_path, database_url, float(os.environ.get("LOOM_TEST_FAULTS_SECONDS", "12")))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_for_minutes(own_broker: OwnBroker, tmp_path: Path, database_url: str) -> None:
    _run(own_broker, tmp_path, database_url, 300)


def _run(broker: OwnBroker, tmp_path: Path, database_url: str, seconds: float) -> None:
    seed = int(os.environ.get("LOOM_TEST_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    sys.stderr.write(f"\nLOOM_TEST_FAULTS_SEED={seed} LOOM_TEST_FAULTS_SECONDS={seconds:g}\n")
    broker.start()
    servers = broker.kafka.bootstrap_servers
    create_topics(servers, topics=LANDED)
    service = Service(
        servers, tmp_path, spool_dir=tmp_path / "spool", kafka_delivery_timeout_ms=2000, database_url=database_url
    )
    service.start()
    chaos = Chaos(service, broker, seed)
    try:
        service.wait_for_state("direct", 30)
        with Clients(service.url, seed) as clients:
            with chaos.going_on():
                time.sleep(seconds)
            service.wait_until_it_answers(30)
            clients.end()
        service.wait_for_state("direct", 60)
    finally:
        service.end()
    log = clients.log
    assert log.answers["201"] > 20
    assert log.answers["stream success"] > 20
    assert min(chaos.kills["service"], chaos.kills["broker"]) > 0

    missing = {topic.name: _missing_in_kafka(servers, topic, log) for topic in TOPICS}
    repeated = sum(count for _, count in missing.values())
    lost_in_kafka = sum(len(ids) for ids, _ in missing.values())

    config = StreamConfig(
        database_url,
        servers,
        idle_timeout=timedelta(seconds=2),
        blobs=open_blobs(str(tmp_path / "blobs"), database_url),
    )
    stages = [landing_stage(topic) for topic in TOPICS]
    summaries = run_stream(stages, config, on_report=lambda _: None, stop=threading.Event())
    stored = lost = duplicated = 0
    with psycopg.connect(database_url) as connection:
        for topic in TOPICS:
            query = f"SELECT message_id::text, timestamp FROM {topic.table.name}".encode()
            rows = connection.execute(query).fetchall()
            times = Counter(message_id for message_id, _ in rows)
            stored += len(times)
            duplicated += sum(count - 1 for count in times.values())
            lost += len(set(log.acknowledged[topic.name]) - set(times))
            assert set(times) <= set(log.sent[topic.name])
            for message_id, timestamp in rows:
                given = log.sent[topic.name][message_id].get("timestamp")
                assert given is None or timestamp == datetime.fromisoformat(given)
    counts = {
        "kills of the service": chaos.kills["service"],
        "of the broker": chaos.kills["broker"],
        "jumps of the clock": chaos.kills["clock"],
        "acknowledged": len(_ids(log)),
        "stored": stored,
        "lost": lost,
        "duplicated": duplicated,
        "copies in Kafka": repeated,
    }
    lines = (" | ".join(counts), " | ".join(["---:"] * len(counts)), " | ".join(map(str, counts.values())))
    sys.stderr.write("".join(f"| {line} |\n" for line in lines) + f"{dict(log.answers)}\n")
    assert sum(summary.dead_letters for summary in summaries) == 0
    assert lost_in_kafka == 0
    assert (lost, duplicated) == (0, 0)
    assert "Traceback" not in service.log.read_text()
    assert "spool_damaged" not in service.log.read_text()


def _ids(log: Log) -> set[str]:
    return {message_id for ids in log.acknowledged.values() for message_id in ids}


def _missing_in_kafka(servers: str, topic: Topic, log: Log) -> tuple[set[str], int]:
    """The acknowledged ids of `topic` that Kafka does not have, and how many records are another's copy.

    Asserts that all copies of an id have the same content, which is what its client sent.
    """
    sent = log.sent[topic.name]
    contents: dict[str, dict[str, Any]] = {}
    records = read_topic(servers, topic.name)
    for record in records:
        value = {k: v for k, v in json.loads(record.value).items() if k not in OF_THE_REQUEST}
        message_id = value["message_id"]
        assert contents.setdefault(message_id, value) == value
        assert record.key.decode() == value["device_id"] == sent[message_id]["device_id"]
        plain = {k: v for k, v in sent[message_id].items() if k != "timestamp"}
        assert {k: value[k] for k in plain} == plain
        if "timestamp" in sent[message_id]:
            given = datetime.fromisoformat(sent[message_id]["timestamp"])
            assert datetime.fromisoformat(value["timestamp"]) == given
    return set(log.acknowledged[topic.name]) - set(contents), len(records) - len(contents)
