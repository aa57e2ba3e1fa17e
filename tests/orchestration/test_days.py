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


class Days:
    """A Dagster of one test, whose clock is given."""

    def __init__(self, directory: Path) -> None:
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(directory))
        self.defs = build_defs()
        self._cursor: object = None

    def happened(self, source: Topic | dg.AssetKey, *days: str) -> None:
        key = source if isinstance(source, dg.AssetKey) else asset_key(source)
        for day in days:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))

    def asked(self, minute: int, *, hour: int = 9, tells: bool = True) -> dict[str, set[str]]:
        """What is asked for at `hour`:`minute`, by dataset; it is done then, and told of when it `tells`."""
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            asset_selection=dg.AssetSelection.assets(*KEYS),
            evaluation_time=NOW.replace(hour=hour, minute=minute),
            cursor=self._cursor,  # type: ignore[arg-type]
        )
        self._cursor = result.cursor
        asked = {k: {d for d in result.get_requested_partitions(k) if d is not None} for k in KEYS}
        for key, days in asked.items():
            if tells:
                self.happened(key, *days)
        return {k.path[0]: days for k, days in asked.items() if days}


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


def test_late_data_bring_their_days_up_to_date(days: Days) -> None:
    days.happened(GPS_CLEANED, TODAY, YESTERDAY, BEFORE)
    assert days.asked(1) == {k.path[0]: {TODAY, YESTERDAY, BEFORE, EARLIER} for k in KEYS}
    days.happened(CHARGING_DETECTED, BEFORE)  # late
    assert days.asked(50) == {}
    due = days.asked(1, hour=10, tells=False)
    assert due == {k.path[0]: {YESTERDAY, BEFORE, EARLIER} for k in KEYS}
    # they came out as they were, so nothing was told, and nothing is asked for again
    assert days.asked(1, hour=11) == {}
    # an amended visit is told again in the days that it goes on in
    days.happened(VISIT_DETECTED, BEFORE)
    assert days.asked(1, hour=12)["visits_daily"] == {TODAY, YESTERDAY, BEFORE, EARLIER}


@pytest.mark.integration
def test_a_run_tells_of_a_day_once_and_then_of_what_changes(database_url: str, tmp_path: Path) -> None:
    platform = Platform(lambda: load_settings(database_url=database_url, data_dir=tmp_path))
    instance = dg.DagsterInstance.ephemeral(tempdir=str(tmp_path))

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
