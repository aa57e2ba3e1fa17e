"""What the topics say of their stages, against the stages that exist."""

import json

import pytest
from jsonschema import Draft202012Validator

from loom_contracts.generate import schema_of
from loom_contracts.payloads.processing import DeadLetter
from loom_contracts.topics.processing import errors_of
from loom_contracts.topics.registry import DERIVED, LANDED, TOPICS
from loom_models.flows import STAGES
from loom_models.stage import Stage
from loom_platform.stream.sink import dead_letter

EACH_STAGE = pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)


@EACH_STAGE
def test_its_topics_name_it(stage: Stage) -> None:
    assert stage.name in stage.source.consumers, f"{stage.source} does not list {stage.name} as a consumer"
    if not stage.landing:
        for sink in stage.sinks:
            assert stage.name in sink.producers, f"{sink} does not list {stage.name} as a producer"


@EACH_STAGE
def test_its_topics_are_in_the_registry(stage: Stage) -> None:
    assert stage.source in TOPICS
    assert set(stage.sinks) <= set(TOPICS)


def test_every_raw_table_is_landed_and_every_derived_one_made() -> None:
    assert {s.source.name for s in STAGES if s.landing} == {t.name for t in LANDED}
    assert {sink.name for s in STAGES if not s.landing for sink in s.sinks} == {t.name for t in DERIVED}


def test_a_dead_letter_is_what_its_topic_carries() -> None:
    value = dead_letter(
        stage="silero-vad",
        version="1",
        topic="device.audio.raw",
        partition=2,
        offset=41,
        topic_id="abc",
        key="phone-001",
        error_type="PoisonError",
        reason="the body is no wav",
        value=b"\x00no json",
    )
    letter = DeadLetter.model_validate_json(value)
    assert (letter.device_id, letter.offset, letter.value) == ("phone-001", 41, "AG5vIGpzb24=")
    validator = Draft202012Validator(schema_of(errors_of("silero-vad")))
    assert list(validator.iter_errors(json.loads(value))) == []
