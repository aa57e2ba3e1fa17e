"""How often a run tells Dagster what it has done, and that nothing is lost in between."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_platform.orchestration.reporting import Reporter
from loom_platform.stream.api import StageReport

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY, YESTERDAY = date(2026, 11, 20), date(2026, 11, 19)


def report(seconds: float, rows: dict[date, int], topic: Any = GPS_RAW, **changes: Any) -> StageReport:
    values: dict[str, Any] = {
        "stage": f"landing-{topic.name}",
        "version": "1",
        "sink": topic,
        "rows_by_day": rows,
        "offsets": {0: (int(seconds), int(seconds) + 10)},
        "latency_p50_seconds": 0.02,
        "latency_p95_seconds": 0.05,
        "latency_p99_seconds": 0.09,
        "records": max(1, sum(rows.values())),
        "dead_letters": 1,
        "batches": 2,
        "at": START + timedelta(seconds=seconds),
    }
    return StageReport(**values | changes)


def value(event: dg.AssetMaterialization, key: str) -> Any:
    return event.metadata[key].value


class Told:
    def __init__(self) -> None:
        self.events: list[dg.AssetMaterialization] = []
        self.away = False

    def __call__(self, events: Sequence[dg.AssetMaterialization]) -> None:
        if self.away:
            raise ConnectionError
        self.events += events


def test_an_hour_of_full_work_is_a_handful_of_events_and_no_row_is_lost() -> None:
    told = Told()
    reporter = Reporter(told)
    for n in range(1, 241):
        reporter.on_report(report(15.0 * n, {TODAY: 100}))
    reporter.flush()
    assert len(told.events) <= 6
    assert sum(value(e, "rows") for e in told.events) == 24_000
    assert sum(value(e, "dead_letters") for e in told.events) == 240
    assert value(told.events[0], "rows") == 100


def test_each_day_is_an_event_of_its_own_with_numbers_to_plot() -> None:
    told = Told()
    Reporter(told).on_report(report(15, {TODAY: 7, YESTERDAY: 3}))
    assert [(e.asset_key, e.partition, value(e, "rows")) for e in told.events] == [
        (dg.AssetKey(["device", "sensor", "gps", "raw"]), "2026-11-19", 3),
        (dg.AssetKey(["device", "sensor", "gps", "raw"]), "2026-11-20", 7),
    ]
    numbers = {k: v.value for k, v in told.events[0].metadata.items()}
    assert numbers == {
        "rows": 3,
        "records": 10,
        "batches": 2,
        "dead_letters": 1,
        "version": "1",
        "offsets": "0: 15-25",
        "next_offset": 25,
        "latency_p50_seconds": 0.02,
        "latency_p95_seconds": 0.05,
        "latency_p99_seconds": 0.09,
    }


def test_each_day_links_to_where_its_newest_row_came_from() -> None:
    told = Told()
    Reporter(told, api_url="http://127.0.0.1:8000").on_report(report(15, {TODAY: 7}))
    link = told.events[0].metadata["explain"]
    assert isinstance(link, dg.UrlMetadataValue)
    assert link.value == "http://127.0.0.1:8000/lineage/latest?topic=device.sensor.gps.raw&day=2026-11-20"


def test_a_stage_that_went_quiet_is_told_when_another_reports() -> None:
    told = Told()
    reporter = Reporter(told)
    reporter.on_report(report(15, {TODAY: 1}))
    reporter.on_report(report(20, {TODAY: 2}))
    reporter.on_report(report(90, {TODAY: 9}, POWER_RAW))
    assert [value(e, "rows") for e in told.events] == [1, 9, 2] or [value(e, "rows") for e in told.events] == [1, 2, 9]


def test_a_new_day_is_told_at_once() -> None:
    told = Told()
    reporter = Reporter(told)
    reporter.on_report(report(15, {YESTERDAY: 1}))
    reporter.on_report(report(20, {YESTERDAY: 2}))
    reporter.on_report(report(25, {YESTERDAY: 4, TODAY: 8}))
    assert [(e.partition, value(e, "rows")) for e in told.events] == [
        ("2026-11-19", 1),
        ("2026-11-19", 6),
        ("2026-11-20", 8),
    ]


def test_offsets_and_latencies_of_an_interval_are_joined() -> None:
    told = Told()
    reporter = Reporter(told)
    reporter.on_report(report(15, {TODAY: 1}))
    reporter.on_report(report(20, {TODAY: 30}, latency_p50_seconds=0.01, latency_p95_seconds=0.2))
    reporter.on_report(report(25, {TODAY: 10}, latency_p50_seconds=0.05, latency_p95_seconds=0.1))
    reporter.flush()
    last = told.events[-1]
    assert (value(last, "offsets"), value(last, "next_offset")) == ("0: 20-35", 35)
    assert value(last, "latency_p50_seconds") == pytest.approx(0.02)
    assert value(last, "latency_p95_seconds") == 0.2


def test_what_could_not_be_told_is_kept() -> None:
    told = Told()
    reporter = Reporter(told)
    told.away = True
    with pytest.raises(ConnectionError):
        reporter.on_report(report(15, {TODAY: 1}))
    told.away = False
    reporter.on_report(report(30, {TODAY: 2}))
    assert [value(e, "rows") for e in told.events] == [3]


def test_without_rows_there_is_nothing_to_materialize() -> None:
    told = Told()
    reporter = Reporter(told)
    reporter.on_report(report(15, {}))
    reporter.flush()
    assert told.events == []
