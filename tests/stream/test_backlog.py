"""What the sensor asks: how far each stage is behind, and a wait that ends with the first record."""

import threading
import time
from datetime import timedelta

import pytest

from loom_models.errors import DependencyError
from loom_platform.embedded.process import free_port
from loom_platform.stream.api import StreamConfig, backlog, wait_for_backlog
from tests.stream.bench import Bench, eventually
from tests.stream.stages import LANDING, NUMBERS, delayed, number, twice

pytestmark = pytest.mark.integration


def test_lag_counts_what_is_after_the_stored_offsets(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_, partitions=2)
    bench.send(NUMBERS, *(number(n) for n in range(5)), partition=0)
    bench.send(NUMBERS, *(number(n) for n in range(5, 8)), partition=1)
    bench.drain(LANDING)
    bench.send(NUMBERS, number(9), partition=1)

    lags = backlog([LANDING, twice_], bench.config)

    landing, derived = lags[LANDING.name], lags["twice"]
    assert (landing.messages, dict(landing.offsets)) == (1, {0: (5, 5), 1: (3, 4)})
    assert (derived.messages, dict(derived.offsets)) == (9, {0: (0, 5), 1: (0, 4)})
    for lag in lags.values():
        assert (lag.has_live_run, lag.due_timers, lag.next_timer_at, lag.halted) == (False, 0, None, None)
        assert lag.has_work
    with bench.start(LANDING, idle_timeout=timedelta(seconds=30)):
        eventually(lambda: backlog([LANDING], bench.config)[LANDING.name].has_live_run)
        eventually(lambda: bench.done(LANDING))
        lag = backlog([LANDING], bench.config)[LANDING.name]
        assert (lag.messages, lag.has_work) == (0, False)


def test_a_stage_that_is_halted_says_why_and_is_left_out(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_)
    bench.send(NUMBERS, number(1))
    bench.drain(LANDING, twice_)
    bench.send(NUMBERS, number(2))
    bench.execute("UPDATE stream_offsets SET topic_id = 'another' WHERE stage = 'twice'")
    lags = backlog([LANDING, twice_], bench.config)
    assert "was deleted and made again" in (lags["twice"].halted or "")
    assert not lags["twice"].has_work
    assert wait_for_backlog([LANDING, twice_], bench.config, 5) == [LANDING.name]
    assert wait_for_backlog([twice_], bench.config, 5) == []


def test_a_missing_topic_halts(bench: Bench) -> None:
    lag = backlog([LANDING], bench.config)[LANDING.name]
    assert "is not on the broker" in (lag.halted or "")


def test_the_wait_ends_empty_at_its_time(bench: Bench) -> None:
    bench.prepare(LANDING)
    started = time.monotonic()
    assert wait_for_backlog([LANDING], bench.config, 1) == []
    assert 0.9 <= time.monotonic() - started < 4


def test_the_wait_ends_with_the_first_record(bench: Bench) -> None:
    twice_ = twice()
    bench.prepare(LANDING, twice_, partitions=2)
    sent = []

    def send() -> None:
        time.sleep(1.5)
        bench.send(NUMBERS, number(1))
        sent.append(time.monotonic())

    sender = threading.Thread(target=send)
    sender.start()
    ready = wait_for_backlog([LANDING, twice_], bench.config, 20)
    back = time.monotonic()
    sender.join()
    assert sorted(ready) == sorted([LANDING.name, "twice"])
    assert back - sent[0] < 2


def test_the_wait_ends_with_the_first_timer(bench: Bench) -> None:
    late = delayed()
    bench.prepare(late)
    bench.send(NUMBERS, number(1, 3_000))
    bench.drain(late)
    started = time.monotonic()
    lag = backlog([late], bench.config)["delayed"]
    assert (lag.due_timers, lag.has_work) == (0, False)
    assert lag.next_timer_at is not None
    assert wait_for_backlog([late], bench.config, 20) == ["delayed"]
    assert time.monotonic() - started < 8
    assert backlog([late], bench.config)["delayed"].due_timers == 1


def test_a_stage_with_a_live_run_is_not_asked_for(bench: Bench) -> None:
    bench.prepare(LANDING)
    with bench.start(LANDING, idle_timeout=timedelta(seconds=30)):
        eventually(lambda: backlog([LANDING], bench.config)[LANDING.name].has_live_run)
        assert wait_for_backlog([LANDING], bench.config, 2) == []


def test_what_is_away_is_a_dependency_error(bench: Bench) -> None:
    away = bench.config.database_url.rpartition("@")[0] + f"@127.0.0.1:{free_port()}/loom"
    config = StreamConfig(away, bench.config.bootstrap_servers)
    with pytest.raises(DependencyError, match="database"):
        backlog([LANDING], config)
