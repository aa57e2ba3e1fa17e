"""The five flows together: what they find in simulated days, and what they cost at ten times the documented rates.

First ten days of ten devices are played, and what is found is held against what is true. Then the same devices send
live, while the engine runs in a process of its own, as a stream run does; so each stage has a day behind it that it
could be slow on. Processor time is that of the engine, the broker and the database.
"""

import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import psycopg

from loom_models.flows import FLOWS
from loom_models.stage import Stage
from loom_platform.demo.events import DemoConfig, Truth, make_day
from loom_platform.stream.api import StageReport, StreamConfig, run_stream
from loom_platform.supervise.services import RUN_ENVIRONMENT
from loom_platform.topics import create_topics
from tests.benchmarks.feed import feed
from tests.benchmarks.harness import Result, Servers
from tests.demo.finding import KINDS, scores
from tests.demo.playing import records

PREFIX = "flows"
DEVICES = 10
WARM_SECONDS, LIVE_SECONDS, REPORT_SECONDS = 30, 80, 20
CORES = 2
TRACKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "gps"

FIVE = tuple(flow for flow in FLOWS if flow.name != "audio-processing" and any(not s.landing for s in flow.stages))


def run(servers: Servers) -> list[Result]:
    """Play, look, then live."""
    stages = list({stage.name: stage for flow in FIVE for stage in flow.stages}.values())
    create_topics(servers.bootstrap_servers, prefix=PREFIX, partitions=2, stages=[s.name for s in stages])
    names = [f"bench-flows-{n}" for n in range(DEVICES)]
    with servers.database() as url:
        results = _days(servers, url, stages, names)
        return results + live(servers, url, names)


def _days(servers: Servers, url: str, stages: Sequence[Stage], names: Sequence[str]) -> list[Result]:
    """A day of each device, with another seed; every second one goes along the real tracks."""
    began = datetime.now(UTC) - timedelta(hours=27)
    topics = {s.source for s in stages if s.landing}
    days: list[tuple[str, Truth]] = []
    sent = 0
    for number, name in enumerate(names):
        folder = TRACKS if number % 2 else None
        config = DemoConfig(seconds=86_400, rate=0.01, device=name, seed=number, audio=False, gps_folder=folder)
        truth, events = make_day(config)
        by_topic: dict[str, list[bytes]] = defaultdict(list)
        for topic, value in records(events, began, config, topics):
            by_topic[topic.on_broker(PREFIX)].append(value)
        for topic_name, values in by_topic.items():
            sent += servers.fill(topic_name, iter(values), name)
        days.append((name, truth))
    config_ = _config(servers.bootstrap_servers, url)
    started = time.perf_counter()
    run_stream(stages, config_, on_report=lambda _: None, stop=threading.Event())
    seconds = time.perf_counter() - started - config_.idle_timeout.total_seconds()
    with psycopg.connect(url, autocommit=True) as connection:
        told = scores(connection, days, began)
    results = [Result("five flows: days of all sensors but sound, played", sent / seconds, "records/s")]
    for kind in KINDS:
        found = told[kind]
        note = f"{found.true} in truth, {found.found} found, {found.agreed} agree, in {len(days)} days"
        results.append(Result(f"simulated days: {kind}", found.f1, "F1", 0.95, note=note))
    return results


def _config(bootstrap_servers: str, url: str) -> StreamConfig:
    return StreamConfig(
        url,
        bootstrap_servers,
        PREFIX,
        idle_timeout=timedelta(seconds=6),
        max_duration=timedelta(minutes=10),
        report_interval=timedelta(seconds=REPORT_SECONDS),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """A stage's report, and when it came."""

    stage: str
    p99: float
    records: int
    dead_letters: int
    at: float


def _engine(bootstrap_servers: str, url: str, pipe: Connection) -> None:
    """The process of the stream run; tells its threads when it is asked to, and its reports at its end."""
    stages = list({stage.name: stage for flow in FIVE for stage in flow.stages}.values())
    stop = threading.Event()
    told: list[_Told] = []
    first_sinks = {stage.name: stage.sinks[0] for stage in stages}

    def on_report(report: StageReport) -> None:
        # A stage of several sinks has a report for each, which say the same.
        if report.latency_p99_seconds is not None and report.sink is first_sinks[report.stage]:
            told.append(
                _Told(report.stage, report.latency_p99_seconds, report.records, report.dead_letters, time.time())
            )

    def listen() -> None:
        while pipe.recv() == "threads":
            pipe.send({thread.native_id: thread.name.removeprefix("stage-") for thread in threading.enumerate()})
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    run_stream(stages, _config(bootstrap_servers, url), on_report=on_report, stop=stop)
    pipe.send(told)


def live(servers: Servers, url: str, names: list[str]) -> list[Result]:
    """What the five flows cost while the devices `names` send, and how late their stages are."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_engine, args=(servers.bootstrap_servers, url, there), daemon=True)
    with _environment(RUN_ENVIRONMENT):
        process.start()
    feeder = context.Process(
        target=feed, args=(servers.bootstrap_servers, PREFIX, names, WARM_SECONDS + LIVE_SECONDS), daemon=True
    )
    feeder.start()
    time.sleep(WARM_SECONDS)
    here.send("threads")
    threads: dict[int, str] = here.recv()
    since, before, stages_before = time.time(), _used(feeder.pid), _of_threads(process.pid, threads)
    feeder.join(LIVE_SECONDS + 60)
    elapsed, after, stages_after = time.time() - since, _used(None), _of_threads(process.pid, threads)
    here.send("stop")
    told: list[_Told] = here.recv() if here.poll(60) else []
    process.join(30)
    parts = {who: 100 * (after[who] - before.get(who, 0.0)) / elapsed / CORES for who in sorted(after)}
    note = ", ".join(f"{who} {share:.1f}" for who, share in parts.items())
    results = [Result("five flows at 10x, live: processor", sum(parts.values()), "% of 2 cores", 50, "at most", note)]
    # A report that began before the measurement does not count.
    measured = [t for t in told if t.at > since + REPORT_SECONDS]
    for stage in sorted({t.stage for t in measured}):
        share = 100 * (stages_after.get(stage, 0.0) - stages_before.get(stage, 0.0)) / elapsed
        results.append(_latency(stage, [t for t in measured if t.stage == stage], share))
    return results


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """What `loom up` gives the processes that it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def _latency(stage: str, told: Sequence[_Told], share: float) -> Result:
    sla = next(s for flow in FIVE for s in flow.stages if s.name == stage).policy.sla.total_seconds()
    letters = sum(t.dead_letters for t in told)
    note = f"{sum(t.records for t in told)} records, {share:.1f} % of a core; the worst {REPORT_SECONDS} s" + (
        f"; {letters} dead letters" if letters else ""
    )
    return Result(f"{stage}: p99 at 10x", max(t.p99 for t in told), "s", min(1.0, sla), "at most", note)


def _of_threads(pid: int | None, threads: dict[int, str]) -> dict[str, float]:
    """Processor seconds so far of the engine's threads by their names; a stage has one."""
    found = psutil.Process(pid).threads()
    return {threads[t.id]: t.user_time + t.system_time for t in found if t.id in threads}


def _used(but: int | None) -> dict[str, float]:
    """Processor seconds so far of every process that was started here, but for that one."""
    total: dict[str, float] = defaultdict(float)
    for child in psutil.Process().children(recursive=True):
        if child.pid == but:
            continue
        with suppress(psutil.NoSuchProcess):
            who = {"java": "broker", "postgres": "database"}.get(child.name(), "engine")
            total[who] += sum(child.cpu_times()[:4])
    return total
