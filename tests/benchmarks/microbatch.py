"""The other way to do it on Dagster: a run for each micro-batch, with the same decoding and writing inside.

It is flattered: the runs are executed in this process, so the 1.7 s that the launcher takes to start one are left out.
"""

import json
import tempfile
import time
from pathlib import Path

import dagster as dg

from loom_contracts.topics.device import ACCELEROMETER_RAW
from loom_models.landing import landing_stage
from loom_platform.stream import offsets
from loom_platform.stream.apply import no_timers
from loom_platform.stream.batch import BatchRunner
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.database import connect
from loom_platform.stream.decode import decode
from loom_platform.stream.sink import Sink
from loom_platform.stream.source import Source
from tests.benchmarks.harness import Result, Servers, accelerometer

MICRO_BATCH = 500
RUNS = 10


def run(servers: Servers) -> list[Result]:
    """Rows per second with one Dagster run per micro-batch of 500 records."""
    stage = landing_stage(ACCELEROMETER_RAW)
    topic = servers.topic(ACCELEROMETER_RAW, "micro")
    servers.fill(topic, accelerometer(MICRO_BATCH * (RUNS + 1)), "phone-001")
    with servers.database() as url, servers.database() as storage, tempfile.TemporaryDirectory() as home:
        config = StreamConfig(url, servers.bootstrap_servers, "micro")
        postgres = {"postgres_url": storage.replace("postgresql://", "postgresql+psycopg2://")}
        (Path(home) / "dagster.yaml").write_text(
            json.dumps({"storage": {"postgres": postgres}, "telemetry": {"enabled": False}})
        )
        policy = stage.policy

        @dg.asset
        def micro_batch() -> None:
            with connect(config.database_url, "micro") as connection:
                source = Source(config.bootstrap_servers, topic, "micro")
                sink = Sink(config.bootstrap_servers, config.topic_prefix)
                state = source.describe()
                positions = offsets.open_positions(connection, stage.name, topic, state)
                source.assign(positions)
                records = source.poll(policy, MICRO_BATCH, 5.0)
                spans = {p: (positions[p], end) for p, (_, end) in records.spans.items()}
                runner = BatchRunner(stage, config, connection, sink, state.topic_id)
                runner.run(records, decode(records, ACCELEROMETER_RAW.payload), spans, no_timers())
                sink.close()
                source.close()

        with dg.DagsterInstance.from_config(home) as instance:
            dg.materialize([micro_batch], instance=instance)
            started = time.perf_counter()
            for _ in range(RUNS):
                dg.materialize([micro_batch], instance=instance)
            elapsed = time.perf_counter() - started
    note = f"{elapsed / RUNS:.2f} s a run of {MICRO_BATCH} records, without starting a process"
    return [Result("drain: a Dagster run for each micro-batch", MICRO_BATCH * RUNS / elapsed, "rows/s", note=note)]
