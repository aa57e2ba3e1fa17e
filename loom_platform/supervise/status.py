"""What `loom status` tells: each service, its state, and whether all are ready."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from loom_platform.settings import Settings
from loom_platform.supervise.control import ProcessInfo
from loom_platform.supervise.endpoints import PORTS, Endpoints
from loom_platform.supervise.services import Embedded, Service, all_services
from loom_platform.supervise.stopping import supervisor_of

# What is told of a child that is not ready, by supervisord's own word
_STATES = {
    "RUNNING": "starting",
    "STARTING": "starting",
    "BACKOFF": "backoff",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
}


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service; `state` is ready, starting, backoff, failed, stopping, stopped or, when not ours, unreachable."""

    name: str
    state: str
    pid: int | None
    url: str


@dataclass(frozen=True, slots=True)
class Status:
    """The platform. The database URL is complete, because scripts connect with it."""

    services: tuple[ServiceStatus, ...]
    ingest_url: str
    dagster_url: str
    database_url: str
    kafka_bootstrap_servers: str

    @property
    def ready(self) -> bool:
        """Whether every service is."""
        return all(s.state == "ready" for s in self.services)

    def as_json(self) -> dict[str, Any]:
        """The object that `loom status --json` prints."""
        return {"ready": self.ready, **asdict(self)}


def platform_status(settings: Settings) -> Status:
    """Ask supervisord and every service; takes about two seconds at most."""
    endpoints = Endpoints.read(settings.data_dir) or Endpoints(
        **{name: getattr(settings, name) for name in PORTS},
        database_url=settings.database_url,
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        external_database=settings.external_database,
        external_kafka=settings.external_kafka,
    )
    services = all_services(settings, endpoints, Embedded())
    processes = supervisor_of(settings).processes()
    external = {
        *(("postgres",) if endpoints.external_database else ()),
        *(("kafka",) if endpoints.external_kafka else ()),
    }
    with ThreadPoolExecutor(len(services)) as pool:
        told = pool.map(lambda s: _status(s, s.name in external, processes.get(s.name)), services)
        statuses = tuple(told)
    urls = {service.name: service.url for service in services}
    return Status(
        statuses,
        urls["ingest"],
        urls["dagster-webserver"],
        endpoints.database_url,
        endpoints.kafka_bootstrap_servers,
    )


def _status(service: Service, external: bool, process: ProcessInfo | None) -> ServiceStatus:
    if external:
        state = "ready" if service.probe(0.0) else "unreachable"
        return ServiceStatus(service.name, state, None, service.url)
    if process is None:
        return ServiceStatus(service.name, "stopped", None, service.url)
    state = _STATES.get(process.state, "failed")
    if process.state in ("RUNNING", "STARTING") and service.probe(process.started):
        state = "ready"
    return ServiceStatus(service.name, state, process.pid, service.url)
