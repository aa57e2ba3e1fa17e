"""Whose word counts, and when the contract's does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_contracts.topics.device import AUDIO_RAW, GPS_RAW
from loom_platform.orchestration.maintenance import Retention
from loom_platform.retention.rules import TABLED, Kept, Kind, RetentionError, Rules, named, told

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAMES = sorted({".".join(t.name.split(".")[:n]) for t in TABLED for n in range(1, 6)})
LENGTHS = st.one_of(st.none(), st.integers(1, 400).map(lambda n: n * DAY))
RULES = st.dictionaries(st.tuples(st.sampled_from(Kind), st.sampled_from(NAMES)), LENGTHS, max_size=12)


def test_the_longest_name_counts() -> None:
    said = {(Kind.TABLE, "device"): 90 * DAY, (Kind.TABLE, "device.audio"): None, (Kind.TABLE, "dev"): DAY}
    rules = Rules(said)
    assert rules.of(Kind.TABLE, GPS_RAW) == Kept(90 * DAY, "device")
    assert rules.of(Kind.TABLE, AUDIO_RAW) == Kept(None, "device.audio")
    assert rules.of(Kind.ROLLUPS, GPS_RAW) == Kept(None, "contract")
    assert Rules().of(Kind.TABLE, GPS_RAW) == Kept(None, "contract")
    assert Rules().of(Kind.TABLE, AUDIO_RAW) == Kept(7 * DAY, "contract")


@given(RULES, st.sampled_from(TABLED))
def test_kafka_never_keeps_longer_than_the_table(said: dict[tuple[Kind, str], timedelta | None], topic: object) -> None:
    rules = Rules(said)
    for each in TABLED:
        table, kafka = rules.of(Kind.TABLE, each).length, rules.of(Kind.KAFKA, each).length
        assert table is None or (kafka is not None and kafka <= table)


def test_a_length_of_the_contract_waits_until_it_has_been_known_for_as_long() -> None:
    known = {AUDIO_RAW.name: NOW}
    assert Rules().cut(Kind.TABLE, AUDIO_RAW, NOW) is None
    assert Rules(known_since=known).cut(Kind.TABLE, AUDIO_RAW, NOW + 7 * DAY - timedelta(seconds=1)) is None
    assert Rules(known_since=known).cut(Kind.TABLE, AUDIO_RAW, NOW + 7 * DAY) == NOW.date()
    # What the person says counts at once.
    assert Rules({(Kind.TABLE, "device"): DAY}).cut(Kind.TABLE, AUDIO_RAW, NOW) == NOW.date() - DAY
    assert Rules({(Kind.TABLE, "device"): None}, known).cut(Kind.TABLE, AUDIO_RAW, NOW + 99 * DAY) is None


@given(st.floats(0, 1e9), st.integers(1, 400))
def test_no_row_goes_before_it_is_old_enough(seconds: float, length: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    cut = Rules({(Kind.TABLE, "device"): length * DAY}).cut(Kind.TABLE, GPS_RAW, now)
    assert cut is not None
    last_to_go = datetime(cut.year, cut.month, cut.day, tzinfo=UTC) - timedelta(microseconds=1)
    assert length * DAY < now - last_to_go <= (length + 1) * DAY


def test_dagsters_parts_have_names_of_their_own() -> None:
    rules = Rules({(Kind.DAGSTER, "dagster.events"): 30 * DAY, (Kind.DAGSTER, "dagster.runs"): None})
    assert rules.dagster() == Retention(events=30 * DAY, runs=36_500 * DAY)
    assert named(Kind.DAGSTER, "dagster.log") == ()
    with pytest.raises(RetentionError, match=r"dagster\.log, dagster\.events"):
        named(Kind.DAGSTER, "dagster.all")


def test_names() -> None:
    assert named(Kind.TABLE, "device.audio") == (AUDIO_RAW,)
    assert set(named(Kind.TABLE, "device")) < set(TABLED)
    for wrong in ("", "dev", "device.audio.", "control"):
        with pytest.raises(RetentionError, match="categories are device, digital"):
            named(Kind.TABLE, wrong)


def test_lengths_for_a_person() -> None:
    assert [told(n) for n in (None, DAY, 30 * DAY, DAY / 2)] == ["for ever", "1 day", "30 days", "12 hours"]
