"""The service on one port and one spool, killed and started again as often as it takes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import httpx

from loom_platform.embedded.process import free_port
from tests.ingest.server import wait_for

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
"""libfaketime, where it is installed (`make soak` installs it): the service's wall clock then follows a file."""


class Service:
    """`python -m loom_ingest` over the same settings each time."""

    def __init__(self, bootstrap_servers: str, root: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = root / "ingest.log"
        self.process: subprocess.Popen[bytes] | None = None
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOM_")}
        environment |= {"LOOM_PORT": str(self.port), "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
        self._environment = environment | {f"LOOM_{key.upper()}": str(value) for key, value in settings.items()}
        self._clock = root / "clock"
        self.set_clock(0)
        if FAKETIME:
            self._environment |= {
                "LD_PRELOAD": str(FAKETIME[0]),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                # as on a machine: what the monotonic clock measures does not jump
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self._output: BinaryIO = self.log.open("ab")

    def start(self) -> None:
        """Begin; whoever sends tries until it answers."""
        command = [sys.executable, "-m", "loom_ingest"]
        self.process = subprocess.Popen(command, env=self._environment, stdout=self._output, stderr=self._output)

    def kill(self) -> None:
        """kill -9, with whatever it is doing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def set_clock(self, seconds: int) -> bool:
        """Let its wall clock be off by so much within a second; False where that can't be done."""
        self._clock.write_text(f"{seconds:+d}")
        return bool(FAKETIME)

    def wait_for_state(self, state: str, seconds: float) -> None:
        """Until `/readyz` says `state`."""
        wait_for(lambda: self.state() == state, f"the service to be {state}", seconds)

    def wait_until_it_answers(self, seconds: float) -> None:
        """Until `/readyz` says anything."""
        wait_for(lambda: self.state() is not None, "the service to answer", seconds)

    def state(self) -> str | None:
        """What `/readyz` says; None while nobody answers."""
        try:
            return str(httpx.get(f"{self.url}/readyz", timeout=5).json()["state"])
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    def end(self) -> None:
        """Stop it, in peace if it can."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._output.close()
