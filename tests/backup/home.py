"""A platform of a test's own, as far as a backup sees it, and what a person's phone does with it."""

import base64
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from loom_contracts.message import Message
from loom_contracts.payloads.audio import AudioChunk
from loom_contracts.payloads.sensor import GpsFix
from loom_contracts.topic import Topic
from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW
from loom_ingest.producer import Record
from loom_ingest.spool.disk import Disk
from loom_ingest.spool.log import SpoolLog
from loom_models.flows import STAGES
from loom_models.stage import Stage
from loom_platform.backup.make import make
from loom_platform.backup.manifest import Manifest
from loom_platform.backup.restore import Restored, restore
from loom_platform.blobs import open_blobs
from loom_platform.settings import Settings
from loom_platform.stream.api import StreamConfig, backlog, run_stream
from loom_platform.topics import create_topics

BY_NAME = {stage.name: stage for stage in STAGES}
LAND_GPS = BY_NAME["landing-device-sensor-gps-raw"]
REGIONS = BY_NAME["georegion-detector"]
LAND_AUDIO = BY_NAME["landing-device-audio-raw"]
OF_GPS = tuple(stage for stage in STAGES if stage.source is GPS_RAW)
USED = (*OF_GPS, LAND_AUDIO)
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
POISON = b'{"device_id": "phone-001", "latitude": "north"}'


