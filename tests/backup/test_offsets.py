"""Where stages go on, over any log, any positions and any fate of the topic: nothing is missed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from loom_contracts.topics.device import GPS_RAW
from loom_models.landing import landing_stage
from loom_platform.backup.kafka import unprocessed
from loom_platform.backup.manifest import TopicEntry
from loom_platform.backup.offsets import Fate, Places, fate
from loom_platform.backup.records import Kept
from loom_platform.backup.snapshot import Stored
from loom_platform.stream.topics import TopicState

ONE = landing_stage(GPS_RAW)
TWO = replace(ONE, name="two")
STAGES = (ONE, TWO)
TOPIC = GPS_RAW.name


class Log(NamedTuple):
    """One partition: the offsets of its records, which have holes, its ends, and where the stages stand."""

    offsets: tuple[int, ...]
    low: int
    high: int
    places: tuple[int | None, ...]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    low = draw(st.integers(0, 50))
    size = draw(st.integers(0, 30))
    offsets = draw(st.sets(st.integers(low, low + size), max_size=20))
    high = low + size + 1 if offsets else low
    place = st.none() | st.integers(low, high)
    return Log(tuple(sorted(offsets)), low, high, (draw(place), draw(place)))


def stored(parts: Sequence[Log], topic_id: str = "old") -> list[Stored]:
    return [
        Stored(stage.name, TOPIC, p, topic_id, place)
        for p, log in enumerate(parts)
        for stage, place in zip(STAGES, log.places, strict=True)
        if place is not None
    ]


def kept_of(entry: TopicEntry, parts: Sequence[Log]) -> list[Kept]:
    return [
        Kept(TOPIC, p.partition, offset, 0, None, None, ())
        for p in entry.partitions
        for offset in parts[p.partition].offsets
        if p.first <= offset < p.high
    ]


def state(topic_id: str, ranges: dict[int, tuple[int, int]]) -> TopicState:
    return TopicState(topic_id, ranges)


def not_yet(log: Log, stage: int) -> set[int]:
    """What a stage has not processed at the moment of the backup."""
    place = log.places[stage]
    return {o for o in log.offsets if place is None or o >= place}


@given(
    parts=st.lists(logs(), min_size=1, max_size=3),
    bases=st.lists(st.integers(0, 100), min_size=3, max_size=3),
    strangers=st.lists(st.integers(0, 5), min_size=3, max_size=3),
)
def test_each_stage_reads_what_it_had_not_read(parts: list[Log], bases: list[int], strangers: list[int]) -> None:
    offsets = stored(parts)
    ranges = {p: (log.low, log.high) for p, log in enumerate(parts)}
    (entry,) = unprocessed([ONE, TWO], "", offsets, {TOPIC: state("old", ranges)})
    kept = kept_of(entry, parts)
    for p, log in enumerate(parts):
        missing = set().union(*(not_yet(log, n) for n in range(2)))
        assert {k.offset for k in kept if k.partition == p} >= missing

    # The new topic has some records of its own, and then the kept ones.
    now = state("new", {p: (bases[p], bases[p] + strangers[p]) for p in range(len(parts))})
    what = fate(entry, now, offsets)
    assert what is (Fate.OTHER if any(strangers[: len(parts)]) else Fate.FRESH)
    places, first, ends = Places(entry, offsets), dict[tuple[str, int], int](), dict[int, int]()
    went: dict[tuple[int, int], int] = {}
    for record in kept:
        places.add(record)
        assert record.partition is not None
        assert record.offset is not None
        at = ends.get(record.partition, now.ranges[record.partition][1])
        first.setdefault((TOPIC, record.partition), at)
        went[record.partition, record.offset] = at
        ends[record.partition] = at + 1
    moved = {(m.stage, m.partition): m for m in places.moved(what, now, first)}
    assert all(m.topic_id == "new" for m in moved.values())
    for p, log in enumerate(parts):
        for number, stage in enumerate(STAGES):
            place = moved.get((stage.name, p))
            start = now.ranges[p][0] if place is None else place.next_offset
            read = {offset for (partition, offset), at in went.items() if partition == p and at >= start}
            assert read >= not_yet(log, number)
            if what is Fate.FRESH and place is not None:
                assert read == not_yet(log, number), "what is processed is not read again"
            if what is Fate.OTHER:
                assert start == now.ranges[p][0], "what the topic has of its own is read too"


@given(parts=st.lists(logs(), min_size=1, max_size=3), more=st.integers(0, 5))
def test_a_topic_that_is_still_there_stays_as_it_is(parts: list[Log], more: int) -> None:
    offsets = stored(parts)
    ranges = {p: (log.low, log.high) for p, log in enumerate(parts)}
    (entry,) = unprocessed([ONE, TWO], "", offsets, {TOPIC: state("old", ranges)})
    assert fate(entry, state("old", {p: (low, high + more) for p, (low, high) in ranges.items()}), offsets) is Fate.SAME


def test_a_topic_that_has_lost_what_a_stage_needs_is_not_the_same() -> None:
    offsets = [Stored(ONE.name, TOPIC, 0, "old", 10)]
    (entry,) = unprocessed([ONE], "", offsets, {TOPIC: state("old", {0: (0, 20)})})
    assert (entry.partitions[0].first, entry.partitions[0].high) == (10, 20)
    assert fate(entry, state("old", {0: (15, 20)}), offsets) is Fate.OTHER
    assert fate(entry, state("old", {0: (0, 5)}), offsets) is Fate.OTHER
    assert fate(entry, state("old", {0: (20, 20)}), offsets) is Fate.FRESH


def test_a_stage_that_is_halted_stays_halted_and_its_records_are_kept() -> None:
    offsets = [Stored(ONE.name, TOPIC, 0, "older", 10)]
    (entry,) = unprocessed([ONE], "", offsets, {TOPIC: state("old", {0: (0, 20)})})
    assert entry.partitions[0].first == 0
    places = Places(entry, offsets)
    assert places.moved(Fate.FRESH, state("new", {0: (0, 0)}), {}) == []


def test_records_that_are_gone_cannot_be_kept() -> None:
    offsets = [Stored(ONE.name, TOPIC, 0, "old", 10)]
    (entry,) = unprocessed([ONE], "", offsets, {TOPIC: state("old", {0: (15, 20)})})
    assert entry.partitions[0].first == 15
    assert unprocessed([ONE], "", offsets, {TOPIC: None}) == []
