"""A part of the data: the rows asked for, all of them, and no others."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_platform.export import manifest
from loom_platform.export.errors import ExportError
from loom_platform.export.selection import Selection
from loom_platform.export.tables import _by_day
from loom_platform.export.write import estimate
from tests.export.conftest import Side
from tests.export.filling import FIRST, TOPICS

DAY = timedelta(days=1)
PHONE = ("phone-001",)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        (Selection(devices=PHONE), "device_id = 'phone-001'"),
        (Selection(since=FIRST + DAY), "timestamp >= '2026-11-20Z'"),
        (Selection(until=FIRST + DAY), "timestamp < '2026-11-20Z'"),
        (
            Selection(PHONE, FIRST + DAY, FIRST + DAY + timedelta(hours=12)),
            "device_id = 'phone-001' AND timestamp >= '2026-11-20Z' AND timestamp < '2026-11-20 12:00Z'",
        ),
        (Selection(devices=("nobody",)), "false"),
    ],
)
def test_rows_asked_for_and_no_others(full: Side, tmp_path: Path, wanted: Selection, condition: str) -> None:
    done = full.export(tmp_path / "out", wanted)
    counted = estimate(full.url, wanted)
    refs: set[str] = set()
    for table in TOPICS:
        rows = full.connection.execute(
            f"SELECT message_id::text, {', '.join(table.bodies) or 'NULL'} FROM {table.name} WHERE {condition}".encode()
        ).fetchall()
        files = [tmp_path / "out" / f.path for f in done.tables[table.name].files]
        found = [i for f in files for i in pl.read_parquet(f)["message_id"]]
        assert sorted(found) == sorted(row[0] for row in rows)
        assert counted.rows[table.name] == len(rows)
        refs |= {ref for row in rows for ref in row[1:] if ref}
    index = pl.read_parquet(tmp_path / "out/blobs.parquet")
    assert set(index["ref"]) == refs
    assert counted.bodies == done.blobs.count == len(list((tmp_path / "out/blobs").rglob("*.wav")))
    assert counted.body_bytes == done.blobs.bytes


@pytest.mark.integration
def test_what_is_not_of_a_topic_follows_the_device_and_the_time(full: Side, tmp_path: Path) -> None:
    def rows(folder: str, wanted: Selection) -> dict[str, int]:
        done = full.export(tmp_path / folder, wanted)
        return {n: t.rows for n, t in done.tables.items() if not n.startswith("device_sensor") and t.rows}

    phone = rows("phone", Selection(devices=PHONE))
    assert (phone["devices"], phone["client_identities"], phone["processing_errors"], phone["places_visited"]) == (
        1,
        1,
        1,
        1,
    )
    assert "activitywatch_buckets" not in phone
    assert (phone["georegions"], phone["stage_versions"]) == (1, 3)
    early = rows("early", Selection(until=FIRST + DAY))
    assert (early["places_visited"], early["processing_errors"], early["devices"]) == (1, 1, 2)
    gps = rows("gps", Selection(topics=("device.sensor.gps.raw",)))
    assert (gps["processing_errors"], gps["device_activity"]) == (1, 1)
    assert "places_visited" not in gps
    assert "device_audio_raw" not in manifest.read(tmp_path / "gps").tables


def test_what_cannot_be_there_is_refused() -> None:
    with pytest.raises(ExportError, match="--from 2026-11-20T00:00:00: is not before --to 2026-11-19T00:00:00"):
        Selection(since=FIRST + DAY, until=FIRST).check()
    with pytest.raises(ExportError, match="did you mean device"):
        Selection(topics=("device.sensor.gps",)).check()
    with pytest.raises(ExportError, match="no table keeps its messages"):
        Selection(topics=("device.command.app.close",)).check()


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.timedeltas(timedelta(days=-4_000), timedelta(days=40_000)).map(lambda t: EPOCH + t)
EDGES = st.integers(-3, 3).map(lambda days: EPOCH + timedelta(days=days))


@given(
    st.lists(MOMENTS | EDGES, max_size=30),
    st.integers(1, 7),
)
def test_rows_are_cut_where_a_utc_day_ends(moments: list[datetime], size: int) -> None:
    rows = pa.record_batch({"timestamp": pa.array(sorted(moments), pa.timestamp("us", tz="UTC"))})
    batches = iter([rows.slice(n, size) for n in range(0, len(moments), size)])
    found: list[tuple[date | None, Any]] = list(_by_day(TOPICS[0], batches))
    assert [m for _, part in found for m in part.column("timestamp").to_pylist()] == sorted(moments)
    for day, part in found:
        assert part.num_rows
        assert {m.date() for m in part.column("timestamp").to_pylist()} == {day}
