"""A platform with two devices in it, as an erasure meets it: everything came through Kafka and the engine."""

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from psycopg import sql

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED, AUDIO_RAW, GPS_RAW, HEARTRATE_RAW
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_models.flows import STAGES
from loom_models.stage import Stage
from loom_platform.blobs import open_blobs
from loom_platform.erasure import run
from loom_platform.erasure.scope import Scope
from loom_platform.rollups import refresh
from loom_platform.settings import Settings, load_settings
from loom_platform.stream.api import StreamConfig, backlog, run_stream

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
MINE, OTHER = "erase-me", "bystander"
TABLES = tuple(t.table.name for t in (*LANDED, *DERIVED))
HOME = (52.5, 13.4)
SOURCES = (GPS_RAW, ACCELEROMETER_RAW, HEARTRATE_RAW, AUDIO_RAW)
RUNNING: tuple[Stage, ...] = tuple(
    s
    for s in STAGES
    if s.source in (*SOURCES, ACCELEROMETER_WINDOWED)
    and (s.landing or s.source in (GPS_RAW, ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED))
)
Rows = dict[str, list[tuple[Any, ...]]]


def at(seconds: float) -> datetime:
    """So long after yesterday noon, UTC."""
    return NOON + timedelta(seconds=seconds)


def message(topic: Topic, device: str, seconds: float, **fields: Any) -> Message:
    """A message of `topic` with the fields that it needs."""
    bodies: dict[str, dict[str, Any]] = {
        GPS_RAW.name: {"latitude": HOME[0], "longitude": HOME[1]},
        ACCELEROMETER_RAW.name: {"x": seconds % 7, "y": 0.0, "z": 9.8},
        HEARTRATE_RAW.name: {"bpm": 60},
        AUDIO_RAW.name: {
            "chunk_data": base64.b64encode(f"{device} {seconds}".encode()).decode(),
            "format": "wav", "sample_rate": 16_000, "channels": 1, "duration_ms": 100,
        },
    }  # fmt: skip
    given: dict[str, Any] = {"message_id": str(uuid4()), "device_id": device, "timestamp": at(seconds).isoformat()}
    return topic.payload.model_validate(given | bodies[topic.name] | fields)


