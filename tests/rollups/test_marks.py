"""What a write tells the roll-ups: the few rows of a live batch are told as many are."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_models.frames import UTC_MICROS
from loom_platform.rollups.marks import _few_spans, _spans

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
SCHEMA = pl.Schema({"device_id": pl.String(), "timestamp": UTC_MICROS})
_row = st.tuples(st.sampled_from(["phone-001", "watch-001"]), st.integers(-10_000_000_000, 10_000_000_000))


@settings(max_examples=60, deadline=None)
@given(st.lists(_row, max_size=30))
def test_few_rows_are_told_as_many_are(rows: list[tuple[str, int]]) -> None:
    frame = pl.DataFrame(
        [(device, NOON + timedelta(microseconds=at)) for device, at in rows], schema=SCHEMA, orient="row"
    )
    assert sorted(zip(*_few_spans(frame), strict=True)) == sorted(zip(*_spans(frame), strict=True))


def test_a_span_is_of_one_device_and_hour() -> None:
    times = [NOON, NOON + timedelta(minutes=59), NOON + timedelta(hours=1), NOON - timedelta(microseconds=1)]
    frame = pl.DataFrame({"device_id": ["phone-001"] * 4, "timestamp": times}, schema=SCHEMA)
    assert sorted(zip(*_few_spans(frame), strict=True)) == [
        ("phone-001", times[3], times[3]),
        ("phone-001", times[0], times[1]),
        ("phone-001", times[2], times[2]),
    ]
