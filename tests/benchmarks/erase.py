"""One device erased from a small store, and from one with fifty devices: the work is that of its own rows."""

import tempfile
import time
from datetime import timedelta
from pathlib import Path

import psycopg

from loom_contracts.topics.device import ACCELEROMETER_RAW, GPS_RAW
from loom_platform.blobs import open_blobs
from loom_platform.erasure import run as erasure
from loom_platform.erasure.scope import Scope
from loom_platform.rollups import refresh
from loom_platform.settings import load_settings
from loom_platform.stream.api import StreamConfig
from tests.benchmarks.harness import Result, Servers

DEVICES = 50
SAMPLES = 40_000
FIXES = 4_000
_FILL = f"""
INSERT INTO {ACCELEROMETER_RAW.table.name} (timestamp, message_id, device_id, schema_version, x, y, z,
                                            kafka_partition, kafka_offset, received_at)
SELECT timestamptz '2026-11-01 12:00Z' + n * interval '1 second', gen_random_uuid(), 'device-' || d, '1.0', 1, 2, 9.8,
       0, n, timestamptz '2026-11-01 12:00Z'
FROM generate_series(1, %(samples)s) n, generate_series(1, %(devices)s) d;
"""
_FIXES = f"""
INSERT INTO {GPS_RAW.table.name} (timestamp, message_id, device_id, schema_version, latitude, longitude,
                                  kafka_partition, kafka_offset, received_at)
SELECT timestamptz '2026-11-01 12:00Z' + n * interval '10 seconds', gen_random_uuid(), 'device-' || d, '1.0', 52, 13, 0,
       n, timestamptz '2026-11-01 12:00Z'
FROM generate_series(1, %(fixes)s) n, generate_series(1, %(devices)s) d;
"""


def run(servers: Servers) -> list[Result]:
    """Seconds of both, and their ratio: each is the best of two devices' erasures."""
    alone, rows = _erased(servers, 2)
    among, again = _erased(servers, DEVICES)
    if rows != again:
        raise RuntimeError(f"{rows} and {again} rows were erased, not the same")
    return [
        Result("erasure: one device of two", alone, "s", note=f"{rows:,} rows"),
        Result("erasure: one device among 50", among, "s", note=f"of {DEVICES * (SAMPLES + FIXES):,} rows"),
        Result("erasure: rows", rows / among, "rows/s"),
        Result("erasure: among 50 / of two", among / alone, "x", 1.5, "at most"),
    ]


def _erased(servers: Servers, devices: int) -> tuple[float, int]:
    with servers.database() as url, tempfile.TemporaryDirectory() as folder:
        values = {"samples": SAMPLES, "fixes": FIXES, "devices": devices}
        with psycopg.connect(url, autocommit=True) as connection:
            for table in (ACCELEROMETER_RAW.table.name, GPS_RAW.table.name):
                connection.execute("SELECT loom_ensure_partitions(%s, '2026-11-01', '2026-11-03')", (table,))
            for fill in (_FILL, _FIXES):
                connection.execute(fill.encode(), values)
            connection.execute(
                "INSERT INTO rollup_marks (table_name, device_id, span) SELECT %s, 'device-' || d, "
                "tstzrange('2026-11-01 12:00Z', '2026-11-02 12:00Z') FROM generate_series(1, %s) d",
                (GPS_RAW.table.name, devices),
            )
            refresh(connection)
            connection.execute("VACUUM ANALYZE")
        settings = load_settings(database_url=url, data_dir=Path(folder))
        config = StreamConfig(url, servers.bootstrap_servers, "erase")
        blobs = open_blobs(settings)
        place = erasure.Place(settings, config, blobs, settle=timedelta(0))
        seconds, rows = [], 0
        for device in ("device-1", "device-2"):
            with erasure.connect(url) as connection:
                started = time.perf_counter()
                done = erasure.erase(connection, Scope((device,)), place, "bench")
                seconds.append(time.perf_counter() - started)
            rows = sum(done.erasure.counts.get(t.table.name, 0) for t in (ACCELEROMETER_RAW, GPS_RAW))
        blobs.close()
    return min(seconds), rows
