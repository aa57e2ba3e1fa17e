"""When `places_visited` is brought up to date."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_platform.orchestration.definitions import build_defs
from loom_platform.orchestration.specs import asset_key

PLACES = dg.AssetKey("places_visited")
SOURCE = asset_key(GEOREGION_DETECTED)
NOW = datetime.now(UTC).replace(hour=9, minute=1, second=0, microsecond=0)
TODAY, YESTERDAY, BEFORE = ((NOW - timedelta(days=n)).date().isoformat() for n in range(3))


class Days:
    """A Dagster of one test, whose clock is given."""

    def __init__(self, directory: Path) -> None:
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(directory))
        self.defs = build_defs()
        self._cursor: object = None

    def happened(self, key: dg.AssetKey, *days: str) -> None:
        for day in days:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))

    def asked(self, minute: int) -> set[str]:
        """The days asked for so many minutes after 09:00; what is asked for is then done."""
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            asset_selection=dg.AssetSelection.assets(PLACES),
            evaluation_time=NOW.replace(minute=0) + timedelta(minutes=minute),
            cursor=self._cursor,  # type: ignore[arg-type]
        )
        self._cursor = result.cursor
        asked = {day for day in result.get_requested_partitions(PLACES) if day is not None}
        self.happened(PLACES, *asked)
        return asked


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


def test_days_that_were_there_before_are_made_at_the_first_look(days: Days) -> None:
    days.happened(SOURCE, YESTERDAY)
    assert days.asked(1) == {YESTERDAY, BEFORE}
    assert days.asked(2) == set()


def test_nothing_is_asked_for_while_there_is_no_source(days: Days) -> None:
    assert days.asked(1) == set()
    days.happened(SOURCE, TODAY)
    assert days.asked(3) == {TODAY, YESTERDAY}


def test_a_live_stream_has_a_day_made_anew_each_hour(days: Days) -> None:
    days.happened(SOURCE, TODAY)
    assert days.asked(1) == {TODAY, YESTERDAY}
    for minute in (3, 5, 13):
        days.happened(SOURCE, TODAY)
        assert days.asked(minute) == set()
    assert days.asked(60) == {TODAY, YESTERDAY}
    assert days.asked(62) == set()
    assert days.asked(120) == set()


def test_what_comes_while_a_day_is_made_is_not_forgotten(days: Days) -> None:
    days.happened(SOURCE, TODAY)
    assert days.asked(1) == {TODAY, YESTERDAY}
    days.happened(SOURCE, TODAY)  # perhaps after the run had read
    assert days.asked(3) == set()
    assert days.asked(60) == {TODAY, YESTERDAY}
    assert days.asked(120) == set()


def test_late_data_of_an_old_day_reach_it_and_the_day_before(days: Days) -> None:
    days.happened(SOURCE, TODAY, YESTERDAY, BEFORE)
    days.asked(1)
    days.happened(SOURCE, BEFORE)
    assert days.asked(61) == {BEFORE, (NOW - timedelta(days=3)).date().isoformat()}
    assert days.asked(121) == set()
