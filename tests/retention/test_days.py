"""Days go with all that is of them, and none goes that something still needs."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_contracts.topics.device import ACCELEROMETER_RAW, AUDIO_RAW
from loom_contracts.topics.media import VAD_FILTERED
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_platform.blobs import open_blobs
from loom_platform.retention.days import drop, plan
from loom_platform.retention.holds import EARLIEST, Work, holds_of
from loom_platform.retention.keeping import Keeper
from loom_platform.retention.rules import Kind, read, write
from loom_platform.stream.api import StreamConfig, recompute
from loom_platform.stream.errors import DaysDroppedError
from tests.retention.filling import (
    DEVICE,
    NOW,
    STAGES,
    Connection,
    ago,
    all_passed,
    chunk,
    connected,
    days,
    insert,
    noon,
    sample,
    settings_of,
    stands,
)

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
CUT = ago(7)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connected(database_url) as found:
        yield found


def dropped(connection: Connection, topic: Any, database_url: str, place: Path, **changes: Any) -> Any:
    blobs = open_blobs(settings_of(database_url, place))
    arguments = {"cut": CUT, "stages": STAGES, "work": (), **changes}
    try:
        return drop(connection, topic, blobs=blobs, **arguments)
    finally:
        blobs.close()


def test_a_day_goes_with_its_bodies_and_what_a_later_day_shares_stays(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    at = settings_of(database_url, tmp_path)
    gone = chunk(connection, at, ago(9), 1, b"alone")
    shared = chunk(connection, at, ago(9), 2, b"said twice")
    chunk(connection, at, ago(8), 3, b"of the next day")
    assert chunk(connection, at, ago(2), 4, b"said twice") == shared
    all_passed(connection)
    told = plan(connection, AUDIO_RAW, CUT, STAGES, ())
    assert [(d.day, d.rows, d.held) for d in told.days] == [(ago(9), 2, False), (ago(8), 1, False)]
    assert (told.bodies, told.body_bytes) == (2, len(b"alone") + len(b"of the next day"))
    assert days(connection, AUDIO_RAW) == [ago(9), ago(8), ago(2)]
    done = dropped(connection, AUDIO_RAW, database_url, tmp_path)
    assert [(d.day, d.rows) for d in done.days] == [(ago(9), 2), (ago(8), 1)]
    assert sum(d.bytes for d in done.days) > 0
    assert done.bodies == 2
    assert days(connection, AUDIO_RAW) == [ago(2)]
    blobs = open_blobs(at)
    assert (blobs.exists(gone), blobs.get(shared)) == (False, b"said twice")
    blobs.close()
    assert dropped(connection, AUDIO_RAW, database_url, tmp_path).days == []


def test_roll_ups_outlive_the_rows_and_the_day_is_not_recomputed(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    for offset in range(3):
        sample(connection, ago(9), offset)
    all_passed(connection)
    before = connection.execute("SELECT * FROM device_sensor_accelerometer_raw_by_minute").fetchall()
    assert len(before) == 1
    dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path)
    assert connection.execute("SELECT count(*) FROM device_sensor_accelerometer_raw").fetchone() == (0,)
    assert connection.execute("SELECT * FROM device_sensor_accelerometer_raw_by_minute").fetchall() == before
    config, stop = StreamConfig(database_url, "nowhere:1"), threading.Event()
    with pytest.raises(DaysDroppedError, match="have passed their retention"):
        recompute(ACCELEROMETER_WINDOW, ago(10), ago(8), config, on_report=lambda _: None, stop=stop)


def test_what_a_stage_has_not_read_stays(connection: Connection, database_url: str, tmp_path: Path) -> None:
    for offset, age in enumerate((12, 11, 10, 9)):
        sample(connection, ago(age), offset)
    all_passed(connection, 4)
    stands(connection, ACCELEROMETER_WINDOW.name, ACCELEROMETER_RAW, 2)
    told = plan(connection, ACCELEROMETER_RAW, CUT, STAGES, ())
    assert [d.held for d in told.days] == [False, False, True, True]
    done = dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path)
    assert [d.day for d in done.days] == [ago(12), ago(11)]
    assert [h.reason for h in done.holds] == ["stage accelerometer-window has 2 records to pass yet"]
    # A stage that never began has everything before it.
    connection.execute("DELETE FROM stream_offsets WHERE stage = %s", (ACCELEROMETER_WINDOW.name,))
    assert dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path).days == []
    stands(connection, ACCELEROMETER_WINDOW.name, ACCELEROMETER_RAW, 4)
    assert len(dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path).days) == 2


def test_what_is_recomputed_or_waited_for_stays(connection: Connection, database_url: str, tmp_path: Path) -> None:
    for age in (20, 12, 9):
        sample(connection, ago(age), age)
    all_passed(connection)

    def first_held(*work: Work) -> list[Any]:
        return [h.first for h in holds_of(connection, ACCELEROMETER_RAW, STAGES, work, ago(20), CUT)]

    assert first_held() == []
    begin = (
        "INSERT INTO recompute_progress (stage, stage_version, day, device_id, job, inputs, updated_at) "
        "VALUES (%s, '1', %s, %s, %s, '', now() - %s)"
    )
    job = (ACCELEROMETER_WINDOW.name, ago(10), DEVICE, f"{ago(10)}/{ago(9)}/*")
    connection.execute(begin, (*job, timedelta(hours=25)))
    assert first_held() == []
    connection.execute("UPDATE recompute_progress SET updated_at = now()")
    assert first_held() == [ago(11)]
    assert [d.day for d in dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path).days] == [ago(20), ago(12)]
    connection.execute("DELETE FROM recompute_progress")
    assert first_held(Work("backfill x", None, None, '"path": ["device", "audio", "raw"]')) == []
    assert first_held(
        Work("backfill x", ago(9), ago(8), '"path": ["device", "sensor", "accelerometer", "windowed"]')
    ) == [ago(10)]
    assert first_held(Work("run x", ago(2), ago(2))) == []
    version = ACCELEROMETER_WINDOW.version
    late = f"INSERT INTO stream_timers VALUES (%s, '{version}', %s, 'k', now() - %s)"
    connection.execute(late, (ACCELEROMETER_WINDOW.name, DEVICE, timedelta(hours=1)))
    assert first_held() == [EARLIEST]


def test_a_body_that_a_derived_row_refers_to_keeps_its_day(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    at = settings_of(database_url, tmp_path)
    chunk(connection, at, ago(10), 1, b"first")
    ref = chunk(connection, at, ago(9), 2, b"speech")
    all_passed(connection)
    answer = {"source_message_id": "00000000-0000-4000-8000-000000000000", "stage": "s", "stage_version": "1"}
    more = {"segment_end": noon(ago(1)), "duration_ms": 1, "sample_rate": 1, "channels": 1, "confidence_mean": 1}
    body = {"audio_ref": ref, "audio_sha256": "", "audio_size_bytes": 1, "audio_format": "wav"}
    rest = {"confidence_max": 1, "chunk_count": 1, "source_message_ids": "[]"}
    insert(connection, VAD_FILTERED, noon(ago(9)), **answer, **more, **body, **rest)
    done = dropped(connection, AUDIO_RAW, database_url, tmp_path)
    assert [d.day for d in done.days] == [ago(10)]
    assert [h.first for h in done.holds] == [ago(9)]
    # When what is derived goes too, it goes first.
    for topic in ("media.audio.vad_filtered", "device.audio"):
        write(connection, Kind.TABLE, topic, timedelta(days=7), "test")
    kept = Keeper(at, STAGES).keep(NOW, only_days=True)
    assert [(d.topic, len(d.days)) for d in kept.dropped] == [(VAD_FILTERED.name, 1), (AUDIO_RAW.name, 1)]
    assert kept.failed == {}


def test_a_locked_table_is_left_for_the_next_time(
    connection: Connection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom_platform.retention.days._TRIES", 1)
    sample(connection, ago(9), 1)
    all_passed(connection)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM device_sensor_accelerometer_raw")
        done = dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path)
    assert (done.busy, done.days) == (True, [])
    assert days(connection, ACCELEROMETER_RAW) == [ago(9)]


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.retention.filling import *
from loom_platform.retention.days import drop
url, place, point = sys.argv[1:]
def at(name):
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)
with connected(url) as connection:
    drop(connection, AUDIO_RAW, ago(7), STAGES, (), open_blobs(settings_of(url, Path(place))), at)
"""


