"""More than devices may send: the others, the memory and the probes do not notice."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect

from tests.ingest.limits.flood import PER_SECOND, SETTINGS, flood
from tests.ingest.limits.raw import NOBODY
from tests.ingest.server import LiveServer, live_server


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(NOBODY, spool_dir=tmp_path_factory.mktemp("spool"), log_level="WARNING", **SETTINGS) as server:
        yield server


def test_a_flood(limited: LiveServer) -> None:
    seen = flood(limited.port, limited.process.pid)
    assert seen["other"] == {}
    assert seen["limited"] > 0.6 * seen["sent"]
    assert seen["complete"] == seen["limited"]
    assert seen["accepted"] > 0
    assert seen["polite_accepted"] == seen["polite_sent"] > 0
    assert seen["health_answered"] == seen["health_sent"] > 0
    assert seen["health_max_ms"] < 1_000
    assert seen["resident_peak_mb"] <= 300


async def test_a_stream_over_its_rate(limited: LiveServer) -> None:
    chunk = {"chunk_data": "UklGRg==", "sample_rate": 16_000, "channels": 1, "format": "wav", "duration_ms": 100}
    text = json.dumps({"message_type": "audio_chunk", "data": chunk})
    loop = asyncio.get_running_loop()
    async with connect(f"ws://127.0.0.1:{limited.port}/audio/stream/microphone-001") as socket:
        while True:
            await socket.send(text)
            refused = json.loads(await asyncio.wait_for(socket.recv(), 10))
            if refused["status"] == "error":
                break
        began = loop.time()
        await socket.send(text)
        assert json.loads(await asyncio.wait_for(socket.recv(), 10))["status"] == "success"
    assert (refused["code"], refused["retry_after_seconds"]) == ("RATE_LIMITED", 1)
    assert refused["details"]["burst_size"] == PER_SECOND
    # The stream was not read before there was room for the next chunk.
    assert loop.time() - began > 0.8
