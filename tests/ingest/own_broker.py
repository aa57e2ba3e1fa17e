"""A broker that a test may kill."""

import os
import signal
import subprocess
from pathlib import Path

from loom_platform.embedded.kafka import Kafka
from loom_platform.embedded.process import free_port, start, stop
from loom_platform.settings import load_settings


class OwnBroker:
    """One of its own, on free ports; `start` begins it again over the same data."""

    def __init__(self, root: Path) -> None:
        self.kafka = Kafka(root / "kafka", free_port(), free_port(), load_settings().cache_dir)
        self.kafka.prepare()
        self.log = root / "kafka.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        process = self.process = start(self.kafka.launch, self.log)
        self.kafka.wait_ready(90, lambda: process.poll() is None)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(20)

    def end(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
        stop(self.process, self.kafka.launch)
