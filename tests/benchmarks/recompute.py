"""A day of accelerometer windows computed again: one device at 50 Hz, 4.32 million samples, beside a live stream.

The recompute has a process of its own, which with its database connections and the whole server is held to one core, so
that "on one core" means everything that it takes. Its memory is the process's peak. Then it runs once more, not pinned,
while the same stage streams another device's samples live, and the latency of those is told with and without.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg

from loom_contracts.topics.device import ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED
from loom_models.landing import landing_stage
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_platform.stream.api import StageReport, StreamConfig, recompute, run_stream
from loom_platform.stream.writer import Writer
from tests.benchmarks.harness import Result, Servers, accelerometer

HERTZ = 50
SAMPLES = 24 * 3600 * HERTZ
DAY = datetime.now(UTC).date() - timedelta(days=2)
LIVE_SECONDS = 30
_TABLE = ACCELEROMETER_RAW.table.name


def run(servers: Servers) -> list[Result]:
    """Seconds, memory, and the live latency beside it."""
    with servers.database() as url:
        fill(url, DAY, SAMPLES)
        with _pinned(servers, {max(os.sched_getaffinity(0))}):
            done = _in_a_process(url, DAY)
        windows = _one(url, f"SELECT count(*) FROM {ACCELEROMETER_WINDOWED.table.name}_current")
        if done["records"] != SAMPLES or windows != 24 * 3600 // 5:
            raise RuntimeError(f"{done} and {windows} windows are not those of {SAMPLES} samples")
        alone = _live(servers, url, "alone", None)
        beside = _live(servers, url, "beside", DAY)
    return [
        Result("recompute: a day of 4.32 M samples, all of it on one core", done["seconds"], "s", 60, "at most"),
        Result("recompute: of real time", 86_400 / done["seconds"], "x", 1_440),
        Result("recompute: memory of its process", done["rss_mb"], "MB", 1_000, "at most"),
        Result("recompute: live p95 of the same stage, alone", alone, "s"),
        Result("recompute: live p95 of the same stage, beside it", beside, "s", 1.0, "at most", note="the stage's SLA"),
    ]


def fill(url: str, day: date, samples: int, device: str = "phone-001") -> None:
    """Land `samples` of `device` at 50 Hz from the start of `day`, as the engine does."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    chance = np.random.default_rng(1)
    with psycopg.connect(url, autocommit=True) as connection:
        writer = Writer(connection)
        for first in range(0, samples, 100_000):
            n = np.arange(first, min(first + 100_000, samples))
            random = chance.bytes(16 * n.size)
            ids = pl.Series([random[i : i + 16] for i in range(0, len(random), 16)]).bin.encode("hex")
            at = pl.Series(n * (1_000_000 // HERTZ)).cast(pl.Duration("us")) + start
            frame = pl.DataFrame(
                {
                    "timestamp": at,
                    "message_id": ids,
                    "device_id": device,
                    "schema_version": "1.0",
                    "trace_id": "0af7651916cd43dd8448eb211c80319c",
                    "span_id": "b7ad6b7169203331",
                    "x": np.sin(n / 7) + chance.normal(0, 0.1, n.size),
                    "y": np.cos(n / 11),
                    "z": 9.81,
                    "kafka_partition": 0,
                    "kafka_offset": n,
                    "received_at": at,
                }
            )
            with connection.transaction():
                writer.write(ACCELEROMETER_RAW.table, frame)
        connection.execute(f"VACUUM ANALYZE {_TABLE}".encode())


def _in_a_process(url: str, day: date) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.recompute", url, day.isoformat()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(url: str, day: date) -> None:
    """Recompute `day`, and print what it took as JSON."""
    started = time.perf_counter()
    config = StreamConfig(url, "127.0.0.1:1")
    summary = recompute(
        ACCELEROMETER_WINDOW, day, day, config, on_report=lambda _: None, stop=threading.Event(), anew=True
    )
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text().splitlines()
    rss = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "rss_mb": rss, "records": summary.records}))  # noqa: T201


@contextmanager
def _pinned(servers: Servers, cores: set[int]) -> Iterator[None]:
    """Hold this process, what it starts, and the database server to `cores`."""
    before = os.sched_getaffinity(0)
    folder = _one(servers.postgres.url("postgres"), "SELECT current_setting('data_directory')")
    postmaster = int(Path(folder, "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    served = [postmaster, *map(int, children.split())]
    try:
        for pid in [0, *served]:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(pid, cores)
        yield
    finally:
        for pid in [0, *served]:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(pid, before)


def _live(servers: Servers, url: str, prefix: str, day: date | None) -> float:
    """p95 from acceptance to commit of another device's samples, sent at 50 Hz, while `day` is computed again."""
    landing = landing_stage(ACCELEROMETER_RAW)
    for topic in (ACCELEROMETER_RAW, ACCELEROMETER_WINDOWED, landing.error_topic, ACCELEROMETER_WINDOW.error_topic):
        servers.topic(topic, prefix)
    stop, reports = threading.Event(), list[StageReport]()
    config = StreamConfig(
        url,
        servers.bootstrap_servers,
        prefix,
        idle_timeout=timedelta(minutes=5),
        report_interval=timedelta(seconds=5),
    )
    stream = threading.Thread(
        target=run_stream,
        args=([landing, ACCELEROMETER_WINDOW], config),
        kwargs={"on_report": reports.append, "stop": stop},
    )
    stream.start()
    again = threading.Thread(target=_in_a_process, args=(url, day)) if day is not None else None
    try:
        if again is not None:
            again.start()
        name = ACCELEROMETER_RAW.on_broker(prefix)
        until = time.monotonic() + LIVE_SECONDS
        while time.monotonic() < until:
            servers.fill(name, accelerometer(5, "phone-live"), "phone-live")
            time.sleep(0.1)
    finally:
        stop.set()
        stream.join()
        if again is not None:
            again.join()
    # The first report has the start of the run in it.
    mine = [r.latency_p95_seconds for r in reports if r.stage == ACCELEROMETER_WINDOW.name and r.latency_p95_seconds]
    return statistics.median(mine[1:])


def _one(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise RuntimeError(f"no answer to {query}")
    return row[0]


if __name__ == "__main__":
    main(sys.argv[1], date.fromisoformat(sys.argv[2]))
