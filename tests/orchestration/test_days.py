"""The datasets of the person's days: when each is brought up to date, and what a run tells of it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from loom_contracts.topic import Topic
from loom_contracts.topics.device import CHARGING_DETECTED
from loom_contracts.topics.location import GPS_CLEANED, TRIP_DETECTED, VISIT_DETECTED
from loom_platform.days.catalogue import DATASETS
from loom_platform.orchestration.datasets import kept_up_to_date
from loom_platform.orchestration.days import days_assets, key_of
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import asset_key
from loom_platform.settings import load_settings
from tests.days.test_compute import DAY, at, fill, put

NOW = datetime.now(UTC).replace(hour=9, minute=1, second=0, microsecond=0)
TODAY, YESTERDAY, BEFORE, EARLIER = ((NOW - timedelta(days=n)).date().isoformat() for n in range(4))
KEYS = [key_of(d) for d in DATASETS]
PERSON_DAYS = dg.AssetKey("person_days")


class Days:
    """A Dagster of one test, whose clock is given."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.defs = build_defs()
        self._cursor: object = None

    def happened(self, source: Topic | dg.AssetKey, *days: str) -> None:
        key = source if isinstance(source, dg.AssetKey) else asset_key(source)
        for day in days:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))

    def asked(self, minute: int, *, tells: bool = True) -> dict[str, set[str]]:
        """What is asked for at 09:`minute`, by dataset; it is done then, and told of when it `tells`."""
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            asset_selection=dg.AssetSelection.assets(*KEYS),
            evaluation_time=NOW.replace(minute=minute),
            cursor=self._cursor,  # type: ignore[arg-type]
        )
        self._cursor = result.cursor
        asked = {k: {d for d in result.get_requested_partitions(k) if d is not None} for k in KEYS}
        for key, days in asked.items():
            if tells:
                self.happened(key, *days)
        return {k.path[0]: days for k, days in asked.items() if days}


@pytest.fixture
def days() -> Days:
    return Days()


def test_late_data_bring_their_days_up_to_date(days: Days) -> None:
    days.happened(GPS_CLEANED, TODAY, YESTERDAY, BEFORE)
    assert set(days.asked(1)) == {"person_days", "visits_daily", "trips_daily", "sleep_estimate_daily", "day_timeline"}
    # a day of which anything is known has all datasets
    rest = days.asked(3)
    assert set(rest) == {"activity_minutes_daily", "app_usage_daily", "screen_time_daily", "charging_daily"}
    assert all({TODAY, YESTERDAY, BEFORE} <= asked for asked in rest.values())
    days.asked(16)
    days.happened(CHARGING_DETECTED, BEFORE)  # late
    assert days.asked(17) == {}
    due = days.asked(30, tells=False)
    assert due == {n: {YESTERDAY, BEFORE, EARLIER} for n in ("charging_daily", "sleep_estimate_daily", "day_timeline")}
    # they came out as they were, so nothing was told, and nothing is asked for again
    assert days.asked(45) == {}


def test_a_day_that_begins_at_another_time_is_told_anew_by_all(days: Days) -> None:
    days.happened(GPS_CLEANED, YESTERDAY)
    days.asked(1)
    days.asked(3)
    days.asked(16)
    days.happened(PERSON_DAYS, YESTERDAY)
    assert days.asked(30) == {k.path[0]: {YESTERDAY} for k in KEYS if k != PERSON_DAYS}
    # a visit is told again in the days that it goes on in
    days.happened(VISIT_DETECTED, YESTERDAY)
    assert days.asked(45)["visits_daily"] == {TODAY, YESTERDAY, BEFORE}


@pytest.mark.integration
def test_a_run_tells_of_a_day_once_and_then_of_what_changes(database_url: str, tmp_path: Path) -> None:
    platform = Platform(lambda: load_settings(database_url=database_url, data_dir=tmp_path))
    instance = dg.DagsterInstance.ephemeral()

    def run() -> set[str]:
        done = dg.materialize(
            [days_assets(kept_up_to_date())],
            instance=instance,
            resources={"platform": platform},
            tags={
                "dagster/asset_partition_range_start": (DAY - timedelta(days=1)).isoformat(),
                "dagster/asset_partition_range_end": DAY.isoformat(),
            },
        )
        assert done.success
        events = instance.get_records_for_run(done.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
        return {f"{e.asset_key.path[0]} {e.partition_key[-2:]}" for e in events if e.asset_key and e.partition_key}

    with psycopg.connect(database_url, autocommit=True) as connection:
        fill(connection)
        assert run() == {f"{d.table} {day}" for d in DATASETS for day in (19, 20)}
        assert run() == set()
        put(connection, TRIP_DETECTED, at(8), ended_at=at(8.5), is_open=False, distance_m=900.0, mode="walking")
        assert run() == {"trips_daily 20", "day_timeline 20"}
        told = connection.execute("SELECT DISTINCT day FROM day_timeline ORDER BY 1").fetchall()
    assert told == [(date(2026, 11, 19),), (DAY,)]
