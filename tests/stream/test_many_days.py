"""A platform that has been kept for long: what is live reads and locks the days around it, and not all that there are.

PostgreSQL plans for, and locks, every partition that a query does not rule out by values known when it is planned. With
a year of days that made a batch last for seconds, and took more locks than a server has.
"""

import threading
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from loom_contracts.topic import Topic
from loom_models.flows import FLOWS
from loom_models.stage import Stage
from loom_platform.demo.events import DemoConfig, make_day
from tests.demo.playing import records
from tests.stream.bench import Bench

pytestmark = pytest.mark.integration

DAYS = 20
MOST = 12
"""Days that a batch of half a simulated day may touch of one table: its own, and how far a stage looks around."""
_MAKE = """
SELECT loom_ensure_partitions(%s, d::date, d::date)
FROM generate_series(%s::date - 4 - %s, %s::date - 5, interval '1 day') d
"""
_LOCKED = """
SELECT a.application_name, p.inhparent::regclass::text, count(DISTINCT c.oid)
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
JOIN pg_inherits p ON p.inhrelid = c.oid
WHERE c.relispartition AND c.relkind = 'r' AND a.application_name LIKE 'loom %%' AND a.datname = current_database()
GROUP BY 1, 2
"""
STAGES: tuple[Stage, ...] = tuple(
    {
        stage.name: stage
        for flow in FLOWS
        if flow.name != "audio-processing" and any(not s.landing for s in flow.stages)
        for stage in flow.stages
    }.values()
)


def tables() -> set[str]:
    return {sink.table.name for stage in STAGES for sink in stage.sinks}


def test_a_batch_touches_the_days_around_it(own_bench: Bench) -> None:
    bench, today = own_bench, datetime.now(UTC)
    if bench.rows("SELECT 1 FROM timeseries_tables WHERE kind = 'hypertable'"):
        pytest.skip("on TimescaleDB there are chunks, and no partitions")
    for table in sorted(tables()):
        bench.execute(_MAKE, table, today.date(), DAYS, today.date())
    bench.prepare(*STAGES)
    began = today - timedelta(hours=14)
    config = DemoConfig(seconds=43_200, rate=0.01, device="phone-001", seed=1, audio=False, gps_folder=None)
    _, events = make_day(config)
    sources: set[Topic] = {stage.source for stage in STAGES if stage.landing}
    for topic, value in records(events, began, config, sources):
        bench.send(topic, value)
    worst = watched(bench, STAGES)
    assert worst, "no batch was seen"
    far = sorted(f"{stage} touches {days} days of {table}" for (stage, table), days in worst.items() if days > MOST)
    assert not far, "\n".join(far)


def watched(bench: Bench, stages: tuple[Stage, ...]) -> dict[tuple[str, str], int]:
    """The most days of each (stage, table) that a transaction had locked when it was about to commit."""
    worst: dict[tuple[str, str], int] = defaultdict(int)
    guard = threading.Lock()
    with psycopg.connect(bench.owner_url, autocommit=True) as connection:

        def look(point: str) -> None:
            if point != "before-commit":
                return
            with guard:
                found: list[tuple[Any, ...]] = connection.execute(_LOCKED).fetchall()
                for who, table, days in found:
                    worst[who.removeprefix("loom "), table] = max(worst[who.removeprefix("loom "), table], days)

        bench.config = replace(bench.config, on_point=look)
        bench.run(*stages, idle_timeout=timedelta(seconds=5))
    return dict(worst)