@dataclass
class Home:
    """One test's own database, topics, object store and data directory."""

    settings: Settings
    config: StreamConfig
    producer: Producer
    admin: AdminClient

    def prepare(self) -> None:
        """Topics, and a saved place."""
        names = {t.on_broker(self.config.topic_prefix) for s in RUNNING for t in (s.source, *s.sinks)}
        names |= {f"{self.config.topic_prefix}.{s.error_topic}" for s in RUNNING}
        for future in self.admin.create_topics([NewTopic(n, 1, 1) for n in sorted(names)]).values():
            future.result(timeout=20)
        self.execute(
            "INSERT INTO georegions (name, kind, shape, latitude, longitude, radius_m) "
            f"VALUES ('Home', 'home', 'circle', {HOME[0]}, {HOME[1]}, 80)"
        )

    def send(self, topic: Topic, *messages: Message | bytes, key: str | None = None) -> None:
        """Onto the topic, as the ingest service does."""
        for each in messages:
            body = each.model_dump_json().encode() if isinstance(each, Message) else each
            owner = each.device_id if isinstance(each, Message) else key
            self.producer.produce(topic.on_broker(self.config.topic_prefix), body, owner)
        assert self.producer.flush(20) == 0

    def live(self, *devices: str) -> None:
        """A little of everything of each device: two windows, two chunks, a place, a dead letter."""
        for device in devices:
            self.send(GPS_RAW, *(message(GPS_RAW, device, n * 60) for n in range(5)))
            self.send(ACCELEROMETER_RAW, *(message(ACCELEROMETER_RAW, device, n) for n in range(15)))
            self.send(HEARTRATE_RAW, *(message(HEARTRATE_RAW, device, n * 30, bpm=60 + n) for n in range(5)))
            self.send(AUDIO_RAW, *(message(AUDIO_RAW, device, n) for n in range(2)))
            bad = message(HEARTRATE_RAW, device, 5).model_dump_json().replace('"bpm":60', '"bpm":"many"')
            self.send(HEARTRATE_RAW, bad.encode(), key=device)
            self.execute(
                "INSERT INTO device_activity VALUES (%s, 'device.sensor.gps.raw', now() - interval '1 day', now(), 5)",
                device,
            )
            self.execute("INSERT INTO devices (device_id, name, registered_at) VALUES (%s, 'x', now())", device)

    def drain(self, stages: Sequence[Stage] = RUNNING) -> None:
        """Let the stages do all that there is, then bring the roll-ups up to date."""
        stop = threading.Event()
        config = replace(self.config, idle_timeout=timedelta(minutes=2), run_id=f"test-{uuid4()}")
        landing = [s for s in STAGES if s.landing]
        failed: list[BaseException] = []

        def work() -> None:
            try:
                run_stream(stages, config, on_report=lambda _: None, stop=stop, landing_stages=landing)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        deadline = time.monotonic() + 60
        while not failed and any(lag.messages for lag in backlog(stages, self.config).values()):
            assert time.monotonic() < deadline, "the stages did not come to the end"
            time.sleep(0.05)
        stop.set()
        thread.join(30)
        assert failed == []
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            refresh(connection)

    def erase(self, scope: Scope, **changes: Any) -> run.Erased:
        """Erase, at once."""
        with run.connect(self.settings.database_url) as connection:
            return run.erase(connection, scope, self.place(**changes), "test")

    def place(self, **changes: Any) -> run.Place:
        """What an erasure works on here."""
        assert self.config.blobs is not None
        return run.Place(self.settings, self.config, self.config.blobs, **{"settle": timedelta(0), **changes})

    def close(self) -> None:
        """Give the object store's connection back."""
        assert self.config.blobs is not None
        self.config.blobs.close()

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def of(self, device: str) -> Rows:
        """Every row that names the device, by table, in any table that has a column for it."""
        found: Rows = {}
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
                "WHERE a.attname = 'device_id' AND c.relnamespace = 'public'::regnamespace "
                "AND c.relkind IN ('r', 'p', 'v') "
                "AND NOT c.relispartition ORDER BY 1"
            ).fetchall()
            for (name,) in tables:
                query = sql.SQL("SELECT * FROM {} AS t WHERE device_id = %s ORDER BY t::text").format(
                    sql.Identifier(name)
                )
                if rows := connection.execute(query, (device,)).fetchall():
                    found[name] = rows
        return found

    def bodies(self, device: str) -> list[Path]:
        """Files of the object store that are the device's."""
        return [p for p in Path(self.settings.blobs).rglob("*") if p.is_file() and f"/{device}/" in str(p)]

    def spawn(self, scope: dict[str, Any], point: str, passes: int = 0) -> int:
        """An erasure in a process of its own that kills itself at `point`; its exit status."""
        order = {
            "settings": {
                "database_url": self.settings.database_url, "data_dir": str(self.settings.data_dir),
                "kafka_bootstrap_servers": self.config.bootstrap_servers,
                "kafka_topic_prefix": self.config.topic_prefix, "blob_url": self.settings.blobs,
            },
            "scope": scope, "point": point, "passes": passes,
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.erasure.process", json.dumps(order)]
        return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False).returncode


def make_home(
    database_url: str, bootstrap_servers: str, prefix: str, folder: Path, stream_url: str | None = None
) -> Home:
    """A platform without anything in it."""
    settings = load_settings(
        database_url=database_url,
        data_dir=folder / "data",
        blob_url=str(folder / "blobs"),
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_topic_prefix=prefix,
    )
    url = stream_url or database_url
    common: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
    return Home(
        settings,
        StreamConfig(url, bootstrap_servers, prefix, blobs=open_blobs(settings, url)),
        Producer({**common, "acks": "all", "partitioner": "murmur2_random"}),
        AdminClient(common),
    )
