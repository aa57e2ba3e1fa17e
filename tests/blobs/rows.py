"""Rows that refer to a body."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from loom_models.stage import BlobRef

Connection = psycopg.Connection[Any]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def days(connection: Connection) -> None:
    """Make the day that the rows are of."""
    for table in ("device_audio_raw", "media_audio_vad_filtered"):
        connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table, NOON.date(), NOON.date()))


def land(connection: Connection, blob: BlobRef, device: str, second: int = 0) -> uuid.UUID:
    """A landed chunk with this body; its message_id."""
    message = uuid.uuid4()
    connection.execute(
        "INSERT INTO device_audio_raw (timestamp, message_id, device_id, schema_version, audio_ref, audio_sha256, "
        "audio_size_bytes, sample_rate, channels, format, duration_ms, kafka_partition, kafka_offset, received_at) "
        "VALUES (%s, %s, %s, '1.0', %s, %s, %s, 16000, 1, 'wav', 1000, 0, 0, now())",
        (NOON + timedelta(seconds=second), message, device, blob.ref, blob.sha256, blob.size_bytes),
    )
    return message


def segment(connection: Connection, blob: BlobRef, device: str) -> uuid.UUID:
    """A speech segment with this body; its message_id."""
    message = uuid.uuid4()
    connection.execute(
        "INSERT INTO media_audio_vad_filtered (timestamp, message_id, device_id, schema_version, source_message_id, "
        "stage, stage_version, segment_end, duration_ms, sample_rate, channels, confidence_mean, confidence_max, "
        "chunk_count, source_message_ids, audio_ref, audio_sha256, audio_size_bytes, audio_format) "
        "VALUES (%s, %s, %s, '1.0', %s, 's', '1', %s, 1000, 16000, 1, 1, 1, 1, '[]', %s, %s, %s, 'wav')",
        (NOON, message, device, message, NOON, blob.ref, blob.sha256, blob.size_bytes),
    )
    return message


def forget(connection: Connection, *messages: uuid.UUID) -> None:
    """Remove the chunks' rows."""
    connection.execute("DELETE FROM device_audio_raw WHERE message_id = ANY(%s)", (list(messages),))
