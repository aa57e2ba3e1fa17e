"""Bodies beside their rows, whatever stops the stage."""

import base64
import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from loom_contracts.payloads.audio import AudioChunk
from loom_contracts.topics.device import AUDIO_RAW
from loom_models.landing import landing_stage
from loom_models.stages.vad_filtered import SILERO_VAD
from loom_platform.blobs import Blobs, open_blobs
from loom_platform.stream.slices import SliceReader
from tests.stream.bench import NOW, Bench, eventually

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
LANDING = landing_stage(AUDIO_RAW)


def chunk(number: int) -> AudioChunk:
    return AudioChunk(
        device_id=f"phone-{number % 3}",
        timestamp=NOW + timedelta(seconds=number),
        chunk_data=base64.b64encode(b"sound %d" % number).decode(),
        sample_rate=16_000,
        channels=1,
        format="wav",
        duration_ms=1_000,
    )


@pytest.fixture
def blobs(bench: Bench, tmp_path: Path) -> Blobs:
    bench.create(AUDIO_RAW, LANDING.error_topic)
    found = open_blobs(str(tmp_path / "blobs"), bench.config.database_url)
    bench.config = replace(bench.config, blobs=found)
    return found


def stored(bench: Bench, blobs: Blobs) -> list[bytes]:
    """The bodies of all rows, in order."""
    return [blobs.get(ref) for (ref,) in bench.rows("SELECT audio_ref FROM device_audio_raw ORDER BY timestamp")]


def files(root: Path) -> int:
    return sum(1 for p in root.rglob("*") if p.is_file())


@pytest.mark.fault
def test_a_stage_that_is_killed_between_body_and_commit_leaves_nothing_behind(
    bench: Bench, blobs: Blobs, tmp_path: Path
) -> None:
    bench.send(AUDIO_RAW, *(chunk(n) for n in range(12)))
    config = bench.config
    told = {
        "database_url": config.database_url,
        "bootstrap_servers": config.bootstrap_servers,
        "topic_prefix": config.topic_prefix,
    }
    command = [sys.executable, "-m", "tests.stream.bodies_process", json.dumps(told), blobs.url, "before-commit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert files(tmp_path / "blobs") > 0
    assert bench.rows("SELECT 1 FROM device_audio_raw") == []
    with psycopg.connect(bench.owner_url, autocommit=True) as connection:
        assert blobs.sweep(connection, older_than=timedelta(0)).orphans > 0
        assert files(tmp_path / "blobs") == 0
        bench.drain(LANDING)
        assert stored(bench, blobs) == [b"sound %d" % n for n in range(12)]
        assert blobs.sweep(connection, older_than=timedelta(0)).orphans == 0
    assert files(tmp_path / "blobs") == 12


def test_a_store_that_is_away_is_waited_for(
    bench: Bench, blobs: Blobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "blobs"
    (root / "audio").write_text("a file where a directory should be")
    bench.send(AUDIO_RAW, *(chunk(n) for n in range(3)))
    with bench.start(LANDING, idle_timeout=timedelta(seconds=60)) as running:
        eventually(lambda: caplog.text.count("did not take") >= 2)
        assert running.alive()
        assert bench.rows("SELECT 1 FROM processing_errors") == []
        assert bench.offsets(LANDING) in ({}, {0: 0})
        (root / "audio").unlink()
        eventually(lambda: bench.done(LANDING))
    assert stored(bench, blobs) == [b"sound %d" % n for n in range(3)]
    assert bench.rows("SELECT 1 FROM processing_errors") == []


def test_a_recompute_goes_on_without_the_bodies_that_are_lost(bench: Bench, blobs: Blobs, tmp_path: Path) -> None:
    chunks = [chunk(3 * n) for n in range(5)]
    bench.send(AUDIO_RAW, *chunks)
    bench.drain(LANDING)
    refs = [ref for (ref,) in bench.rows("SELECT audio_ref FROM device_audio_raw ORDER BY timestamp")]
    (tmp_path / "blobs" / refs[1]).unlink()
    (tmp_path / "blobs" / refs[3]).write_bytes(b"altered")
    with SliceReader(SILERO_VAD, bench.config.database_url, blobs) as reader:
        piece = reader.read(NOW.date(), "phone-0", None, 100)
    assert piece is not None
    read = [base64.b64decode(text) for text in piece.batch["chunk_data"]]
    assert read == [b"sound 0", b"sound 6", b"sound 12"]
    assert piece.batch["position"].to_list() == [0, 1, 2]
    lost, altered = str(chunks[1].message_id), str(chunks[3].message_id)
    assert piece.unreadable.keys() == {lost, altered}
    assert refs[1] in piece.unreadable[lost]
    assert "altered or torn" in piece.unreadable[altered]
    assert piece.last
