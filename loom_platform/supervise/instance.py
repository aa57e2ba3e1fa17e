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
    """Its Dagster runs: the code server starts each by multiprocessing."""
    found: list[psutil.Process] = []
    for process in find(data_dir):
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in part for part in process.cmdline()):
                found.append(process)
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        _kill([*process.children(recursive=True), process])


def end(processes: Iterable[psutil.Process], timeout: float = 10.0) -> None:
    """Ask them to stop, and kill them and their children when they have not after `timeout` seconds.

    PostgreSQL, which may have much to write, has three times as long.
    """
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
    servers = [p for p in alive if name_of(p) == "postgres"]
    _kill(p for p in alive if p not in servers)
    _kill(psutil.wait_procs(servers, 2 * timeout)[1])


def name_of(process: psutil.Process) -> str:
    """Its name; empty when it has ended."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def _kill(processes: Iterable[psutil.Process]) -> None:
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, 5)
