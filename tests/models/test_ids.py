from uuid import UUID, uuid5

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from loom_models.ids import LOOM_NAMESPACE, namespace_of, uuid5_texts, with_ids


@given(st.uuids(), st.lists(st.text()))
def test_it_is_the_uuid5_of_the_standard_library(namespace: UUID, names: list[str]) -> None:
    usable = [n for n in names if n.isprintable()]
    assert uuid5_texts(namespace, usable) == [str(uuid5(namespace, n)) for n in usable]


def test_the_namespace_is_that_of_the_first_release() -> None:
    assert str(LOOM_NAMESPACE) == "725875b1-4306-5eb6-bc85-9718ed4f3e90"


def test_versions_have_ids_of_their_own() -> None:
    assert namespace_of("vad", "1") != namespace_of("vad", "2")


def test_parts_are_joined_with_null_as_empty() -> None:
    frame = with_ids(pl.DataFrame({"a": ["x", "y"], "b": [1, None]}), LOOM_NAMESPACE, pl.col("a"), pl.col("b"))
    assert frame["message_id"].to_list() == [str(uuid5(LOOM_NAMESPACE, "x\n1")), str(uuid5(LOOM_NAMESPACE, "y\n"))]
