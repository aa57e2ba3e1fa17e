"""A stream run: one worker thread a stage, until they are idle, the time is up, or a stop is asked for."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from loom_models.stage import Stage
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.errors import FencedError, LeaseHeldError, LeaseLostError
from loom_platform.stream.heartbeat import Heartbeat
from loom_platform.stream.landed import Landed
from loom_platform.stream.metrics import Meters
from loom_platform.stream.report import StageReport, StageSummary
from loom_platform.stream.source import admin_client
from loom_platform.stream.worker import Worker

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.1
OVERTAKEN = (LeaseHeldError, LeaseLostError, FencedError)
"""Another run has the stage: this one gives it up, which is not a failure."""


def run_stream(
    stages: Sequence[Stage],
    config: StreamConfig,
    *,
    on_report: Callable[[StageReport], None],
    stop: threading.Event,
    landing_stages: Sequence[Stage] = (),
) -> list[StageSummary]:
    """Run `stages` until none has had work for `idle_timeout`, `max_duration` is over, or `stop` is set.

    It ends between two batches. `on_report` is called from the calling thread, at most every `report_interval` for
    each stage, and once at the end. `landing_stages` are all landing stages that exist, so that a derived stage knows
    whose progress bounds it (those among `stages` are known).

    Raises the first worker's error when a stage can't go on, after the others have ended. A stage that another
    live run owns is left to it.
    """
    landed = Landed()
    config = replace(config, stages=tuple({s.name: s for s in (*config.stages, *stages)}.values()))
    landing = {s.source: s.name for s in (*landing_stages, *stages) if s.landing}
    done = threading.Event()
    admin = admin_client(config.bootstrap_servers)
    workers = [Worker(s, config, landed, landing.get(s.source), done, admin) for s in stages]
    meters = Meters(config.database_url)
    failures: list[BaseException] = []
    threads = [
        threading.Thread(target=_guarded, args=(w, failures, done), name=f"stage-{w.stage.name}", daemon=True)
        for w in workers
    ]
    deadline = time.monotonic() + config.max_duration.total_seconds()
    report_at = time.monotonic() + config.report_interval.total_seconds()
    heartbeat = Heartbeat(
        config.database_url, config.run_id, config.shard[0], [s.name for s in stages], config.lease_duration
    )
    with heartbeat:
        for thread in threads:
            thread.start()
        try:
            while not done.is_set() and any(t.is_alive() for t in threads):
                now = time.monotonic()
                if stop.is_set() or now >= deadline or _idle(workers, now, config.idle_timeout.total_seconds()):
                    break
                if now >= report_at:
                    _report(workers, meters, on_report)
                    report_at = now + config.report_interval.total_seconds()
                stop.wait(_TICK_SECONDS)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    _report(workers, meters, on_report)
    if failures:
        raise failures[0]
    return [w.statistics.summary() for w in workers]


def _guarded(worker: Worker, failures: list[BaseException], done: threading.Event) -> None:
    try:
        worker.run()
    except OVERTAKEN as error:
        log.info("stage %s is left to another run: %s", worker.stage.name, error)
        worker.statistics.wait("another run, which has this stage")
    except BaseException as error:
        # It fails the whole run, in the calling thread.
        log.error("stage %s failed: %s", worker.stage.name, error)
        worker.statistics.failed(error)
        failures.append(error)
        done.set()


def _idle(workers: Sequence[Worker], now: float, idle_timeout: float) -> bool:
    """Nobody has worked for a while."""
    return all(now - w.last_work > idle_timeout for w in workers)


def _report(workers: Sequence[Worker], meters: Meters, on_report: Callable[[StageReport], None]) -> None:
    meters.add(worker.statistics.counted() for worker in workers)
    for worker in workers:
        for report in worker.statistics.reports():
            on_report(report)
