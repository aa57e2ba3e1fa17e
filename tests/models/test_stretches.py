from datetime import timedelta

import polars as pl

from loom_models.stage import SPAN_SCHEMA
from loom_models.stretches import joined, parameters, within
from tests.models.motion import at

NONE = timedelta(0)


def spans(*rows: tuple[str, float, float]) -> pl.DataFrame:
    return pl.DataFrame([(d, at(first), at(last)) for d, first, last in rows], schema=SPAN_SCHEMA, orient="row")


def seconds(frame: pl.DataFrame) -> list[tuple[str, float, float]]:
    return [(d, (f - at(0)).total_seconds(), (u - at(0)).total_seconds()) for d, f, u in frame.iter_rows()]


def test_what_meets_is_one_and_a_short_one_hides_no_long_one() -> None:
    given = spans(("a", 20, 30), ("a", 0, 10), ("b", 5, 6), ("a", 2, 3), ("a", 9, 15), ("a", 30, 31))
    assert seconds(joined(given, NONE, NONE)) == [("a", 0, 15), ("a", 20, 31), ("b", 5, 6)]


def test_they_are_widened_before_they_are_joined() -> None:
    given = spans(("a", 0, 10), ("a", 16, 20))
    assert seconds(joined(given, timedelta(seconds=4), timedelta(seconds=2))) == [("a", -4, 22)]
    assert seconds(joined(given, timedelta(seconds=3), timedelta(seconds=2))) == [("a", -3, 12), ("a", 13, 22)]
    assert joined(given.clear(), NONE, NONE).schema == SPAN_SCHEMA


def test_rows_within() -> None:
    rows = pl.DataFrame({"device_id": ["a"] * 4 + ["b"], "timestamp": [at(s) for s in (10, 9, 4, 30, 9)]})
    rows = rows.with_columns(pl.col("timestamp").cast(SPAN_SCHEMA["first"]))
    found = within(rows, spans(("a", 4, 10), ("a", 30, 31)))
    assert found["timestamp"].to_list() == [at(4), at(9), at(30)]
    assert within(rows, spans()).is_empty()


def test_no_stretch_asks_for_nothing() -> None:
    assert parameters(spans()) is None
    asked = parameters(spans(("a", 0, 1), ("b", 5, 9)))
    around = {"earliest": at(0), "latest": at(9)}
    assert asked == {"devices": ["a", "b"], "firsts": [at(0), at(5)], "lasts": [at(1), at(9)], **around}
