"""The service as a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from loom_platform.embedded.process import free_port


@dataclass(frozen=True)
class LiveServer:
    """`python -m loom_ingest`, running."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def live_server(bootstrap_servers: str, **settings: object) -> Iterator[LiveServer]:
    """A server with these settings (`timestamp_tolerance_hours=0`), until the context ends."""
    port = int(str(settings.pop("port", None) or free_port()))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOM_")}
    environment |= {"LOOM_PORT": str(port), "LOOM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
    # Nobody listens on port 1; a test that wants devices says where they are.
    environment["LOOM_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    environment |= {f"LOOM_{key.upper()}": str(value) for key, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="loom-ingest-") as directory:
        log = Path(directory) / "ingest.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "loom_ingest"], env=environment, stdout=output, stderr=output
            )
        try:
            server = LiveServer(process, port, log)
            wait_for(lambda: process.poll() is not None or _lives(server), "the ingest service", 30)
            if process.poll() is not None:
                raise RuntimeError(f"the ingest service ended with {process.returncode}:\n{log.read_text()}")
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(condition: object, what: str, timeout: float) -> None:
    """Look every 50 ms until `condition()`."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.05)


def _lives(server: LiveServer) -> bool:
    try:
        return httpx.get(f"{server.url}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