@dataclass
class Home:
    """`settings` name its servers. `sent` are the identities of everything that was accepted, by table."""

    settings: Settings
    sent: dict[str, list[UUID]] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        common: dict[str, str | int | float | bool] = {"bootstrap.servers": self.settings.kafka_bootstrap_servers}
        self.admin = AdminClient({**common, "log_level": 0})
        self.producer = Producer({**common, "log_level": 0, "acks": "all", "partitioner": "murmur2_random"})

    def create(self) -> None:
        """Its topics."""
        create_topics(
            self.settings.kafka_bootstrap_servers,
            prefix=self.settings.kafka_topic_prefix,
            partitions=2,
            topics=(AUDIO_RAW, *(sink for stage in OF_GPS for sink in stage.sinks)),
            stages=[s.name for s in USED],
        )

    def fixes(self, number: int) -> list[GpsFix]:
        """As many fixes as said, of two phones."""
        made = []
        for _ in range(number):
            self.count += 1
            moment = NOW + timedelta(seconds=self.count)
            place = 47.0 + self.count / 1e4
            made.append(GpsFix(device_id=f"phone-00{self.count % 2}", timestamp=moment, latitude=place, longitude=8.0))
        return made

    def chunks(self, number: int) -> list[AudioChunk]:
        """As many chunks of audio, no two the same."""
        made = []
        for _ in range(number):
            self.count += 1
            moment = NOW + timedelta(seconds=self.count)
            sound = base64.b64encode(f"sound {self.count}".encode()).decode()
            own = {"timestamp": moment, "message_id": UUID(int=self.count), "device_id": f"phone-00{self.count % 2}"}
            made.append(AudioChunk.model_validate(AUDIO_RAW.example | own | {"chunk_data": sound}))
        return made

    def send(self, topic: Topic, messages: Sequence[Message]) -> None:
        """Accept them, by way of Kafka."""
        for message in messages:
            self.producer.produce(self._name(topic), message.model_dump_json().encode(), message.device_id)
        assert self.producer.flush(30) == 0
        self._remember(topic, messages)

    def poison(self, partition: int) -> None:
        """A record that no stage can read."""
        self.producer.produce(self._name(GPS_RAW), POISON, "phone-001", partition)
        assert self.producer.flush(30) == 0

    def spool(self, topic: Topic, messages: Sequence[Message], drained: Sequence[Message] = ()) -> None:
        """Accept them while Kafka is away; of `drained`, which come first, the spool knows that Kafka has them."""
        log = SpoolLog(self.settings.spool / "0", 1024 * 1024, Disk())
        log.append([(int(time.time() * 1000), self._record(topic, m)) for m in (*drained, *messages)])
        if drained:
            read = log.read(len(drained), 1024 * 1024)
            log.acknowledge(read[-1].seq)
        log.close()
        self._remember(topic, messages)

    def run(self, *stages: Stage) -> None:
        """Run stages until they have nothing to do."""
        bodies = open_blobs(self.settings, self.settings.stream_url)
        config = StreamConfig(
            self.settings.stream_url,
            self.settings.kafka_bootstrap_servers,
            self.settings.kafka_topic_prefix,
            idle_timeout=timedelta(seconds=60),
            blobs=bodies,
        )
        landing, stop = [LAND_GPS, LAND_AUDIO], threading.Event()
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(run_stream, stages, config, on_report=lambda _: None, stop=stop, landing_stages=landing)
            while not run.done() and any(lag.messages for lag in backlog(stages, config).values()):
                time.sleep(0.1)
            stop.set()
            run.result()
        bodies.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def backup(self, target: Path, **changes: Any) -> Manifest:
        return make(self.settings, target, **changes)

    def restore(self, source: Path, **changes: Any) -> Restored:
        restored = restore(self.settings, source, **changes)
        self.create()  # as `loom up` does
        return restored

    def delete_topics(self) -> None:
        prefix = f"{self.settings.kafka_topic_prefix}."
        mine = [t for t in self.admin.list_topics(timeout=20).topics if t.startswith(prefix)]
        for future in self.admin.delete_topics(mine).values() if mine else ():
            future.result(timeout=20)

    def destroy_bodies(self) -> None:
        shutil.rmtree(self.settings.blobs, ignore_errors=True)
        shutil.rmtree(self.settings.spool, ignore_errors=True)

    def check(self) -> None:
        """Everything that was accepted is stored, each once; every fix is answered once; every body can be read."""
        for table, ids in self.sent.items():
            stored = [row[0] for row in self.rows(f"SELECT message_id FROM {table}")]
            assert sorted(stored) == sorted(ids), f"{table}: {len(ids)} accepted, {len(stored)} stored"
        answered = "SELECT source_message_id FROM location_georegion_detected_current"
        ids = self.sent.get("device_sensor_gps_raw", [])
        assert sorted(row[0] for row in self.rows(answered)) == sorted(ids)
        blobs = open_blobs(self.settings)
        for ref, size in self.rows("SELECT audio_ref, audio_size_bytes FROM device_audio_raw"):
            assert len(blobs.get(ref)) == size
        blobs.close()
        behind = "SELECT count(*) FROM stream_offsets WHERE stage = ANY(%s)"
        assert self.rows(behind, [s.name for s in USED])[0][0] >= len(USED)

    def _record(self, topic: Topic, message: Message) -> Record:
        return Record(self._name(topic), message.device_id.encode(), message.model_dump_json().encode(), [])

    def _remember(self, topic: Topic, messages: Sequence[Message]) -> None:
        self.sent.setdefault(topic.table.name, []).extend(m.message_id for m in messages)

    def _name(self, topic: Topic) -> str:
        return topic.on_broker(self.settings.kafka_topic_prefix)


def live(home: Home) -> None:
    """A life with something of everything: processed, landed only, not processed, spooled, poison."""
    home.create()
    home.send(GPS_RAW, home.fixes(60))
    home.send(AUDIO_RAW, home.chunks(6))
    home.poison(0)
    home.run(*USED)
    home.send(GPS_RAW, home.fixes(30))
    home.run(LAND_GPS)  # the derived stage is behind
    home.send(GPS_RAW, home.fixes(30))
    home.send(AUDIO_RAW, home.chunks(4))
    drained = home.fixes(5)
    home.send(GPS_RAW, drained)
    home.spool(GPS_RAW, home.fixes(8), drained)
