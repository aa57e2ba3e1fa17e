"""The processes of one installation, found by a mark that each inherits in its environment.

supervisord knows its own children. After a `kill -9` of supervisord, or for what a child left behind, the mark
is what tells them from everything else on the machine.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "LOOM_INSTANCE"


def mark(data_dir: Path) -> str:
    """The value of the mark for an installation."""
    return str(data_dir.resolve())


def find(data_dir: Path, postmaster: int | None = None) -> list[psutil.Process]:
    """Its processes, without the present one and its ancestors.

    `postmaster` is what PostgreSQL's own pid file says; it counts when its command line names the data directory.
    """
    value = mark(data_dir)
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid in own or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == value or (
                process.pid == postmaster and value in " ".join(process.cmdline())
            ):
                found.append(process)
    return found


def find_runs(data_dir: Path) -> list[psutil.Process]:
    """Its Dagster processes, which is what is left of runs when the services that start them have ended."""
    found: list[psutil.Process] = []
    for process in find(data_dir):
        with contextlib.suppress(psutil.Error):
            if any("dagster" in part for part in process.cmdline()):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], timeout: float = 20.0) -> None:
    """Ask them to stop, and kill them and their children when they have not after `timeout` seconds."""
    processes = list(processes)
    everyone = {p.pid: p for p in processes}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            everyone.update({child.pid: child for child in process.children(recursive=True)})
    for process in processes:
        with contextlib.suppress(psutil.Error):
            # its children are PostgreSQL's to stop; SIGINT is its fast shutdown
            parent = process.parent()
            if process.name() != "postgres":
                process.terminate()
            elif parent is None or parent.name() != "postgres":
                process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(everyone.values(), timeout)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, 5)
