"""The platform under load and every fault: what the clients' own log says was acknowledged is stored, each once.

`make soak` takes twenty minutes, the default suite one. `LOOM_SOAK_SECONDS` and `LOOM_SOAK_SEED` choose, and a failure
prints its seed.
"""

import contextlib
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pytest

from loom_models.errors import DependencyError
from loom_models.stages.accelerometer_windowed import ACCELEROMETER_WINDOW
from loom_platform.stream.api import StreamConfig, recompute
from loom_platform.versions import store
from tests.soak.faults import FAULTS, Chaos, Fault
from tests.soak.installation import Installation
from tests.soak.load import Load
from tests.soak.oracle import Verdict, days, judge, wait_until_quiet

pytestmark = [pytest.mark.acceptance, pytest.mark.fault]

ANOTHER = replace(ACCELEROMETER_WINDOW, version=f"{ACCELEROMETER_WINDOW.version}+soak")
"""The same stage as a release after this one would have it: its rows lie beside those of the live one."""


@pytest.fixture
def installation(server_dir: Path) -> Iterator[Installation]:
    installation = Installation.beneath(
        server_dir / "soak", stream_idle_timeout_seconds=20, kafka_delivery_timeout_ms=5_000
    )
    try:
        installation.up()
        yield installation
    finally:
        installation.end()


@pytest.mark.timeout(600)
def test_for_a_minute(installation: Installation) -> None:
    # A new supervisor takes half of the time, and the platform's own tests have one.
    faults = {name: fault for name, fault in FAULTS.items() if name != "kill -9 supervisor"}
    _soak(installation, float(os.environ.get("LOOM_SOAK_SECONDS", "30")), 0.2, 1.0, faults)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_for_twenty_minutes(installation: Installation) -> None:
    _soak(installation, float(os.environ.get("LOOM_SOAK_SECONDS", "1200")), 1.0, 4.0, FAULTS)


def _soak(installation: Installation, seconds: float, rate: float, calm: float, faults: Mapping[str, Fault]) -> None:
    seed = int(os.environ.get("LOOM_SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    sys.stderr.write(f"\nLOOM_SOAK_SEED={seed} LOOM_SOAK_SECONDS={seconds:g}\n")
    chaos = Chaos(installation, seed, calm, faults)
    history = History(installation)
    began = time.monotonic()
    with Load(str(installation.status["ingest_url"]), seed, seconds, rate) as load:
        with chaos.going_on(), history.going_on():
            time.sleep(seconds)
        installation.up()
        load.end()
    loaded = time.monotonic() - began
    wait_until_quiet(installation, 180 + seconds)
    quiet = time.monotonic() - began - loaded
    verdict = judge(installation, load)
    report = table(installation.small, chaos.injected, history.done, load, verdict, (loaded, quiet))
    sys.stderr.write(report)
    if path := os.environ.get("LOOM_SOAK_REPORT"):
        Path(path).write_text(report, encoding="utf-8")
    assert verdict.wrong == []
    assert (verdict.lost, verdict.duplicated) == (0, 0)
    assert load.count > 10 * seconds
    assert chaos.injected.total() > seconds / (4 * calm + 20)


class History:
    """While all goes on: days computed again, by the live version and by another one that is shown and taken back."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.done: Counter[str] = Counter()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the context ends; the live version is the one that is shown then."""
        thread = threading.Thread(target=self._main, name="history")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(120)
        for failure in self._failures:
            raise failure

    def _main(self) -> None:
        try:
            while not self._stop.wait(10):
                # A dependency that is away ends an attempt, as it ends a command; the next one begins anew.
                with contextlib.suppress(psycopg.OperationalError, adbc.OperationalError, DependencyError, OSError):
                    self._once()
        except BaseException as error:
            self._failures.append(error)

    def _once(self) -> None:
        status = self._installation.status
        config = StreamConfig(status["database_url"], status["kafka_bootstrap_servers"], run_id="soak-recompute")
        topic = ACCELEROMETER_WINDOW.source
        for stage in (ACCELEROMETER_WINDOW, ANOTHER):
            first, last = days(self._installation, topic)
            if first is None or last is None:
                return
            recompute(stage, first, last, config, on_report=lambda _: None, stop=self._stop)
            self.done["days recomputed"] += (last - first).days + 1
        for version in (ANOTHER.version, ACCELEROMETER_WINDOW.version):
            with self._installation.connect() as connection:
                store.promote(connection, ACCELEROMETER_WINDOW.name, version)
            self.done["promotions"] += 1
            self._stop.wait(2)


def table(
    can_fill: bool,
    injected: Counter[str],
    history: Counter[str],
    load: Load,
    verdict: Verdict,
    took: tuple[float, float],
) -> str:
    """The outcome as one table in Markdown."""
    disorder = load.disorder
    lines = [
        *((name, count) for name, count in sorted(injected.items())),
        ("messages out of order", disorder.moved),
        ("messages sent twice", disorder.repeated),
        ("messages by a clock that jumped", disorder.jumped),
        *((name, count) for name, count in sorted(history.items())),
        ("copies in Kafka that were absorbed", verdict.copies_in_kafka),
        ("records acknowledged", verdict.acknowledged),
        ("records stored", verdict.stored),
        ("rows derived", verdict.derived),
        ("**lost**", verdict.lost),
        ("**duplicated**", verdict.duplicated),
        ("without their source", verdict.orphans),
        ("changed by a recompute", verdict.changed_by_recompute),
        ("dead letters", verdict.dead_letters),
        ("seconds of load, then until all was read", f"{took[0]:.0f} + {took[1]:.0f}"),
    ]
    rows = "".join(f"| {name} | {count if isinstance(count, str) else f'{count:,}'} |\n" for name, count in lines)
    small = "" if can_fill else "The disk was not filled: no file system may be mounted here.\n"
    return f"| what | number |\n| --- | ---: |\n{rows}{small}"
