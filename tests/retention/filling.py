"""Rows, bodies and offsets of old days, as stages would have left them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW, AUDIO_RAW
from loom_models.landing import landing_stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_models.stages.vad_filtered import SILERO_VAD
from loom_platform.blobs import open_blobs
from loom_platform.rollups import mark
from loom_platform.settings import Settings, load_settings

Connection = psycopg.Connection[Any]

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = NOW.date()
DEVICE = "phone-001"
LANDED = {"schema_version": "1.0", "device_id": DEVICE, "kafka_partition": 0, "received_at": NOW}
STAGES = (landing_stage(AUDIO_RAW), landing_stage(ACCELEROMETER_RAW), SILERO_VAD, ACCELEROMETER_WINDOW)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def insert(connection: Connection, topic: Topic, timestamp: datetime, **fields: object) -> uuid.UUID:
    """A row; the day's partition is made."""
    connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (topic.table.name, *2 * [timestamp.date()]))
    identity = uuid.uuid4()
    row = {"timestamp": timestamp, "message_id": identity, **LANDED, **fields}
    if topic.table.derived:
        row = {k: v for k, v in row.items() if k not in ("kafka_partition", "received_at")}
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(topic.table.name),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        ),
        list(row.values()),
    )
    return identity


def sample(connection: Connection, day: date, offset: int) -> None:
    """An accelerometer sample, with its mark."""
    moment = noon(day) + timedelta(seconds=offset)
    with connection.transaction():
        insert(connection, ACCELEROMETER_RAW, moment, x=1.0, y=2.0, z=3.0, kafka_offset=offset)
        mark(connection, ACCELEROMETER_RAW.table, DEVICE, moment, moment)


def chunk(connection: Connection, settings: Settings, day: date, offset: int, body: bytes) -> str:
    """An audio chunk with its body; gives the reference."""
    blobs = open_blobs(settings)
    ref = blobs.put(body, device_id=DEVICE, kind="audio", suffix=".wav")
    blobs.close()
    audio = {"audio_ref": ref.ref, "audio_sha256": ref.sha256, "audio_size_bytes": ref.size_bytes}
    described = {"sample_rate": 16_000, "channels": 1, "format": "wav", "duration_ms": 1000}
    insert(connection, AUDIO_RAW, noon(day) + timedelta(seconds=offset), kafka_offset=offset, **audio, **described)
    return ref.ref


def stands(
    connection: Connection, stage: str, topic: Topic, offset: int, topic_id: str = "id", prefix: str = ""
) -> None:
    """The stage's next offset in partition 0."""
    connection.execute(
        "INSERT INTO stream_offsets (stage, topic, partition, topic_id, next_offset) VALUES (%s, %s, 0, %s, %s) "
        "ON CONFLICT (stage, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset",
        (stage, topic.on_broker(prefix), topic_id, offset),
    )


def all_passed(connection: Connection, offset: int = 1_000) -> None:
    for stage in STAGES:
        stands(connection, stage.name, stage.source, offset)


def days(connection: Connection, topic: Topic) -> list[date]:
    return [d for (d,) in connection.execute("SELECT day FROM loom_days(%s)", (topic.table.name,)).fetchall()]


def settings_of(database_url: str, place: Path, **more: object) -> Settings:
    """Of a platform whose Dagster has not begun yet."""
    values = {"blob_url": str(place / "blobs"), "dagster_database_url": database_url, **more}
    return load_settings(database_url=database_url, data_dir=place, **values)


@contextmanager
def connected(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection
