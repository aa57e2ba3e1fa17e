"""What is done to a running platform. Each fault is over when its function returns, or mends itself afterwards."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import psycopg

from loom_contracts.topics.device import ACCELEROMETER_RAW, AUDIO_RAW, GPS_RAW, POWER_RAW
from loom_contracts.topics.location import GEOREGION_DETECTED
from tests.soak.installation import Installation

Fault = Callable[[Installation, random.Random], bool]
"""Does it; False when there was nothing to do it to."""

LOCKED = (
    *(topic.table.name for topic in (GPS_RAW, AUDIO_RAW, POWER_RAW)),
    *("stream_offsets", "stream_leases"),
)
SLOWED = tuple(topic.table.name for topic in (ACCELEROMETER_RAW, AUDIO_RAW, GEOREGION_DETECTED))


def _kill(service: str) -> Fault:
    def kill(installation: Installation, _rng: random.Random) -> bool:
        pid = installation.pid(service)
        return pid is not None and _signal(pid, signal.SIGKILL)

    return kill


def _signal(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _kill_run(installation: Installation, rng: random.Random) -> bool:
    runs = installation.runs()
    return bool(runs) and _signal(rng.choice(runs).pid, signal.SIGKILL)


def _freeze_run(installation: Installation, rng: random.Random) -> bool:
    """For longer than its lease: another run takes its place, and the old one wakes up among its rows."""
    runs = installation.runs()
    if not runs:
        return False
    pid = rng.choice(runs).pid
    if not _signal(pid, signal.SIGSTOP):
        return False
    time.sleep(rng.uniform(11, 16))
    return _signal(pid, signal.SIGCONT)


def _freeze_service(installation: Installation, rng: random.Random) -> bool:
    pid = installation.pid(rng.choice(("ingest", "kafka")))
    if pid is None or not _signal(pid, signal.SIGSTOP):
        return False
    time.sleep(rng.uniform(2, 6))
    return _signal(pid, signal.SIGCONT)


def _kill_supervisor(installation: Installation, _rng: random.Random) -> bool:
    """What it supervised is without it from then on, until a person says `loom up`."""
    file = installation.data_dir / "run/supervisord.pid"
    if not file.exists() or not _signal(int(file.read_text()), signal.SIGKILL):
        return False
    time.sleep(2)
    installation.up()
    return True


def _fill_disk(installation: Installation, rng: random.Random) -> bool:
    if not installation.small:
        return False
    ballast = installation.data_dir / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            chunk = bytes(16 * 1024 * 1024)
            while True:
                file.write(chunk)
        # what is freed meanwhile is taken too
        until = time.monotonic() + rng.uniform(4, 8)
        with ballast.open("ab", buffering=0) as file:
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    file.write(bytes(64 * 1024))
                time.sleep(0.05)
    finally:
        ballast.unlink(missing_ok=True)
    return True


def _lock_table(installation: Installation, rng: random.Random) -> bool:
    table = rng.choice(LOCKED)
    with _undisturbed(), installation.connect() as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        time.sleep(rng.uniform(3, 8))
        return True
    return False


def _slow_table(installation: Installation, rng: random.Random) -> bool:
    table = rng.choice(SLOWED)
    done = False
    with _undisturbed(), installation.connect() as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION soak_slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$"
        )
        connection.execute(
            f"CREATE OR REPLACE TRIGGER soak_slow BEFORE INSERT ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION soak_slow()".encode()
        )
        time.sleep(rng.uniform(4, 8))
        done = True
    mend_tables(installation)
    return done


def mend_tables(installation: Installation) -> None:
    """Take the slowing triggers away, when the database is there again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.Error), installation.connect() as connection:
            connection.execute("DROP FUNCTION IF EXISTS soak_slow() CASCADE")
            return
        time.sleep(0.5)


def _exhaust_pool(installation: Installation, rng: random.Random) -> bool:
    """Every connection that the server gives, held for seconds."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                connection = installation.connect()
                stack.callback(_close, connection)
        time.sleep(rng.uniform(3, 6))
    return True


def _close(connection: "psycopg.Connection[object]") -> None:
    with contextlib.suppress(psycopg.Error):
        connection.close()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A database that is killed meanwhile ends the fault, not the test."""
    with contextlib.suppress(psycopg.OperationalError, psycopg.errors.DeadlockDetected):
        yield


FAULTS: dict[str, Fault] = {
    "kill -9 ingest": _kill("ingest"),
    "kill -9 broker": _kill("kafka"),
    "kill -9 database": _kill("postgres"),
    "kill -9 stream run": _kill_run,
    "kill -9 code server": _kill("code-server"),
    "kill -9 Dagster daemon": _kill("dagster-daemon"),
    "kill -9 Dagster webserver": _kill("dagster-webserver"),
    "kill -9 supervisor": _kill_supervisor,
    "frozen stream run": _freeze_run,
    "frozen ingest or broker": _freeze_service,
    "disk full": _fill_disk,
    "table locked": _lock_table,
    "table slow": _slow_table,
    "connections exhausted": _exhaust_pool,
}


@dataclass
class Chaos:
    """One fault after the other in a thread of its own: all of them in a random order, then all again.

    `calm` is the middle of the pauses between them, in seconds.
    """

    installation: Installation
    seed: int
    calm: float
    faults: Mapping[str, Fault] = field(default_factory=lambda: FAULTS)
    injected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the context ends."""
        thread = threading.Thread(target=self._main, name="chaos")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(400)
            for process in self.installation.runs():
                with contextlib.suppress(psutil.Error):
                    process.resume()
            mend_tables(self.installation)
        for failure in self._failures:
            raise failure

    def _main(self) -> None:
        rng = random.Random(self.seed)
        try:
            while True:
                for name in rng.sample(list(self.faults), len(self.faults)):
                    # Half of them come while what went before is still being mended.
                    if self._stop.wait(rng.uniform(0.2, 2 * self.calm)):
                        return
                    if self.faults[name](self.installation, rng):
                        self.injected[name] += 1
        except BaseException as error:
            self._failures.append(error)
