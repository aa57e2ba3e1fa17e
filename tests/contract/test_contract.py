"""Every topic keeps the promises of the contract."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import ValidationError

from loom_contracts import generate
from loom_contracts.errors import ContractError
from loom_contracts.message import DerivedMessage
from loom_contracts.topic import DEFAULT_RETENTION, Topic
from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    AUDIO_RAW,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
    TEMPERATURE_RAW,
)
from loom_contracts.topics.device_system import METADATA_RAW
from loom_contracts.topics.processing import PROCESSING_ERRORS, errors_of
from loom_contracts.topics.registry import (
    DERIVED,
    LANDED,
    TOPICS,
    generic_sensor_topic,
    topic_named,
    topic_on_broker,
)

EACH_TOPIC = pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
CATEGORIES = {
    "device", "os", "digital", "external", "task", "media", "analysis", "location", "motion", "spatial", "processing",
}  # fmt: skip


def test_names_are_unique() -> None:
    assert len({t.name for t in TOPICS}) == len(TOPICS)
    assert len({t.table.name for t in TOPICS}) == len(TOPICS)


@EACH_TOPIC
def test_name_follows_the_convention(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+){1,5}", topic.name)
    assert topic.category in CATEGORIES


@EACH_TOPIC
def test_example_is_a_valid_message(topic: Topic) -> None:
    message = topic.payload.model_validate_json(json.dumps(topic.example), strict=True)
    assert set(topic.example) <= set(topic.payload.model_fields), "the example has a field that the payload lacks"
    again = topic.payload.model_validate_json(message.model_dump_json())
    assert again == message


@EACH_TOPIC
def test_example_matches_its_schema(topic: Topic) -> None:
    schema = generate.schema_of(topic)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    assert list(validator.iter_errors(topic.example)) == []
    assert schema["$id"] == f"urn:loom:schema:{topic.name}:v1"
    for field in ("$schema", "title", "description", "examples"):
        assert schema[field]


@EACH_TOPIC
def test_every_field_is_described(topic: Topic) -> None:
    schema = generate.schema_of(topic)
    objects = [schema, *(d for d in schema.get("$defs", {}).values() if "properties" in d)]
    bare = [name for o in objects for name, field in o["properties"].items() if not field.get("description")]
    assert bare == []


@EACH_TOPIC
def test_each_topic_says_who_makes_it(topic: Topic) -> None:
    assert topic.description.endswith(".")
    assert topic.producers
    if issubclass(topic.payload, DerivedMessage):
        assert topic.scope
        assert topic.example["stage"] in topic.producers


def test_schemas_are_those_of_the_topics() -> None:
    assert list(generate.drift()) == []


def test_schemas_do_not_break_their_major_version() -> None:
    assert list(generate.incompatibilities()) == []


def test_generating_refuses_a_break(tmp_path: Path) -> None:
    generate.write(tmp_path)
    path = tmp_path / GPS_RAW.schema_path
    schema = json.loads(path.read_text())
    schema["properties"]["satellites"] = {"type": "integer"}
    path.write_text(json.dumps(schema))
    with pytest.raises(ContractError, match=re.escape("device.sensor.gps.raw v1: satellites: removed")):
        generate.write(tmp_path)
    generate.write(tmp_path, unreleased=True)
    assert list(generate.drift(tmp_path)) == []


def test_drift_names_missing_and_stray_files(tmp_path: Path) -> None:
    generate.write(tmp_path)
    (tmp_path / GPS_RAW.schema_path).unlink()
    stray = tmp_path / "device/gone/raw/v1.json"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}")
    assert [d.rpartition("/v1.json ")[2] for d in generate.drift(tmp_path)] == ["is missing", "belongs to no topic"]


def test_retention_and_compression_of_the_specification() -> None:
    assert timedelta(days=7) == AUDIO_RAW.retention
    assert timedelta(days=60) == HEARTRATE_RAW.retention
    assert timedelta(days=90) == METADATA_RAW.retention
    assert timedelta(days=30) == DEFAULT_RETENTION == GPS_RAW.retention
    assert AUDIO_RAW.compression == ACCELEROMETER_RAW.compression == "lz4"
    assert POWER_RAW.compression == "producer"


def test_lookup_by_name() -> None:
    assert topic_named("device.sensor.gps.raw") is GPS_RAW
    assert topic_on_broker("home.device.sensor.gps.raw", "home") is GPS_RAW
    assert generic_sensor_topic("temperature") is TEMPERATURE_RAW
    with pytest.raises(ContractError, match=re.escape("'device.sensor.gsp.raw'; did you mean device.sensor.gps.raw")):
        topic_named("device.sensor.gsp.raw")
    with pytest.raises(ContractError, match="does not begin with LOOM_KAFKA_TOPIC_PREFIX 'home'"):
        topic_on_broker("device.sensor.gps.raw", "home")
    with pytest.raises(ContractError, match="no sensor type 'smell'; those supported are temperature"):
        generic_sensor_topic("smell")


def test_errors_of_a_stage() -> None:
    topic = errors_of("silero-vad")
    assert topic.name == "processing.errors.silero-vad"
    assert topic.payload is PROCESSING_ERRORS.payload
    topic.payload.model_validate(topic.example)


RANGES: list[tuple[Topic, str, list[Any], list[Any]]] = [
    (GPS_RAW, "latitude", [-90, 90, 0.5], [-90.01, 90.01, None, "north"]),
    (GPS_RAW, "longitude", [-180, 180], [-180.01, 180.01]),
    (GPS_RAW, "altitude", [-1000, 20000, None], [-1000.5, 20000.5]),
    (GPS_RAW, "accuracy", [0, 10000, None], [-0.1, 10000.1]),
    (GPS_RAW, "heading", [0, 360, None], [-0.1, 360.1]),
    (GPS_RAW, "speed", [0, 200, None], [-0.1, 200.1, float("nan"), float("inf")]),
    (ACCELEROMETER_RAW, "x", [-50, 50], [-50.1, 50.1]),
    (ACCELEROMETER_RAW, "y", [-50, 50], [-50.1, 50.1]),
    (ACCELEROMETER_RAW, "z", [-50, 50], [-50.1, 50.1, None]),
    (HEARTRATE_RAW, "bpm", [30, 250], [29, 251, 72.5, None]),
    (HEARTRATE_RAW, "confidence", [0, 1, None], [-0.1, 1.1]),
    (POWER_RAW, "battery_level", [0, 100, 85.5], [-0.1, 100.1]),
    (POWER_RAW, "power_source", ["USB", "AC", "Wireless", "Battery", None], ["", "US\x00B"]),
    (AUDIO_RAW, "sample_rate", [8000, 16000, 22050, 44100, 48000], [0, -1]),
    (AUDIO_RAW, "channels", [1, 8], [0, 9]),
    (AUDIO_RAW, "format", ["wav", "mp3", "flac", "aac"], ["ogg", ""]),
    (AUDIO_RAW, "duration_ms", [1, 60000], [0, 60001]),
    (AUDIO_RAW, "chunk_data", ["AAAA"], ["", "not base64!", "AAA"]),
    (AUDIO_RAW, "device_id", ["abc", "a-_9" * 16], ["ab", "a" * 65, "a b c", "ä-phone"]),
    (
        TEMPERATURE_RAW,
        "value",
        [{}, {"t": 1.5, "nested": [{"x": None}]}],
        [None, 3, {"t": float("nan")}, {"t": "\x00"}],
    ),
]


@pytest.mark.parametrize(("topic", "field", "good", "bad"), RANGES, ids=[f"{t.name}-{f}" for t, f, _, _ in RANGES])
def test_ranges_of_the_integration_guide(topic: Topic, field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        topic.payload.model_validate(topic.example | {field: value})
    for value in bad:
        with pytest.raises(ValidationError):
            topic.payload.model_validate(topic.example | {field: value})


def test_landed_and_derived_are_what_they_say() -> None:
    assert all(not t.table.derived for t in LANDED)
    assert all(t.table.derived for t in DERIVED)
