"""The servers that a restore works on: this installation's own, started for it alone, or those of the settings."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy.engine import make_url

from loom_platform.backup.broker import Broker
from loom_platform.backup.errors import BackupError
from loom_platform.backup.progress import Progress
from loom_platform.embedded.process import running
from loom_platform.settings import Settings
from loom_platform.supervise.endpoints import choose_ports
from loom_platform.supervise.platform import alone, make_directories
from loom_platform.supervise.services import embedded_servers
from loom_platform.supervise.stopping import end_leftovers, supervisor_of


@dataclass(frozen=True)
class Servers:
    """What a restore works on."""

    database_url: str
    dagster_url: str
    broker: Broker


@contextmanager
def standing(settings: Settings, progress: Progress) -> Iterator[Servers]:
    """Hold the installation, with its servers up and nothing else; raises BackupError when Loom is running."""
    if supervisor_of(settings).alive():
        raise BackupError("Loom is running, and what it does would be lost: run `loom down` first")
    make_directories(settings)
    with alone(settings.run_dir / "up.lock"), ExitStack() as stack:
        end_leftovers(settings, lambda *_: None)
        embedded = embedded_servers(settings, choose_ports(settings, ours=False))
        database_url = settings.database_url
        if (server := embedded.postgres) is not None:
            progress("starting PostgreSQL", 0)
            server.prepare()
            log = settings.logs_dir / "restore-postgres.log"
            stack.enter_context(running(server.launch, log, lambda alive: server.wait_ready(60, alive)))
            database_url = server.url()
        if embedded.kafka is not None:
            progress("starting Kafka", 0)
            embedded.kafka.prepare()
            log = settings.logs_dir / "restore-kafka.log"
            broker = Broker(embedded.kafka.bootstrap_servers, embedded.kafka, log)
        else:
            broker = Broker(settings.kafka_bootstrap_servers)
        stack.callback(broker.close)
        dagster = settings.dagster_database_url or make_url(database_url).set(database="dagster").render_as_string(
            hide_password=False
        )
        yield Servers(database_url, dagster, broker)
