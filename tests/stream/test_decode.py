"""Message values to frames: what is good comes out once and in order, what is bad has a reason."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from confluent_kafka import Message as KafkaMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loom_contracts.message import Message
from loom_contracts.payloads.health import HeartRate
from loom_contracts.payloads.sensor import GenericReading, GpsFix
from loom_contracts.topics.registry import TOPICS
from loom_models.frames import frame_schema
from loom_platform.stream.decode import Decoded, decode
from loom_platform.stream.source import Records

MANY = 400
RECEIVED = datetime(2026, 11, 21, 12, tzinfo=UTC)
ID = "0c9f7c5e-6f3a-4a57-9f43-0a1b2c3d4e5f"
FIX: dict[str, Any] = {
    "message_id": ID,
    "device_id": "phone-001",
    "timestamp": "2026-11-21T11:59:59.123456Z",
    "latitude": 47.25,
    "longitude": 8.5,
}


def records(values: Sequence[bytes | None], first_offset: int = 100) -> Records:
    millis = int(RECEIVED.timestamp() * 1000)
    return Records(
        [
            KafkaMessage(topic="t", partition=3, offset=first_offset + n, key=None, value=v, timestamp=(1, millis))
            for n, v in enumerate(values)
        ]
    )


def fix(**changes: object) -> bytes:
    fields = {k: v for k, v in (FIX | changes).items() if v is not ...}
    return json.dumps(fields).encode()


def decoded(*values: bytes | None, payload: type[Message] = GpsFix) -> Decoded:
    """A few values are pydantic's, many are polars': each gives the same rows and the same reasons."""
    few = decode(records(values), payload)
    filler = fix() if payload is GpsFix else next((v for n, v in enumerate(values) if n not in few.poison), None)
    many = decode(records([*values, *[filler] * MANY]), payload)
    assert {p: why for p, why in many.poison.items() if p < len(values)} == few.poison
    assert_frame_equal(many.frame.filter(pl.col("position") < len(values)), few.frame, check_column_order=False)
    return few


def test_a_value_becomes_a_row_with_its_origin() -> None:
    out = decoded(fix(altitude=400, trace_id="0af7651916cd43dd8448eb211c80319c"))
    assert out.poison == {}
    assert out.frame.row(0, named=True) == {
        "schema_version": "1.0",
        "message_id": ID,
        "device_id": "phone-001",
        "timestamp": datetime(2026, 11, 21, 11, 59, 59, 123456, UTC),
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": None,
        "latitude": 47.25,
        "longitude": 8.5,
        "altitude": 400.0,
        "accuracy": None,
        "heading": None,
        "speed": None,
        "position": 0,
        "kafka_partition": 3,
        "kafka_offset": 100,
        "received_at": RECEIVED,
    }


BAD: dict[str, tuple[bytes | None, str]] = {
    "tombstone": (None, "no value"),
    "empty": (b"", "Invalid JSON"),
    "blank": (b"  ", "Invalid JSON"),
    "not JSON": (b"hello", "Invalid JSON"),
    "cut off": (fix()[:-5], "Invalid JSON"),
    "two objects": (fix() + fix(), "Invalid JSON"),
    "an object and a comma": (fix() + b",", "Invalid JSON"),
    "a list": (b"[" + fix() + b"]", "object"),
    "null": (b"null", "object"),
    "a number": (b"5", "object"),
    "empty object": (b"{}", "device_id: Field required"),
    "not UTF-8": (b'{"device_id": "\xff\xfe"}', "Invalid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + fix(), "Invalid JSON"),
    "deeply nested": (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "Invalid JSON"),
    "field missing": (fix(longitude=...), "longitude: Field required"),
    "field null": (fix(longitude=None), "longitude"),
    "text for a number": (fix(latitude="north"), "latitude"),
    "an object for a number": (fix(latitude={"deg": 47}), "latitude"),
    "number for a text": (fix(device_id=12345), "device_id: Input should be a valid string (got 12345)"),
    "boolean for a text": (fix(device_id=True), "device_id: Input should be a valid string"),
    "list for a text": (fix(device_id=["phone"]), "device_id: Input should be a valid string"),
    "number for an optional text": (fix(span_id=1234567890123456), "span_id: Input should be a valid string"),
    "below the range": (fix(latitude=-90.0000001), "latitude: Input should be greater than or equal to -90"),
    "above the range": (fix(latitude=91), "latitude: Input should be less than or equal to 90 (got 91"),
    "NaN": (fix(latitude=float("nan")), "latitude"),
    "infinite": (fix(altitude=float("inf")), "altitude"),
    "too large for a float": (fix().replace(b"47.25", b"1e999"), "latitude"),
    "NUL in a text": (fix(device_id="pho\x00ne"), "device_id"),
    "lone surrogate": (fix(device_id="phone\ud800"), "Invalid JSON"),
    "identity that is none": (fix(message_id="42"), "message_id"),
    "null identity": (fix(message_id=None), "message_id"),
    "short device id": (fix(device_id="ab"), "device_id"),
    "device id with a blank": (fix(device_id="my phone"), "device_id"),
    "time without zone": (fix(timestamp="2026-11-21T11:59:59"), "timestamp"),
    "time that is none": (fix(timestamp="yesterday"), "timestamp"),
    "February 30": (fix(timestamp="2026-02-30T00:00:00Z"), "timestamp"),
    "year 9999": (fix(timestamp="9999-12-31T23:59:59Z"), "mend the sender's clock"),
    "three days ahead": (fix(timestamp="2026-11-24T12:00:00Z"), "mend the sender's clock"),
    "before 1970": (fix(timestamp="1969-12-31T23:59:59Z"), "before 1970"),
    "year 1": (fix(timestamp="0001-01-01T00:00:00Z"), "before 1970"),
    "year 1, east": (fix(timestamp="0001-01-01T00:00:00+14:00"), "before 1970"),
    "next schema": (fix(schema_version="2.0"), "schema_version 2.0 is not known"),
    "schema that is none": (fix(schema_version="one"), "schema_version"),
    "number for a schema": (fix(schema_version=1.0), "schema_version: Input should be a valid string"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_a_reason_and_leaves_its_neighbours_alone(name: str) -> None:
    value, reason = BAD[name]
    out = decoded(fix(latitude=1), value, fix(latitude=2))
    assert list(out.poison) == [1]
    assert reason in out.poison[1]
    assert out.frame["latitude"].to_list() == [1.0, 2.0]
    assert out.frame["kafka_offset"].to_list() == [100, 102]
    assert decoded(value).poison == {0: out.poison[1]}


GOOD: dict[str, tuple[bytes, dict[str, object]]] = {
    "upper-case identity": (fix(message_id=ID.upper()), {"message_id": ID}),
    "identity without hyphens": (fix(message_id=ID.replace("-", "")), {"message_id": ID}),
    "identity in braces": (fix(message_id="{" + ID + "}"), {"message_id": ID}),
    "identity as urn": (fix(message_id=f"urn:uuid:{ID}"), {"message_id": ID}),
    "later minor version": (fix(schema_version="1.7"), {"schema_version": "1.7"}),
    "other zone": (fix(timestamp="2026-11-21T13:00:00+02:00"), {"timestamp": datetime(2026, 11, 21, 11, tzinfo=UTC)}),
    "seconds since 1970": (fix(timestamp=1_700_000_000), {"timestamp": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}),
    "no fraction": (fix(timestamp="2026-11-21T11:00:00Z"), {"timestamp": datetime(2026, 11, 21, 11, tzinfo=UTC)}),
    "no time": (fix(timestamp=...), {"timestamp": RECEIVED}),
    "number as text": (fix(latitude="47.5"), {"latitude": 47.5}),
    "at the edge": (fix(latitude=90, longitude=-180), {"latitude": 90.0, "longitude": -180.0}),
    "an hour ahead": (fix(timestamp="2026-11-21T13:00:00Z"), {"timestamp": datetime(2026, 11, 21, 13, tzinfo=UTC)}),
    "unknown fields": (fix(later={"a": [1, {"b": 'x"y\n'}]}), {"latitude": 47.25}),
    "written over lines": (json.dumps(FIX, indent=2).encode(), {"latitude": 47.25}),
    "blanks around": (b" \t" + fix() + b"\r ", {"latitude": 47.25}),
    "integer for a float": (fix(altitude=0), {"altitude": 0.0}),
    "escaped": (fix().replace(b"phone", b"ph\\u006fne"), {"device_id": "phone-001"}),
    "oversized": (fix(padding="x" * 5_000_000), {"latitude": 47.25}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_pydantic_accepts_is_kept_in_canonical_form(name: str) -> None:
    value, expected = GOOD[name]
    out = decoded(fix(), value, fix())
    assert out.poison == {}
    row = out.frame.row(1, named=True)
    assert {k: row[k] for k in expected} == expected
    assert out.frame["position"].to_list() == [0, 1, 2]


def test_a_record_without_identity_gets_the_same_one_at_each_reading() -> None:
    value = fix(message_id=...)
    first, again = decoded(value, value), decoded(value, value)
    ids = first.frame["message_id"].to_list()
    assert ids == again.frame["message_id"].to_list()
    assert len(set(ids)) == 2
    assert [str(UUID(i)) for i in ids] == ids


def test_bad_records_anywhere_in_a_large_batch() -> None:
    values: list[bytes | None] = [fix(latitude=n / 100) for n in range(5_000)]
    bad = {0: b"", 63: b"x", 64: None, 65: b"{}\n{}", 2_500: fix(latitude=100), 4_999: b"[1]"}
    for position, value in bad.items():
        values[position] = value
    out = decode(records(values), GpsFix)
    assert sorted(out.poison) == sorted(bad)
    kept = [n for n in range(5_000) if n not in bad]
    assert out.frame["position"].to_list() == kept
    assert out.frame["latitude"].to_list() == [n / 100 for n in kept]
    assert out.frame["kafka_offset"].to_list() == [100 + n for n in kept]


def test_integers_keep_every_digit() -> None:
    values = [
        json.dumps(FIX | {"bpm": v}).encode() for v in (60, 61.0, "62", 10**30, 63.5, 29, 251, 9_007_199_254_740_993)
    ]
    out = decoded(*values, payload=HeartRate)
    assert out.frame["bpm"].to_list() == [60, 61, 62]
    assert sorted(out.poison) == [3, 4, 5, 6, 7]


def reading(value: object, **changes: object) -> bytes:
    return json.dumps({**FIX, "sensor_type": "temperature", "value": value} | changes).encode()


JSON_VALUES: list[dict[str, object]] = [
    {},
    {"a": 'say "no"\\ \n\t\r é 漢 \U0001f600 \x01 /'},
    {'k"ey\\': [1, 2.5, -0.0, 1e300, True, None, "", {"b": []}]},
    {"text": "\\u0000 is only text"},
    {"big": 10**40},
    {"nested": json.loads("[" * 90 + "]" * 90)},
]


@pytest.mark.parametrize("value", JSON_VALUES)
def test_json_comes_through_as_it_was(value: dict[str, object]) -> None:
    out = decoded(reading(value), payload=GenericReading)
    assert out.poison == {}
    assert json.loads(out.frame["value"][0]) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'"text"', "value"),
        (b"5", "value"),
        (b"[1]", "value"),
        (b"null", "value"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": ["x", {"b": "\\u0000"}]}', "NUL"),
        (b'{"a": NaN}', "nan"),
        (b'{"a": 1e999}', "inf"),
        (b'{"a": "\\ud800"}', "Invalid JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", ""),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "Invalid JSON"),
    ],
)
def test_json_that_the_database_can_not_hold_is_poison(value: bytes, reason: str) -> None:
    bad = reading({}).replace(b'"value": {}', b'"value": ' + value)
    out = decoded(reading({}), bad, reading({}), payload=GenericReading)
    assert list(out.poison) == [1]
    assert reason in out.poison[1]
    assert out.frame.height == 2


def test_nothing_is_no_row() -> None:
    out = decode(records([]), GpsFix)
    assert out.frame.height == 0
    assert set(out.frame.columns) == {
        *frame_schema(GpsFix),
        "position",
        "kafka_partition",
        "kafka_offset",
        "received_at",
    }


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_each_topics_example_is_one_row(topic: Any) -> None:
    example = {k: v for k, v in topic.example.items() if k != "timestamp"}
    value = json.dumps(example | {"timestamp": FIX["timestamp"]}).encode()
    out = decoded(value, value, payload=topic.payload)
    assert out.poison == {}
    assert out.frame.height == 2
    message = topic.payload.model_validate_json(value)
    row = out.frame.row(0, named=True)
    for name, expected in message.model_dump(mode="json").items():
        got = row[name]
        if isinstance(got, datetime):
            assert got == getattr(message, name)
        elif isinstance(expected, dict | list):
            assert json.loads(got) == expected
        elif name != "message_id" or "message_id" in example:
            assert got == expected


_bad = st.sampled_from([v for v, _ in BAD.values()]) | st.binary(max_size=12)
_good = st.sampled_from([v for n, (v, _) in GOOD.items() if n != "oversized"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), _bad, _good), max_size=300))
def test_any_mix_gives_good_rows_in_order_and_a_reason_for_each_bad_one(
    mix: list[tuple[bool, bytes | None, bytes]],
) -> None:
    values = [good if is_good else bad for is_good, bad, good in mix]
    out = decoded(*values)
    bad = [n for n, (is_good, _, _) in enumerate(mix) if not is_good]
    assert sorted(out.poison) == bad
    assert all(out.poison.values())
    assert out.frame["position"].to_list() == [n for n in range(len(values)) if n not in out.poison]
    assert out.frame["kafka_offset"].to_list() == [100 + p for p in out.frame["position"]]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*FIX, "altitude", "schema_version", "trace_id"]), _json, max_size=3))
def test_whatever_is_in_the_fields_the_frame_agrees_with_pydantic(changes: dict[str, object]) -> None:
    value = json.dumps(FIX | changes).encode()
    out = decoded(value)
    try:
        message = GpsFix.model_validate_json(value)
    except ValueError:
        assert list(out.poison) == [0]
        return
    if out.poison:
        assert "mend the sender's clock" in out.poison[0] or "schema_version" in out.poison[0]
        return
    row = out.frame.row(0, named=True)
    assert row["device_id"] == message.device_id
    assert row["latitude"] == message.latitude
    assert row["altitude"] == message.altitude
    assert row["trace_id"] == message.trace_id
    assert row["message_id"] == str(message.message_id) or "message_id" not in message.model_fields_set
