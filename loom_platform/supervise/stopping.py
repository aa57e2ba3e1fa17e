"""`loom down`: those that write, then those that are written to, and nothing left behind."""

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from loom_platform.settings import Settings
from loom_platform.supervise import instance
from loom_platform.supervise.control import Supervisor

Progress = Callable[[str, str, str], None]
"""Called with a service, its phase (waiting, preparing, starting, finishing, ready, failed, ...) and a detail."""

STOP_ORDER = (("dagster-daemon", "dagster-webserver", "ingest", "code-server"), ("kafka", "postgres"))

# A sensor that long-polls holds the daemon and the code server for the rest of its tick. They have nothing to
# lose: once the runs have ended, which do, these two are not waited for.
HELD_BY_TICKS = ("dagster-daemon", "code-server")
GRACE_SECONDS = 1.5


def supervisor_of(settings: Settings) -> Supervisor:
    """The supervisord of this installation."""
    return Supervisor(settings.data_dir, settings.run_dir, settings.logs_dir)


def down(settings: Settings, progress: Progress) -> bool:
    """Stop everything and leave no process behind; returns whether there was anything to stop."""
    supervisor = supervisor_of(settings)
    running = supervisor.alive()
    if running:
        for step in STOP_ORDER:
            there = supervisor.processes()
            stop_services(supervisor, settings.data_dir, [name for name in step if name in there], progress)
        supervisor.shutdown()
    return end_leftovers(settings, progress) or running


def stop_services(supervisor: Supervisor, data_dir: Path, names: Sequence[str], progress: Progress) -> None:
    """Stop these services at once, and wait until they and their runs have ended."""

    def stop(name: str) -> None:
        progress(name, "stopping", "")
        supervisor.stop_process(name)
        progress(name, "stopped", "")

    with ThreadPoolExecutor(max(len(names), 1)) as pool:
        futures = [pool.submit(stop, name) for name in names]
        impatient = time.monotonic() + GRACE_SECONDS
        while "code-server" in names and not all(f.done() for f in futures):
            time.sleep(0.1)
            if time.monotonic() > impatient and not instance.find_runs(data_dir):
                _kill_held(supervisor)
        for future in futures:
            future.result()


def _kill_held(supervisor: Supervisor) -> None:
    processes = supervisor.processes()
    for name in HELD_BY_TICKS:
        info = processes.get(name)
        if info is not None and info.state == "STOPPING" and info.pid:
            instance.kill_tree(info.pid)


def end_leftovers(settings: Settings, progress: Progress) -> bool:
    """End the processes of this installation that no supervisord keeps, as after a crash. True if there were any."""
    postmaster = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        postmaster = int((settings.data_dir / "postgres/data/postmaster.pid").read_text().split()[0])
    leftovers = instance.find(settings.data_dir, postmaster)
    if leftovers:
        progress("leftovers", "stopping", f"{len(leftovers)} processes that a crash left")
        servers = [p for p in leftovers if instance.name_of(p) in ("java", "postgres")]
        # a run ends well as long as it can write that it did
        instance.end(instance.find_runs(settings.data_dir))
        instance.end((p for p in leftovers if p not in servers), GRACE_SECONDS)
        instance.end(servers)
        progress("leftovers", "stopped", "")
    return bool(leftovers)
