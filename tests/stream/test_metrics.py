"""What runs count for Prometheus: by the document's names, from run to run, however many there are at once."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from loom_ingest.database import Database
from loom_ingest.stream_metrics import StreamMetrics
from loom_platform.roles.limits import Role
from loom_platform.stream.metrics import LATENCY_SECONDS, Counts, Meters, Series, add
from tests.logins import login
from tests.stream.bench import Bench
from tests.stream.stages import LANDING, NUMBERS, number

LATENCY = Series("latency", "a-stage", "detected")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def ingest_url(bench: Bench) -> Iterator[str]:
    """The database as the ingest service's role, which may not read the engine's own tables."""
    with login(bench.owner_url, Role.INGEST) as url:
        yield url


def shown(url: str) -> Samples:
    """What a scraper is told."""

    async def read() -> str:
        database = Database(url, pool_size=1)
        await database.open()
        streams = StreamMetrics(database)
        try:
            await streams.refresh()
            return generate_latest(streams).decode()
        finally:
            await database.close()

    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(asyncio.run(read()))
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


@pytest.mark.integration
def test_short_runs_count_on_from_each_other(bench: Bench, ingest_url: str) -> None:
    bench.prepare(LANDING)
    bench.send(NUMBERS, *(number(n, n) for n in range(40)), b"no json")
    bench.drain(LANDING)
    bench.send(NUMBERS, number(50, 50))
    bench.drain(LANDING)
    bench.drain(LANDING)  # nothing to do, nothing to count

    found = shown(ingest_url)
    service = {"service": LANDING.name}
    assert of(found, "events_processed_total", **service, topic=NUMBERS.name) == 42
    assert of(found, "errors_total", **service, error_type="invalid") == 1
    batches = of(found, "batch_size_histogram_count", **service)
    assert batches == sum(report.batches for report in bench.reports)
    assert of(found, "batch_size_histogram_sum", **service) == 42
    assert of(found, "batch_size_histogram_bucket", **service, le="+Inf") == batches
    stage = service | {"stage": "raw"}
    assert of(found, "processing_latency_seconds_count", **stage) == 42
    assert of(found, "processing_latency_seconds_bucket", **stage, le="3600.0") == 42
    assert 0 < of(found, "processing_latency_seconds_sum", **stage) < 42 * 60
    labels = {frozenset(dict(labels)) - {"le"} for name, labels in found if name.startswith("processing_latency")}
    assert labels == {frozenset({"service", "stage"})}


@pytest.mark.integration
def test_what_a_database_that_was_away_missed_is_told_later(bench: Bench, ingest_url: str) -> None:
    meters = Meters("postgresql://nobody@127.0.0.1:1/nowhere")
    first, then = Counts(), Counts()
    first.add(Series("errors", "a-stage", "DependencyError"))
    then.add(Series("errors", "a-stage", "DependencyError"), 2)
    meters.add([first])
    meters._url = bench.config.database_url
    meters.add([then])
    meters.add([])
    assert of(shown(ingest_url), "errors_total", service="a-stage", error_type="DependencyError") == 3


@pytest.mark.integration
def test_other_buckets_begin_anew(bench: Bench, ingest_url: str) -> None:
    bench.execute(
        "INSERT INTO stream_metrics VALUES ('latency', 'a-stage', 'detected', '{1}', '{5, 5}', 100)",
    )
    counts = Counts()
    counts.measure(LATENCY, np.array([0.002, 7200.0]))
    for _ in range(2):
        with psycopg.connect(bench.config.database_url, autocommit=True) as connection:
            add(connection, counts)
    found = shown(ingest_url)
    labels = {"service": "a-stage", "stage": "detected"}
    assert of(found, "processing_latency_seconds_sum", **labels) == pytest.approx(2 * 7200.002)
    assert [of(found, "processing_latency_seconds_bucket", **labels, le=le) for le in ("0.005", "3600.0", "+Inf")] == [
        2,
        2,
        4,
    ]


def test_without_a_database_the_names_are_there_and_nobody_waits() -> None:
    text = generate_latest(StreamMetrics()).decode()
    for name, kind in (
        ("processing_latency_seconds", "histogram"),
        ("events_processed_total", "counter"),
        ("errors_total", "counter"),
        ("batch_size_histogram", "histogram"),
    ):
        assert f"# TYPE {name} {kind}" in text
    assert timedelta(seconds=LATENCY_SECONDS[-1]) == timedelta(hours=1)


@given(st.lists(st.floats(0, 10_000), max_size=50), st.integers(0, 50))
def test_parts_count_as_the_whole_does(values: list[float], cut: int) -> None:
    whole, left, right = Counts(), Counts(), Counts()
    whole.measure(LATENCY, np.array(values))
    left.measure(LATENCY, np.array(values[:cut]))
    right.measure(LATENCY, np.array(values[cut:]))
    left.include(right)
    counted = left.by_series[LATENCY]
    assert counted.counts.tolist() == whole.by_series[LATENCY].counts.tolist()
    assert counted.total == pytest.approx(whole.by_series[LATENCY].total)
    for bound, below in zip(LATENCY_SECONDS, np.cumsum(counted.counts), strict=False):
        assert below == sum(value <= bound for value in values)
