"""supervisord: start it, ask it, stop it. It is reached by XML-RPC over a Unix socket that only its owner may open."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from loom_platform.errors import ServiceError
from loom_platform.supervise import instance

LONGEST_SOCKET_PATH = 100
# Each would make every child slower or its log late.
NOT_INHERITED = ("PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP", "VIRTUAL_ENV")


@dataclass(frozen=True)
class ProcessInfo:
    """What supervisord knows of a child; `state` is its word, such as RUNNING, STARTING, BACKOFF or FATAL."""

    name: str
    state: str
    pid: int | None
    started: float
    description: str


class Supervisor:
    """The supervisord of one installation, running or not."""

    def __init__(self, data_dir: Path, run: Path, logs: Path) -> None:
        self._data_dir, self._run, self._logs = data_dir, run, logs
        self.config = run / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """Its socket; in the directory for temporary files when the data directory's path is too long for one."""
        path = self._run / "supervisord.sock"
        if len(str(path)) <= LONGEST_SOCKET_PATH:
            return path
        name = hashlib.sha256(str(self._data_dir.resolve()).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"loom-{os.geteuid()}-{name}" / "supervisord.sock"

    def alive(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except ServiceError:
            return False

    def start(self, timeout: float = 20.0) -> None:
        """Start it in the background, with none of its children yet; raises ServiceError."""
        self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        if self.socket.parent.stat().st_uid != os.geteuid():
            raise ServiceError(f"{self.socket.parent} belongs to someone else; remove it, or set TMPDIR")
        environment = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        environment |= {instance.MARK: instance.mark(self._data_dir), "PYTHONUNBUFFERED": "1"}
        complaints = self._logs / "supervisord.err"
        with complaints.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.config)],
                cwd=self._run,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while not self.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                said = complaints.read_text(errors="replace").strip()
                raise ServiceError(f"supervisord did not start; see {self._logs}/supervisord.log. {said}")
            time.sleep(0.05)
        # It outlives this process, which therefore never waits for it.
        process.returncode = 0

    def processes(self) -> dict[str, ProcessInfo]:
        """Its children by name; empty when it is not running."""
        try:
            rows = self._call("getAllProcessInfo")
        except ServiceError:
            return {}
        return {
            r["name"]: ProcessInfo(
                r["name"], r["statename"], r["pid"] or None, float(r["start"]), r["spawnerr"] or r["description"]
            )
            for r in rows
        }

    def start_process(self, name: str) -> None:
        """Start a child unless it runs; returns at once."""
        self._call("startProcess", name, False, ignore=(Faults.ALREADY_STARTED,))

    def stop_process(self, name: str) -> None:
        """Stop a child and wait until it has ended."""
        self._call("stopProcess", name, True, ignore=(Faults.NOT_RUNNING, Faults.BAD_NAME))

    def update(self, stop: Callable[[Sequence[str]], None]) -> None:
        """Take over a changed configuration; `stop` is called with the names of the children that changed."""
        ((added, changed, removed),) = self._call("reloadConfig")
        stop([*changed, *removed])
        for name in (*changed, *removed):
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def shutdown(self, timeout: float = 60.0) -> None:
        """End it and what is left of its children."""
        with contextlib.suppress(ServiceError, psutil.Error):
            process = psutil.Process(self._call("getPID"))
            self._call("shutdown")
            psutil.wait_procs([process], timeout)

    def _call(self, method: str, *arguments: Any, ignore: tuple[int, ...] = ()) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            return getattr(ServerProxy("http://127.0.0.1", transport=transport).supervisor, method)(*arguments)
        except Fault as fault:
            if fault.faultCode in ignore:
                return None
            raise ServiceError(f"supervisord refused {method}{arguments}: {fault.faultString}") from None
        except (OSError, HTTPException) as error:
            raise ServiceError(f"supervisord does not answer: {error}") from None
        finally:
            transport.close()
