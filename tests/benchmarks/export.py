"""An export of two million accelerometer rows, and its import, each in a process of its own to tell its memory."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from loom_contracts.topics.device import ACCELEROMETER_RAW
from loom_platform.blobs import open_blobs
from loom_platform.export.load import load
from loom_platform.export.selection import Selection
from loom_platform.export.write import export
from tests.benchmarks.harness import Result, Servers, timed

ROWS = 2_000_000
TABLE = ACCELEROMETER_RAW.table.name
_FILL = f"""
INSERT INTO {TABLE} (timestamp, message_id, device_id, schema_version, trace_id, span_id, x, y, z, kafka_partition,
                     kafka_offset, received_at)
SELECT t, gen_random_uuid(), 'phone-001', '1.0', replace(gen_random_uuid()::text, '-', ''),
       left(replace(gen_random_uuid()::text, '-', ''), 16), sin(n / 7.0), cos(n / 11.0), 9.81, 0, n,
       t + interval '20 ms'
FROM (SELECT n, timestamptz '2026-11-01 00:00Z' + n * interval '20 ms' AS t FROM generate_series(1, %s) AS n) AS s
"""


def run(servers: Servers) -> list[Result]:
    """Rows per second of an export and of an import of the same rows, the server's share included."""
    with servers.database() as url, servers.database() as empty, tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT loom_ensure_partitions(%s, '2026-11-01', '2026-11-02')", (TABLE,))
            connection.execute(_FILL, (ROWS,))
            connection.execute("VACUUM ANALYZE")
            with (
                timed() as copied,
                connection.cursor().copy(f"COPY (SELECT * FROM {TABLE}) TO STDOUT (FORMAT BINARY)".encode()) as copy,
            ):
                for _ in copy:
                    pass
        few = _child("export", url, f"{folder}/few", "2026-11-01T01:00")
        all_of_it = _child("export", url, f"{folder}/all")
        back = _child("import", empty, f"{folder}/all")
        size = sum(p.stat().st_size for p in Path(f"{folder}/all").rglob("*.parquet")) / ROWS
    exported = ROWS / all_of_it["seconds"]
    note = f"of {few['rows']:,} rows: {few['megabytes']:.0f} MB"
    return [
        Result("export: accelerometer rows", exported, "rows/s", 100_000, note=f"{size:.0f} bytes a row in Parquet"),
        Result("export: against COPY to nowhere", exported / (ROWS / copied[0]), "x"),
        Result("export: peak memory", all_of_it["megabytes"], "MB", 512, "at most", note),
        Result("import: the same rows", ROWS / back["seconds"], "rows/s", note="checksums, indexes, roll-up marks"),
        Result("import: peak memory", back["megabytes"], "MB", 512, "at most"),
    ]


def _child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.export", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _main(task: str, url: str, folder: str, until: str = "") -> None:
    from datetime import UTC, datetime

    blobs = open_blobs("memory://")
    began = time.perf_counter()
    if task == "export":
        wanted = Selection(until=datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None)
        rows = export(url, blobs, Path(folder), wanted).rows
    else:
        done = load(url, blobs, Path(folder), after=lambda _: 0)
        rows = sum(done.new.values())
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"rows": rows, "seconds": seconds, "megabytes": peak}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
