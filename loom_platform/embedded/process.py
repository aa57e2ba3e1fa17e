"""How a server is launched, and a plain runner for when no supervisor is there."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loom_platform.errors import ServiceError


@dataclass(frozen=True)
class Launch:
    """A command line with what it needs around it. `user` is set only when it is not the present user."""

    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM


def start(launch: Launch, log: Path) -> "subprocess.Popen[bytes]":
    """Start it in a session of its own, so that a Ctrl-C meant for the parent does not reach it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            launch.command,
            cwd=launch.directory,
            env={**_inherited(), **launch.environment},
            user=launch.user,
            group=group_of(launch.user),
            extra_groups=[] if launch.user else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: "subprocess.Popen[bytes]", launch: Launch, timeout: float = 30.0) -> None:
    """Ask it to stop, and kill it when it has not after `timeout` seconds."""
    if process.poll() is None:
        process.send_signal(launch.stop_signal)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(
    launch: Launch, log: Path, ready: Callable[[Callable[[], bool]], None]
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run it for as long as the context lasts; `ready(alive)` waits until it answers."""
    process = start(launch, log)
    try:
        try:
            ready(lambda: process.poll() is None)
        except ServiceError as error:
            raise ServiceError(f"{error}\nThe end of {log}:\n{tail(log)}") from error
        yield process
    finally:
        stop(process, launch)


def wait_until(
    condition: Callable[[], bool], what: str, timeout: float, alive: Callable[[], bool] = lambda: True
) -> None:
    """Look every 50 ms until `condition()`; raises ServiceError after `timeout` seconds or when it is not alive."""
    deadline = time.monotonic() + timeout
    while not condition():
        if not alive():
            raise ServiceError(f"{what} ended while it was starting")
        if time.monotonic() > deadline:
            raise ServiceError(f"{what} was not ready after {timeout:.0f} s")
        time.sleep(0.05)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def group_of(user: str | None) -> int | None:
    """The primary group of `user`."""
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "JAVA_HOME")}
