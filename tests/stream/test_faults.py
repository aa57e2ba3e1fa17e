"""Processes are killed and stopped in the middle of it; what was acknowledged is stored once all the same."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from loom_models.stage import Stage
from loom_platform.database import ensure_database
from loom_platform.embedded.kafka import CONFIGURATION, Kafka
from loom_platform.embedded.postgres import Postgres
from loom_platform.embedded.process import free_port, start, stop
from loom_platform.migrate import migrate
from loom_platform.settings import load_settings
from tests.stream.bench import Bench, eventually
from tests.stream.process import STAGES
from tests.stream.stages import ANSWERS, LANDING, NUMBERS, TABLES, Number, number

pytestmark = [pytest.mark.integration, pytest.mark.fault]

ROOT = Path(__file__).parents[2]
ALL = (LANDING.name, "twice", "total")
POINTS = (
    "polled",
    "fenced",
    "before-produce",
    "after-produce",
    "before-copy",
    "after-copy",
    "before-commit",
    "after-commit",
)
LONG = timedelta(seconds=120)


def stages() -> list[Stage]:
    return [STAGES[name] for name in ALL]


def spawn(
    bench: Bench,
    *names: str,
    at: tuple[str, int] | None = None,
    with_signal: signal.Signals = signal.SIGKILL,
    lease_seconds: float = 10,
    run_id: str = "spawned",
) -> "subprocess.Popen[str]":
    config = bench.config
    order = {
        "config": {
            "database_url": config.database_url,
            "bootstrap_servers": config.bootstrap_servers,
            "topic_prefix": config.topic_prefix,
            "run_id": run_id,
        },
        "stages": names,
        "at": at,
        "signal": int(with_signal),
        "lease_seconds": lease_seconds,
    }
    command = [sys.executable, "-m", "tests.stream.process", json.dumps(order)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    bench.pids.append(process.pid)
    return process


def ended(bench: Bench, process: "subprocess.Popen[str]", seconds: float = 60) -> tuple[int, str]:
    out, err = process.communicate(timeout=seconds)
    bench.pids.remove(process.pid)
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode, out


class Sent:
    """The oracle: what was acknowledged by the broker."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.numbers, self.bad = bench, dict[Any, Number](), 0

    def send(self, *numbers: Number, bad: int = 0) -> None:
        self.bench.send(NUMBERS, *numbers)
        self.bench.send(NUMBERS, *(f"poison {self.bad + n}".encode() for n in range(bad)), key="phone-bad")
        self.numbers.update({n.message_id: n for n in numbers})
        self.bad += bad

    def check(self) -> None:
        """Every acknowledged record is stored once, every answer is there once, offsets and dead letters add up."""
        bench = self.bench
        landed = bench.rows("SELECT message_id, n FROM test_number_raw")
        assert Counter(landed) == Counter((i, n.n) for i, n in self.numbers.items())
        query = "SELECT source_message_id, value FROM test_number_answered WHERE stage = %s AND superseded_at IS NULL"
        assert Counter(bench.rows(query, "twice")) == Counter((i, 2 * n.n) for i, n in self.numbers.items())
        assert (
            bench.rows("SELECT 1 FROM test_number_answered WHERE stage = 'twice' AND superseded_at IS NOT NULL") == []
        )
        assert Counter(bench.rows(query, "total")) == Counter(totals(self.numbers.values()))
        for stage in stages():
            assert sum(bench.offsets(stage).values()) == bench.sent[bench.name(NUMBERS)]
            kept = bench.rows("SELECT value FROM processing_errors WHERE stage = %s", stage.name)
            expected = [f"poison {n}".encode() for n in range(self.bad)]
            assert sorted(bytes(v) for (v,) in kept) == sorted(expected)
            letters = {m["message_id"]: m for m in map(json.loads, bench.topic_values(stage.error_topic))}
            assert len(letters) == self.bad
        messages = [json.loads(v) for v in bench.topic_values(ANSWERS)]
        ids = {m["message_id"]: m["source_message_id"] for m in messages if m["stage"] == "twice"}
        assert Counter(ids.values()) == Counter(map(str, self.numbers))


def totals(numbers: Any) -> Iterator[tuple[Any, int]]:
    sums: Counter[str] = Counter()
    for one in sorted(numbers, key=lambda n: (n.timestamp, str(n.message_id))):
        sums[one.device_id] += one.n
        yield one.message_id, sums[one.device_id]


def test_a_run_killed_at_each_point_loses_and_doubles_nothing(bench: Bench) -> None:
    chance = random.Random(4)
    bench.prepare(*stages(), partitions=2)
    sent = Sent(bench)
    numbers = [number(n * 7 % 601, n, f"phone-{n % 5}") for n in range(600)]
    sent.send(*numbers[:300], *numbers[:20], bad=5)
    killed = 0
    for point in POINTS:
        sent.send(*chance.sample(numbers, 40), bad=1)
        while True:
            process = spawn(bench, *ALL, at=(point, chance.randrange(5)), run_id=f"kill-{killed}")
            code, _ = ended(bench, process)
            if code == -signal.SIGKILL:
                break
        killed += 1
    sent.send(*numbers, bad=3)
    bench.drain(*stages())
    assert killed == len(POINTS)
    sent.check()


