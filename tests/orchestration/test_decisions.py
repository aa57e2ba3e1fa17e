"""What the sensors decide, without a clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_models.landing import landing_stage
from loom_models.stage import Stage
from loom_platform.orchestration.decisions import LONGEST_IDLE, LiveRun, Sight, Watch, chosen, idle_timeout, retry_at
from loom_platform.orchestration.sensors import SETTLE_SECONDS, SLICE_SECONDS, TICK_SECONDS, await_work
from loom_platform.stream.api import StreamConfig

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GPS, POWER = landing_stage(GPS_RAW), landing_stage(POWER_RAW)
CONFIG = StreamConfig("postgresql://nowhere/none", "nowhere:1")
NOTHING_BUSY = Sight(frozenset(), ())
ALL_BUSY = Sight(frozenset({GPS.name, POWER.name}), ())


def test_a_group_that_is_opened_often_is_kept_open_longer() -> None:
    assert idle_timeout(MINUTE, 0) == MINUTE
    assert idle_timeout(MINUTE, 2) == 4 * MINUTE
    assert idle_timeout(MINUTE, 1000) == LONGEST_IDLE
    assert idle_timeout(timedelta(hours=1), 3) == timedelta(hours=1)


def test_after_failures_a_group_is_opened_ever_more_rarely() -> None:
    def after(*failed: bool) -> timedelta | None:
        at = retry_at([(f, NOW - n * MINUTE) for n, f in enumerate(failed)])
        return None if at is None else at - NOW

    assert after() is None
    assert after(False, True, True) is None
    assert after(True, False) == timedelta(seconds=2)
    assert after(True, True, True) == timedelta(seconds=8)
    assert after(*[True] * 9) == timedelta(minutes=5)


def begun(before: timedelta = timedelta(hours=2)) -> Watch:
    """A watch that has looked before."""
    watch = Watch()
    watch.look([], {}, NOW - before)
    return watch


def test_a_run_that_starts_is_busy_before_it_has_a_lease() -> None:
    run = LiveRun("r1", frozenset({"a", "b"}), NOW)
    assert begun().look([run], {}, NOW + timedelta(seconds=30)) == Sight(frozenset({"a", "b"}), ())


def test_a_run_without_a_lease_gives_up_its_stages_and_then_its_life() -> None:
    watch, run = begun(), LiveRun("r1", frozenset({"a"}), NOW - timedelta(hours=1))
    assert watch.look([run], {"a": "r1"}, NOW).busy == {"a"}
    assert watch.look([run], {}, NOW + MINUTE).busy == {"a"}
    assert watch.look([run], {}, NOW + 2 * MINUTE) == Sight(frozenset(), ())
    assert watch.look([run], {}, NOW + 6 * MINUTE) == Sight(frozenset(), ("r1",))


def test_a_run_that_holds_a_lease_again_starts_anew() -> None:
    watch, run = begun(), LiveRun("r1", frozenset({"a", "b"}), NOW - timedelta(hours=1))
    watch.look([run], {}, NOW)
    watch.look([run], {"b": "r1"}, NOW + MINUTE)
    assert watch.look([run], {}, NOW + 4 * MINUTE) == Sight(frozenset({"a", "b"}), ())


def test_after_a_crash_the_stages_of_the_runs_that_died_with_it_are_soon_free() -> None:
    watch, run = Watch(), LiveRun("r1", frozenset({"a"}), NOW - timedelta(seconds=5))
    assert watch.look([run], {}, NOW).busy == {"a"}
    assert watch.look([run], {}, NOW + timedelta(seconds=14)).busy == {"a"}
    assert watch.look([run], {}, NOW + timedelta(seconds=15)) == Sight(frozenset(), ())


def test_a_lease_of_a_run_that_dagster_does_not_know_counts() -> None:
    assert Watch().look([], {"a": "by-hand"}, NOW) == Sight(frozenset({"a"}), ())


def test_what_worked_lately_comes_along_but_opens_nothing() -> None:
    assert chosen(["a"], ["b", "c"], ["a", "b", "d"]) == ("a", "b")
    assert chosen([], ["b"], ["a", "b"]) == ()
    assert chosen(["c"], ["b"], ["a", "b"]) == ()


class Clock:
    """Time that passes only by sleeping and waiting."""

    def __init__(self, arrivals: dict[str, float] | None = None) -> None:
        self.now, self.arrivals, self.waits = 0.0, arrivals or {}, list[float]()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, stages: Sequence[Stage], config: StreamConfig, timeout: float) -> list[str]:
        """As wait_for_backlog: returns on the first record."""
        self.waits.append(timeout)
        coming = [at for s in stages if (at := self.arrivals.get(s.name)) is not None]
        self.now = min([self.now + timeout, *(max(self.now, at) for at in coming)])
        return [s.name for s in stages if self.arrivals.get(s.name, 1e9) <= self.now]

    def work(self, *sights: tuple[float, Sight]) -> tuple[Sight, list[str]]:
        def look() -> Sight:
            return [sight for since, sight in sights if since <= self.now][-1]

        return await_work([GPS, POWER], CONFIG, look, wait=self.wait, clock=self.time, sleep=self.sleep)


def test_a_quiet_tick_waits_once_and_ends_well_within_a_minute() -> None:
    clock = Clock()
    assert clock.work((0, NOTHING_BUSY)) == (NOTHING_BUSY, [])
    assert clock.waits == [TICK_SECONDS]
    assert clock.now <= 50


def test_the_first_record_ends_the_wait_and_brings_its_siblings() -> None:
    clock = Clock({GPS.name: 3.0, POWER.name: 3.1})
    _, ready = clock.work((0, NOTHING_BUSY))
    assert ready == sorted([GPS.name, POWER.name])
    assert clock.now <= 3.0 + SETTLE_SECONDS


def test_while_all_stages_are_taken_the_broker_is_left_alone() -> None:
    clock = Clock({GPS.name: 0.0})
    assert clock.work((0, ALL_BUSY)) == (ALL_BUSY, [])
    assert clock.waits == []
    assert clock.now <= 50


def test_a_run_that_ends_with_work_left_is_followed_at_once() -> None:
    clock = Clock({GPS.name: 0.0})
    sight, ready = clock.work((0, ALL_BUSY), (10.0, NOTHING_BUSY))
    assert (sight, ready) == (NOTHING_BUSY, [GPS.name])
    assert clock.now <= 11.5


def test_with_some_taken_the_others_are_waited_for_in_slices() -> None:
    clock = Clock({GPS.name: 0.0})
    some = Sight(frozenset({GPS.name}), ())
    _, ready = clock.work((0, some), (12.0, NOTHING_BUSY))
    assert ready == [GPS.name]
    assert clock.waits[0] == SLICE_SECONDS