@pytest.mark.parametrize("point", ["dropped", "committed"])
def test_a_drop_that_is_killed_is_finished_by_the_next(
    connection: Connection, database_url: str, tmp_path: Path, point: str
) -> None:
    at = settings_of(database_url, tmp_path)
    refs = [chunk(connection, at, ago(age), age, f"body {age}".encode()) for age in (9, 8)]
    all_passed(connection)
    command = [sys.executable, "-c", _KILLED, database_url, str(tmp_path), point]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert days(connection, AUDIO_RAW) == ([ago(9), ago(8)] if point == "dropped" else [ago(8)])
    dropped(connection, AUDIO_RAW, database_url, tmp_path)
    blobs = open_blobs(at)
    blobs.sweep(connection, older_than=timedelta(0))
    assert not any(blobs.exists(ref) for ref in refs)
    blobs.close()
    rows = connection.execute("SELECT day, row_count FROM retention_drops ORDER BY day").fetchall()
    assert rows == [(ago(9), 1), (ago(8), 1)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ages=st.lists(st.integers(5, 12), min_size=1, max_size=8),
    read_upto=st.integers(0, 8),
    moves=st.lists(st.integers(0, 8), max_size=3),
)
def test_no_unread_row_is_ever_lost(
    connection: Connection, database_url: str, tmp_path: Path, ages: list[int], read_upto: int, moves: list[int]
) -> None:
    """Whatever order days came in and wherever the stage is taken: what it has still to read is there."""
    connection.execute("SELECT * FROM loom_drop_days(%s, '9999-01-01')", (ACCELEROMETER_RAW.table.name,))
    for offset, age in enumerate(ages):
        moment = noon(ago(age)) + timedelta(seconds=offset)
        insert(connection, ACCELEROMETER_RAW, moment, x=1.0, y=2.0, z=3.0, kafka_offset=offset)
    all_passed(connection, len(ages))
    there = set(range(len(ages)))
    for reached in (read_upto, *moves):
        stands(connection, ACCELEROMETER_WINDOW.name, ACCELEROMETER_RAW, min(reached, len(ages)))
        dropped(connection, ACCELEROMETER_RAW, database_url, tmp_path)
        found = connection.execute("SELECT kafka_offset FROM device_sensor_accelerometer_raw").fetchall()
        left = {offset for (offset,) in found}
        unread = {n for n in there if n >= reached}
        young = {n for n in there if ages[n] <= 7}
        assert unread | young <= left
        blocked = min((ages[n] for n in unread), default=0)
        oldest_unread = max((ages[n] for n in unread if ages[n] > 7), default=0)
        assert left == young | {n for n in there if 7 < ages[n] <= oldest_unread}, blocked
        there = left


def test_the_contracts_lengths_are_learnt_once(connection: Connection) -> None:
    first = read(connection).known_since
    assert set(first) == {AUDIO_RAW.name, ACCELEROMETER_RAW.name}
    assert read(connection).known_since == first
    connection.execute("UPDATE retention_defaults SET kept = '9 days', known_since = '2020-01-01'")
    assert all(at.year > 2020 for at in read(connection).known_since.values())
