"""Backlog drain: accelerometer records that wait in Kafka, end to end into the table, against other ways to do it."""

import json
import threading
import time
from datetime import timedelta

import pgpq
import polars as pl
import psycopg
from confluent_kafka import Consumer, TopicPartition

from loom_contracts.topics.device import ACCELEROMETER_RAW
from loom_models.landing import landing_stage
from loom_platform.stream.api import StageReport, StreamConfig, run_stream
from tests.benchmarks.harness import Result, Servers, accelerometer

RECORDS = 400_000
NAIVE_RECORDS = 3_000
_FIELDS = ("timestamp", "message_id", "device_id", "schema_version", "trace_id", "span_id", "x", "y", "z")
_COLUMNS = ", ".join(_FIELDS)
_WIRE = {n: pl.Float64() if n in "xyz" else pl.String() for n in _FIELDS}


def run(servers: Servers) -> list[Result]:
    """Rows per second of the engine, of a bare loop, and of a naive consumer."""
    topic = servers.topic(ACCELEROMETER_RAW, "drain")
    servers.fill(topic, accelerometer(RECORDS), "phone-001")
    engine, bare, staged, naive = [], [], [], []
    for _ in range(3):
        with servers.database() as url:
            engine.append(_engine(servers, url))
        with servers.database() as url:
            bare.append(_bare(servers, url, topic, insert=True))
        with servers.database() as url:
            staged.append(_bare(servers, url, topic, insert=False))
    with servers.database() as url:
        naive.append(_naive(servers, url, topic))
    best = {name: max(values) for name, values in (("engine", engine), ("bare", bare), ("staged", staged))}
    return [
        Result("drain: engine into the table", best["engine"], "rows/s", 30_000),
        Result("drain: bare consume + staging COPY + INSERT", best["bare"], "rows/s"),
        Result("drain: bare consume + staging COPY alone, nothing in the table", best["staged"], "rows/s"),
        Result("drain: engine / bare loop into the table", best["engine"] / best["bare"], "x", 0.6),
        Result("drain: engine / bare loop that stops at staging", best["engine"] / best["staged"], "x", 0.6),
        Result("drain: naive consumer, one message, one INSERT", naive[0], "rows/s"),
        Result("drain: engine / naive", best["engine"] / naive[0], "x"),
    ]


def _engine(servers: Servers, url: str) -> float:
    """Rows per second between the first records, which both ways wait for, and the last commit."""
    stop = threading.Event()
    polled: list[float] = []
    committed: list[float] = []

    def on_point(name: str) -> None:
        if name == "polled":
            polled.append(time.perf_counter())
        elif name == "after-commit":
            committed.append(time.perf_counter())

    config = StreamConfig(
        url,
        servers.bootstrap_servers,
        "drain",
        idle_timeout=timedelta(minutes=5),
        report_interval=timedelta(seconds=0.05),
        on_point=on_point,
    )
    seen = 0

    def on_report(report: StageReport) -> None:
        nonlocal seen
        seen += report.rows
        if seen >= RECORDS:
            stop.set()

    run_stream([landing_stage(ACCELEROMETER_RAW)], config, on_report=on_report, stop=stop)
    elapsed = committed[-1] - polled[0]
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM device_sensor_accelerometer_raw").fetchone()
    if row is None or row[0] != RECORDS:
        raise RuntimeError(f"the engine stored {row}, not {RECORDS}")
    return RECORDS / elapsed


def _consumer(servers: Servers, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": servers.bootstrap_servers,
            "group.id": "bare",
            "enable.auto.commit": False,
            # The engine's own setting: with the default the bare loop would wait a second whenever its queue was full.
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


def _bare(servers: Servers, url: str, topic: str, *, insert: bool) -> float:
    """Consume, decode, COPY into staging and (with `insert`) insert: no offsets, no checks, no dead letters."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(
            "CREATE TEMP TABLE staging (timestamp timestamptz, message_id uuid, device_id text, schema_version text, "
            "trace_id text, span_id text, x float8, y float8, z float8)"
        )
        connection.execute(
            "SELECT loom_ensure_partitions('device_sensor_accelerometer_raw', current_date - 2, current_date + 1)"
        )
        consumer = _consumer(servers, topic)
        started = 0.0
        done = 0
        while done < RECORDS:
            messages = consumer.consume(10_000, 1.0)
            if not messages:
                continue
            started = started or time.perf_counter()
            frame = pl.read_ndjson(b"\n".join([m.value() or b"" for m in messages]), schema=_WIRE)
            frame = frame.select(
                pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us"),
                pl.col("message_id").str.replace_all("-", "", literal=True).str.decode("hex"),
                *_FIELDS[2:],
            )
            arrow = frame.to_arrow()
            encoder = pgpq.ArrowToPostgresBinaryEncoder(arrow.schema)
            with connection.transaction():
                with connection.cursor().copy(f"COPY staging ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                    copy.write(encoder.write_header())
                    for batch in arrow.to_batches():
                        copy.write(encoder.write_batch(batch))
                    copy.write(encoder.finish())
                if insert:
                    connection.execute(
                        f"INSERT INTO device_sensor_accelerometer_raw ({_COLUMNS}, kafka_partition, kafka_offset, "
                        f"received_at) SELECT {_COLUMNS}, 0, 0, now() FROM staging ON CONFLICT DO NOTHING"
                    )
                connection.execute("TRUNCATE staging")
            done += frame.height
        elapsed = time.perf_counter() - started
        consumer.close()
    return done / elapsed


def _naive(servers: Servers, url: str, topic: str) -> float:
    """One message, one INSERT, one commit."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT loom_ensure_partitions('device_sensor_accelerometer_raw', current_date - 2, current_date + 1)"
        )
        consumer = _consumer(servers, topic)
        done, started = 0, 0.0
        while done < NAIVE_RECORDS:
            message = consumer.poll(1.0)
            if message is None:
                continue
            started = started or time.perf_counter()
            row = json.loads(message.value() or b"")
            connection.execute(
                f"INSERT INTO device_sensor_accelerometer_raw ({_COLUMNS}, kafka_partition, kafka_offset, received_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 0, %s, now()) ON CONFLICT DO NOTHING",
                (*(row[n] for n in _FIELDS), message.offset()),
            )
            consumer.commit(message=message, asynchronous=True)
            done += 1
        elapsed = time.perf_counter() - started
        consumer.close()
    return done / elapsed
