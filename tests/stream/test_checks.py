"""A payload's constraints as expressions say what pydantic says, for every payload of every topic."""

import json
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import annotated_types as at
import pytest
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, ValidationError, model_validator

from loom_contracts.message import Message, StoredBody
from loom_contracts.payloads.common import Base64, JsonObject
from loom_contracts.topics.registry import TOPICS
from loom_platform.stream.checks import mistyped, needs_pydantic
from loom_platform.stream.decode import decode
from tests.stream.test_decode import FIX, records

STORED_BODIES = {t.name for t in TOPICS if t.table.body is not None}


def message(payload: type[Message], **fields: object) -> bytes:
    return json.dumps({**FIX, **fields}).encode()


class Every(Message):
    """A field of each kind of constraint."""

    ge: int = Field(0, ge=-3)
    gt: int = Field(0, gt=-3)
    le: float = Field(0, le=2.5)
    lt: float = Field(0, lt=2.5)
    both: Annotated[float, Field(ge=0, le=1)] | None = None
    interval: Annotated[int, at.Interval(ge=1, lt=5)] | None = None
    pattern: str | None = Field(None, pattern="^[a-c]{2,3}$")
    constrained: Annotated[str, StringConstraints(min_length=2, max_length=4, pattern="^[^x]*$")] | None = None
    short: str | None = Field(None, max_length=3)
    long: str | None = Field(None, min_length=2)
    kind: Literal["a", "b"] | None = None
    flag: bool = False
    at: AwareDatetime | None = None
    other: UUID | None = None


EDGES: dict[str, list[object]] = {
    "ge": [-4, -3, -2, -2.0, 2**63 - 1, 2**63, "1", True, None],
    "gt": [-3, -2],
    "le": [2.5, 2.5000000000000004, 2, "2", math.inf, -math.inf, math.nan, -1e308],
    "lt": [2.5, 2.4999999999999996],
    "both": [-1e-300, 0, -0.0, 1, 1.0000000000000002, None],
    "interval": [0, 1, 4, 5, None],
    "pattern": ["a", "ab", "abc", "abcd", "AB", "ab\n", "", None, 12],
    "constrained": ["a", "ab", "abcd", "abcde", "axb", "éé", "\U0001f600\U0001f600", "a\x00"],
    "short": ["", "abc", "abcd", "ééé", "\U0001f600" * 4, 123, False],
    "long": ["", "a", "ab"],
    "kind": ["a", "b", "c", "A", "", None, 1],
    "flag": [True, False, None, 1, 0, "true", "no", 2],
    "at": ["2026-11-21T00:00:00Z", "2026-11-21T00:00:00", "soon", "9999-12-31T23:59:59Z", 5, None, True],
    "other": ["0c9f7c5e-6f3a-4a57-9f43-0a1b2c3d4e5f", "0C9F7C5E6F3A4A579F430A1B2C3D4E5F", "0c9f", "", None, 7],
}


CASES = [(name, value) for name, values in EDGES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_at_every_edge_the_expressions_agree_with_pydantic(name: str, value: object) -> None:
    assert not needs_pydantic(Every)
    raw = message(Every, **{name: value})
    neighbour = message(Every)
    out = decode(records([neighbour, raw, neighbour]), Every)
    try:
        expected = Every.model_validate_json(raw)
    except ValidationError:
        assert list(out.poison) == [1]
        assert name in out.poison[1]
        return
    if isinstance(value, str) and "\x00" in value:
        assert "NUL" in out.poison[1]
        return
    if name in ("ge", "gt") and isinstance(value, int) and value >= 2**63:
        assert out.poison == {1: f"{name}: {value} does not fit into 64 bits"}
        return
    assert out.poison == {}
    got = out.frame[name].to_list()[1]
    wanted = getattr(expected, name)
    assert got == (str(wanted) if isinstance(wanted, UUID) else wanted)
    assert out.frame["flag"].to_list()[0] is False


class WithValidator(Message):
    even: Annotated[int, AfterValidator(lambda v: v)] = 0


class WithMultiple(Message):
    n: int = Field(0, multiple_of=2)


class WithStrip(Message):
    text: Annotated[str, StringConstraints(strip_whitespace=True)] = ""


class WithJson(Message):
    extra: JsonObject | None = None


class WithModelValidator(Message):
    low: int = 0

    @model_validator(mode="after")
    def _check(self) -> "WithModelValidator":
        if self.low == 13:
            raise ValueError("thirteen")
        return self


class WithBody(Message):
    body: Annotated[Base64, StoredBody("file")]


def test_what_expressions_can_not_say_is_left_to_pydantic() -> None:
    assert all(map(needs_pydantic, (WithValidator, WithMultiple, WithStrip, WithJson, WithModelValidator)))
    assert not needs_pydantic(WithBody)
    out = decode(records([message(WithMultiple, n=n) for n in (1, 2, 3)]), WithMultiple)
    assert (out.frame["n"].to_list(), sorted(out.poison)) == ([2], [0, 2])
    assert decode(records([message(WithStrip, text=" a ")]), WithStrip).frame["text"].to_list() == ["a"]
    assert "thirteen" in decode(records([message(WithModelValidator, low=13)]), WithModelValidator).poison[0]


def test_a_text_field_is_told_from_other_fields_by_its_name() -> None:
    assert mistyped(Every) is not None
    text = '"device_id": 5 is only text, {"short": 7}'
    out = decode(records([message(Every, kind="a", note=text, long=text)]), Every)
    assert out.poison == {}
    assert out.frame["long"].to_list() == [text]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_every_field_of_every_topic_agrees_with_pydantic(topic: Any) -> None:
    """Each field of the example in turn gets values of other types and sizes."""
    example = {**topic.example, "timestamp": "2026-11-21T11:00:00Z"}
    strange: list[object] = [
        None,
        "",
        "x",
        "x" * 300,
        "a\x00",
        -1,
        0,
        0.5,
        1e6,
        2**62,
        True,
        [],
        {},
        ["x"],
        {"a": None},
    ]
    fields = [n for n in topic.payload.model_fields if n not in ("timestamp", "schema_version")]
    skipped = {n for n, f in topic.payload.model_fields.items() if any(isinstance(m, StoredBody) for m in f.metadata)}
    values, expected = [], []
    for name in fields:
        for value in strange if name not in skipped else [None, 5, {}]:
            raw = json.dumps({**example, name: value}).encode()
            values.append(raw)
            try:
                topic.payload.model_validate_json(raw)
                expected.append("\x00" not in value if isinstance(value, str) else True)
            except ValidationError:
                expected.append(False)
    out = decode(records(values), topic.payload)
    got = [position not in out.poison for position in range(len(values))]
    wrong = [json.loads(v) for v, g, e in zip(values, got, expected, strict=True) if g != e]
    assert wrong == []


def test_examples_are_in_time() -> None:
    received = records([b""]).received_at[0]
    assert received == datetime(2026, 11, 21, 12, tzinfo=UTC)