@pytest.mark.parametrize("point", ["before-commit", "polled"])
def test_a_run_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(bench: Bench, point: str) -> None:
    bench.prepare(*stages())
    sent = Sent(bench)
    sent.send(*(number(n, n) for n in range(100)))
    # the run works on one stage, so that it is as a whole stopped in the middle of its third batch
    zombie = spawn(bench, "twice", at=(point, 2), with_signal=signal.SIGSTOP, lease_seconds=1, run_id="zombie")
    bench.drain(STAGES[LANDING.name])
    eventually(lambda: state_of(zombie.pid) == "T")
    with bench.start(STAGES["twice"], landing=[LANDING], run_id="next", idle_timeout=LONG) as running:
        while not running.alive() or not held_by(bench, "next"):
            if not running.alive():  # refused: the lease has not run out yet
                running = bench.start(STAGES["twice"], landing=[LANDING], run_id="next", idle_timeout=LONG)
            time.sleep(0.05)
        eventually(lambda: bench.done(STAGES["twice"]))
        os.kill(zombie.pid, signal.SIGCONT)
        code, out = ended(bench, zombie)
        running.stop.set()
        (summary,) = running.end()
    assert code == 0
    (zombies,) = json.loads(out)
    assert zombies["waiting_for"] == "another run, which has this stage"
    assert zombies["records"] + summary.records == 100
    bench.drain(*stages())
    sent.check()


def held_by(bench: Bench, run_id: str) -> bool:
    return bench.rows("SELECT 1 FROM stream_leases WHERE holder = %s", run_id) != []


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def sending(sent: Sent, start_at: int) -> Iterator[threading.Event]:
    """Send numbers all the time, out of order, until the context ends. The event is set when it failed."""
    done, failed = threading.Event(), threading.Event()

    def work() -> None:
        n = start_at
        try:
            while not done.is_set():
                sent.send(*(number((n + k) * 7 % 9973, n + k, f"phone-{k % 3}") for k in range(10)), bad=1)
                n += 10
                time.sleep(0.05)
        except BaseException:
            failed.set()
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failed
    finally:
        done.set()
        thread.join(60)


def test_a_run_goes_on_by_itself_after_postgresql_was_killed(bench: Bench, server_dir: Path) -> None:
    server = Postgres(server_dir / "postgres-faults", free_port(), durable=True)
    server.prepare()
    log = server_dir / "postgres-faults.log"
    process = start(server.launch, log)
    try:
        server.wait_ready(60)
        ensure_database(server.url(), ("vector",))
        migrate(server.url())
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(TABLES.encode())
        bench.config = replace(bench.config, database_url=server.url())
        bench.owner_url = server.url()
        bench.prepare(*stages(), partitions=2)
        sent = Sent(bench)
        with bench.start(*stages(), idle_timeout=LONG) as running:
            with sending(sent, 0) as failed:
                for _ in range(2):
                    before = len(sent.numbers)
                    eventually(lambda before=before: len(sent.numbers) > before + 100)  # type: ignore[misc]
                    eventually(lambda: bench.offsets(LANDING) != {})
                    process.kill()
                    process.wait()
                    time.sleep(0.5)
                    process = restarted(server, log)
            assert not failed.is_set()
            eventually(lambda: all(bench.done(s) for s in stages()))
            running.stop.set()
            running.end()
        sent.check()
    finally:
        stop(process, server.launch)


def restarted(server: Postgres, log: Path) -> "subprocess.Popen[bytes]":
    """Start it again; the killed one's children hold its memory until they notice."""
    for _ in range(50):
        process = start(server.launch, log)
        while process.poll() is None:
            if server.answers():
                return process
            time.sleep(0.05)
        time.sleep(0.1)
    raise AssertionError(f"PostgreSQL did not start again: {log.read_text()[-2000:]}")


def test_a_run_goes_on_by_itself_after_the_broker_was_killed(
    bench: Bench, server_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A broker that was killed may come back only when its old session has run out.
    monkeypatch.setitem(CONFIGURATION, "broker.session.timeout.ms", "3000")
    monkeypatch.setitem(CONFIGURATION, "broker.heartbeat.interval.ms", "1000")
    broker = Kafka(server_dir / "kafka-faults", free_port(), free_port(), load_settings().cache_dir)
    broker.prepare()
    log = server_dir / "kafka-faults.log"
    process = start(broker.launch, log)
    outer = bench.admin
    try:
        broker.wait_ready(90)
        bench.config = replace(bench.config, bootstrap_servers=broker.bootstrap_servers)
        common: dict[str, str | int | float | bool] = {
            "bootstrap.servers": broker.bootstrap_servers,
            "log_level": 0,
            "reconnect.backoff.max.ms": 500,
        }
        bench.admin = AdminClient(common)
        bench.producer = Producer({**common, "acks": "all", "enable.idempotence": True})
        bench.prepare(*stages(), partitions=2)
        sent = Sent(bench)
        with bench.start(*stages(), idle_timeout=LONG) as running:
            with sending(sent, 0) as failed:
                eventually(lambda: len(sent.numbers) > 100)
                process.kill()
                process.wait()
                time.sleep(1)
                process = start(broker.launch, log)
                broker.wait_ready(90)
                before = len(sent.numbers)
                eventually(lambda: len(sent.numbers) > before + 50)
            assert not failed.is_set()
            eventually(lambda: all(bench.done(s) for s in stages()))
            running.stop.set()
            running.end()
        sent.check()
    finally:
        bench.admin = outer
        stop(process, broker.launch)
