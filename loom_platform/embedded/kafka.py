"""Apache Kafka as one KRaft node, broker and controller in one process, on loopback."""

import base64
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loom_platform.embedded.jars import ensure_jars
from loom_platform.embedded.java import find_java
from loom_platform.embedded.process import Launch, wait_until
from loom_platform.errors import ServiceError

NODE_ID = 1

# Compiling with C1 only and one collector thread: the broker is up sooner and stays small (docs/architecture.md).
JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
)

LARGEST_MESSAGE = 16 * 1024 * 1024
CONFIGURATION = {
    "process.roles": "broker,controller",
    "node.id": str(NODE_ID),
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    # Internal topics of a single node
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # An audio chunk of 10 MB is 13.4 MB of base64
    "message.max.bytes": str(LARGEST_MESSAGE),
    # A machine's clock that is ahead for a while must not stop it from taking records; their own time is in the payload
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
    "replica.fetch.max.bytes": str(LARGEST_MESSAGE),
    # Small threads and buffers: one household, not a data centre
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
    "log.cleaner.io.buffer.size": str(256 * 1024),
    "log.index.size.max.bytes": str(2 * 1024 * 1024),
    "log.segment.bytes": str(128 * 1024 * 1024),
    "log.retention.check.interval.ms": "600000",
    # After a kill the broker waits for its own old session to end; the default makes that nine seconds.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "1000",
    "metrics.recording.level": "INFO",
}

LOG4J = """\
Configuration:
  status: WARN
  Appenders:
    Console:
      name: out
      target: SYSTEM_OUT
      PatternLayout:
        pattern: "%d{ISO8601} %-5p %c{1} %m%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: out
"""


@dataclass(frozen=True)
class Kafka:
    """One broker with its files below `root`; the jars are shared by all brokers of this `cache`."""

    root: Path
    port: int
    controller_port: int
    cache: Path

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The broker's log directory."""
        return self.root / "data"

    def prepare(self) -> None:
        """Fetch the jars and format the storage unless that is done, and write the configuration."""
        ensure_jars(self.cache)
        self.root.mkdir(parents=True, exist_ok=True)
        settings = CONFIGURATION | {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{self.controller_port}",
            "log.dirs": str(self.data),
        }
        self._properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        (self.root / "log4j2.yaml").write_text(LOG4J)
        if not (self.data / "meta.properties").exists():
            self._format()

    @property
    def launch(self) -> Launch:
        """How to start it."""
        return Launch((*self._java("kafka.Kafka"), str(self._properties)), self.root)

    def wait_ready(self, timeout: float = 90.0, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait until it tells its metadata; raises ServiceError."""
        wait_until(self.answers, f"Kafka on port {self.port}", timeout, alive)

    def answers(self) -> bool:
        """Whether it tells its metadata now."""
        return broker_answers(self.bootstrap_servers, cluster_id=self.cluster_id)

    @property
    def cluster_id(self) -> str | None:
        """Kafka's own identity of this cluster; None before it is formatted."""
        try:
            lines = (self.data / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return None
        return dict(line.split("=", 1) for line in lines if "=" in line).get("cluster.id")

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        command = [
            *self._java("kafka.tools.StorageTool"),
            "format",
            f"--cluster-id={cluster}",
            "-c",
            str(self._properties),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.root)
        if result.returncode:
            raise ServiceError(f"Kafka could not format {self.data}: {(result.stderr or result.stdout).strip()}")

    def _java(self, main: str) -> tuple[str, ...]:
        jars = ensure_jars(self.cache)
        configuration = f"-Dlog4j2.configurationFile={self.root / 'log4j2.yaml'}"
        return (str(find_java()), *JVM, configuration, "-cp", f"{jars}/*", main)

    @property
    def _properties(self) -> Path:
        return self.root / "server.properties"


def broker_answers(bootstrap_servers: str, timeout: float = 2.0, *, cluster_id: str | None = None) -> bool:
    """Whether a broker tells its metadata, and is itself in it.

    With `cluster_id` it must be that cluster's: another installation's broker may have taken the port.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient(
        {"bootstrap.servers": bootstrap_servers, "socket.connection.setup.timeout.ms": 1000, "log_level": 0},
    )
    try:
        metadata = client.list_topics(timeout=timeout)
        return bool(metadata.brokers) and cluster_id in (None, metadata.cluster_id)
    except KafkaException:
        return False
