import base64
from hashlib import sha256

import pytest

from loom_contracts.topics.device import ACCELEROMETER_RAW, AUDIO_RAW, GPS_RAW
from loom_contracts.topics.registry import LANDED
from loom_models.errors import DependencyError
from loom_models.landing import landing_stage
from loom_models.stage import Context
from loom_platform.blobs import open_blobs
from tests.models.frames import NOON, batch, message_id

CONTEXT = Context("1", NOON)


def test_gps_rows_are_the_batch() -> None:
    frame = batch(GPS_RAW, [{"latitude": 1.0, "longitude": 2.0}, {"latitude": 3.0, "longitude": 4.0, "speed": 1.5}])
    output = landing_stage(GPS_RAW).transform(frame, CONTEXT)
    rows = output.rows[GPS_RAW]
    assert rows.columns == [c.name for c in GPS_RAW.table.columns if c.name != "stored_at"]
    assert rows["speed"].to_list() == [None, 1.5]
    assert rows["kafka_offset"].to_list() == [0, 1]
    assert output.poison == {}


def test_an_empty_batch_gives_an_empty_frame() -> None:
    for topic in (ACCELEROMETER_RAW, AUDIO_RAW):
        output = landing_stage(topic).transform(batch(topic, []), Context("1", NOON, blobs=open_blobs("memory://")))
        assert output.rows[topic].is_empty()


def test_audio_bodies_go_to_object_storage() -> None:
    blobs = open_blobs("memory://")
    good = {"sample_rate": 16_000, "channels": 1, "format": "flac", "duration_ms": 20}
    frame = batch(
        AUDIO_RAW,
        [
            good | {"chunk_data": base64.b64encode(b"sound").decode()},
            good | {"chunk_data": "not base64!"},
            good | {"chunk_data": ""},
            good | {"chunk_data": base64.b64encode(b"sound").decode()},
        ],
    )
    output = landing_stage(AUDIO_RAW).transform(frame, Context("1", NOON, blobs=blobs))
    rows = output.rows[AUDIO_RAW]
    digest = sha256(b"sound").hexdigest()
    assert rows["message_id"].to_list() == [message_id(1), message_id(4)]
    assert rows["audio_sha256"].to_list() == [digest, digest]
    assert rows["audio_size_bytes"].to_list() == [5, 5]
    assert rows["audio_ref"].to_list() == [f"audio/phone-001/{digest[:2]}/{digest}.flac"] * 2
    assert blobs.get(rows["audio_ref"][0]) == b"sound"
    assert set(output.poison) == {message_id(2), message_id(3)}
    assert "base64" in output.poison[message_id(2)]
    assert "empty" in output.poison[message_id(3)]


def test_audio_without_object_storage_waits() -> None:
    with pytest.raises(DependencyError, match="object storage"):
        landing_stage(AUDIO_RAW).transform(batch(AUDIO_RAW, []), CONTEXT)


def test_each_raw_topic_has_a_landing_stage() -> None:
    for topic in LANDED:
        stage = landing_stage(topic)
        assert stage.landing
        assert stage.name in topic.consumers
        assert stage.consumer_group == f"{stage.name}-consumer"
