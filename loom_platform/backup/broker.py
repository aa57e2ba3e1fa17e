"""The broker of a restore: it may be this installation's own, which can be stopped and begun anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from loom_platform.backup.errors import BackupError
from loom_platform.embedded.kafka import Kafka
from loom_platform.embedded.process import start, stop, tail
from loom_platform.errors import ServiceError
from loom_platform.stream.source import admin_client
from loom_platform.topics import broker_topics

_TIMEOUT_SECONDS: Final = 30.0
# Of what a broker keeps of its logs beside them; without it, it looks at the files.
_CHECKPOINTS: Final = (
    *("recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint"),
    ".kafka_cleanshutdown",
)


@dataclass
class Broker:
    """The broker; `kafka` when it is this installation's own, running as `process`."""

    bootstrap_servers: str
    kafka: Kafka | None = None
    log: Path = Path()

    def __post_init__(self) -> None:
        self._process = None if self.kafka is None else start(self.kafka.launch, self.log)
        self._wait()

    def _wait(self) -> None:
        process = self._process
        if self.kafka is None or process is None:
            return
        try:
            self.kafka.wait_ready(90, lambda: process.poll() is None)
        except ServiceError as error:
            self.close()
            raise ServiceError(f"{error}\nThe end of {self.log}:\n{tail(self.log)}") from error

    def begin_at(self, starts: Mapping[tuple[str, int], int]) -> bool:
        """Have empty partitions begin at these offsets; False where the broker is not ours, which stays as it is.

        A log begins at the offset that its first segment's name says
        (https://kafka.apache.org/documentation/#log). So offsets go on where the old broker's were, and what rows and
        dead letters say of them stays true.
        """
        if self.kafka is None:
            return False
        self.close()
        for (topic, partition), offset in starts.items():
            directory = self.kafka.data / f"{topic}-{partition}"
            if any(path.stat().st_size for path in directory.glob("*.log")):
                raise BackupError(f"{directory} has records: its offsets cannot begin anew")
            for path in directory.iterdir():
                if path.name != "partition.metadata":
                    path.unlink()
            (directory / f"{offset:020d}.log").touch(mode=0o600)
        for name in _CHECKPOINTS:
            (self.kafka.data / name).unlink(missing_ok=True)
        self._process = start(self.kafka.launch, self.log)
        self._wait()
        return True

    def close(self) -> None:
        """Stop it, if it is ours."""
        if self.kafka is not None and self._process is not None:
            stop(self._process, self.kafka.launch)
            self._process = None


def add_partitions(bootstrap_servers: str, wanted: Mapping[str, int]) -> None:
    """Have at least so many partitions of each topic; raises BackupError when the broker refuses."""
    there = broker_topics(bootstrap_servers)
    fewer = [NewPartitions(name, count) for name, count in wanted.items() if there.get(name, count) < count]
    if not fewer:
        return
    for name, future in admin_client(bootstrap_servers).create_partitions(fewer).items():
        try:
            future.result(timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise BackupError(f"the broker refused partitions of topic {name}: {error.args[0].str()}") from error
