"""What benchmarks have in common: private servers, records to send, and results that know their target."""

import json
import math
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__
from psycopg import sql

from loom_contracts.topic import Topic
from loom_platform.embedded.kafka import Kafka
from loom_platform.embedded.postgres import Postgres
from loom_platform.embedded.process import free_port, running
from loom_platform.migrate import migrate
from loom_platform.settings import load_settings


@dataclass(frozen=True)
class Result:
    """One measured number. `target` None means that it is shown for comparison only."""

    name: str
    value: float
    unit: str
    target: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the promise is kept; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.sense == "at least" else self.value <= self.target


@dataclass(frozen=True)
class Servers:
    """A private broker and database server, with PostgreSQL's durability on as a person would run it."""

    bootstrap_servers: str
    postgres: Postgres

    @contextmanager
    def database(self) -> Iterator[str]:
        """URL of a new migrated database."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        admin = self.postgres.url("postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(self.postgres.url(name))
        yield self.postgres.url(name)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def topic(self, topic: Topic | str, prefix: str, partitions: int = 1) -> str:
        """Make a topic; its name on the broker."""
        name = topic.on_broker(prefix) if isinstance(topic, Topic) else f"{prefix}.{topic}"
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(timeout=20)
        return name

    def fill(self, name: str, values: Iterator[bytes], key: str) -> int:
        """Produce `values`; how many there were."""
        return produce(self.bootstrap_servers, name, values, key)


def produce(bootstrap_servers: str, name: str, values: Iterator[bytes], key: str) -> int:
    """Produce `values` to the topic `name`; how many there were. Raises RuntimeError when not all were acknowledged."""
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 20, "compression.type": "lz4"}
    )
    count = 0
    for value in values:
        while True:
            try:
                producer.produce(name, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    if producer.flush(60):
        raise RuntimeError(f"{name}: not every record was acknowledged")
    return count


@contextmanager
def servers() -> Iterator[Servers]:
    """Start a private broker and database server, and stop them."""
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        broker = Kafka(directory / "kafka", free_port(), free_port(), load_settings().cache_dir)
        broker.prepare()
        database = Postgres(directory / "postgres", free_port(), durable=True)
        database.prepare()
        with (
            running(database.launch, directory / "postgres.log", lambda alive: database.wait_ready(60, alive)),
            running(broker.launch, directory / "kafka.log", lambda alive: broker.wait_ready(90, alive)),
        ):
            yield Servers(broker.bootstrap_servers, database)


def accelerometer(count: int, device: str = "phone-001", hertz: float = 50.0) -> Iterator[bytes]:
    """`count` samples of one device at `hertz`, ending now: the wire form that the ingest service writes."""
    start = datetime.now(UTC) - timedelta(seconds=count / hertz)
    for n in range(count):
        moment = (start + timedelta(seconds=n / hertz)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        x, y = math.sin(n / 7), math.cos(n / 11)
        yield (
            f'{{"schema_version":"1.0","message_id":"{uuid.uuid4()}","device_id":"{device}","timestamp":"{moment}",'
            f'"trace_id":"{uuid.uuid4().hex}","span_id":"{uuid.uuid4().hex[:16]}","x":{x:.6f},"y":{y:.6f},"z":9.81}}'
        ).encode()


@contextmanager
def timed() -> Iterator[list[float]]:
    """A list that holds the seconds when the block is done."""
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


def save(results: list[Result], path: Path) -> None:
    """Write the results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = [{**r.__dict__, "reached": r.reached} for r in results]
    path.write_text(json.dumps({"at": datetime.now(UTC).isoformat(), "results": body}, indent=2) + "\n")
