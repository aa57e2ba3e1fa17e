"""JSON that is not parsed at once is walked through as a parser would."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_ingest.clients.activitywatch.scan import ScanError, after_space, elements, end_of, members

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON, max_size=6), st.sampled_from([None, 2]), st.booleans())
def test_members_of_an_object(value: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert {name: json.loads(text[begin:end]) for name, begin, end in members(text, 0)} == value
    assert end_of(text, 0) == len(text)


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]))
def test_elements_of_an_array(value: list[Any], indent: int | None) -> None:
    text = b" \n" + json.dumps(value, indent=indent).encode()
    assert [json.loads(text[begin:end]) for begin, end in elements(text, after_space(text, 0))] == value


@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=3), st.data())
def test_what_is_cut_short_is_noticed(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value).encode()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(ScanError):
        list(members(cut, 0))


@pytest.mark.parametrize("text", [b"", b"[]", b'{"a"}', b'{"a":}', b'{"a" 1}', b"{1:2}", b'{"a":1 "b":2}', b'{"a":"'])
def test_what_is_no_object_is_noticed(text: bytes) -> None:
    with pytest.raises(ScanError):
        list(members(text, 0))
