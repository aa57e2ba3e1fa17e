"""`loom up`: from whatever state the machine is in to a platform that is ready."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from loom_platform.embedded.process import tail
from loom_platform.errors import PlatformError, ServiceError, SettingsError
from loom_platform.roles.limits import Role
from loom_platform.roles.logins import ensure_logins, login_urls
from loom_platform.settings import Settings
from loom_platform.supervise.config import supervisord_config
from loom_platform.supervise.control import Supervisor
from loom_platform.supervise.dagster_home import write_dagster_home
from loom_platform.supervise.endpoints import Endpoints, choose_ports
from loom_platform.supervise.services import Embedded, Service, all_services, embedded_servers
from loom_platform.supervise.stopping import Progress, end_leftovers, stop_services, supervisor_of

READY_TIMEOUT_SECONDS = 120.0
EXTERNAL_TIMEOUT_SECONDS = 20.0
GIVE_UP_AFTER_DEATHS = 3


@dataclass(frozen=True)
class Platform:
    """The services with the endpoints that they were given."""

    settings: Settings
    endpoints: Endpoints
    embedded: Embedded
    services: tuple[Service, ...]
    supervisor: Supervisor


def up(settings: Settings, progress: Progress) -> Platform:
    """Start what does not run, in parallel, and return when everything is ready.

    Raises PlatformError: SettingsError for a setting, ServiceError with the end of the log for a service.
    """
    _check_ingest_settings()
    make_directories(settings)
    with alone(settings.run_dir / "up.lock"):
        supervisor = supervisor_of(settings)
        running = supervisor.alive()
        if not running:
            end_leftovers(settings, progress)
        ports = choose_ports(settings, ours=running)
        embedded = embedded_servers(settings, ports)
        _prepare(embedded, progress)
        urls = _role_urls(settings, embedded)
        endpoints = Endpoints(
            **ports,
            database_url=embedded.postgres.url() if embedded.postgres else settings.database_url,
            kafka_bootstrap_servers=(
                embedded.kafka.bootstrap_servers if embedded.kafka else settings.kafka_bootstrap_servers
            ),
            ingest_database_url=urls.get(Role.INGEST, ""),
            stream_database_url=urls.get(Role.STREAM, ""),
            read_database_url=urls.get(Role.READ, ""),
            external_database=settings.external_database,
            external_kafka=settings.external_kafka,
        )
        endpoints.write(settings.data_dir)
        write_dagster_home(settings.dagster_home, endpoints.code_server_port)
        platform = Platform(settings, endpoints, embedded, all_services(settings, endpoints, embedded), supervisor)
        _configure(platform, running, progress)
        _start_all(platform, progress)
        return platform


def _check_ingest_settings() -> None:
    """Raise SettingsError for what the ingest service would refuse to start with, before anything is started."""
    from loom_ingest.errors import SettingsError as IngestSettingsError
    from loom_ingest.settings import load_settings

    try:
        load_settings()
    except IngestSettingsError as error:
        raise SettingsError(str(error)) from None


def _role_urls(settings: Settings, embedded: Embedded) -> dict[Role, str]:
    """The URL of each role that has one: the embedded server's logins, or those that the settings name."""
    if embedded.postgres is not None:
        return login_urls(embedded.postgres.url(), embedded.postgres.password)
    named = {
        Role.INGEST: settings.ingest_database_url,
        Role.STREAM: settings.stream_database_url,
        Role.READ: settings.read_database_url,
    }
    return {role: url for role, url in named.items() if url}


def _prepare(embedded: Embedded, progress: Progress) -> None:
    named = {"postgres": embedded.postgres, "kafka": embedded.kafka}
    servers = {name: server for name, server in named.items() if server is not None}
    with ThreadPoolExecutor(2) as pool:
        for name in servers:
            progress(name, "preparing", "")
        for future in [pool.submit(server.prepare) for server in servers.values()]:
            future.result()


def _configure(platform: Platform, running: bool, progress: Progress) -> None:
    settings, supervisor = platform.settings, platform.supervisor
    text = supervisord_config(platform.services, settings.run_dir, settings.logs_dir, supervisor.socket)
    supervisor.config.touch(mode=0o600)
    supervisor.config.write_text(text)
    if running:
        supervisor.update(lambda names: stop_services(supervisor, settings.data_dir, names, progress))
    else:
        supervisor.start()


def _start_all(platform: Platform, progress: Progress) -> None:
    ready = {service.name: threading.Event() for service in platform.services}
    failed = threading.Event()
    errors: list[PlatformError] = []

    def start(service: Service) -> None:
        progress(service.name, "waiting", f"for {' and '.join(service.needs)}" if service.needs else "")
        while not all(ready[name].wait(0.1) for name in service.needs):
            if failed.is_set():
                return
        try:
            if not _start_one(platform, service, progress, failed):
                return
        except PlatformError as error:
            failed.set()
            errors.append(error)
            progress(service.name, "failed", str(error).splitlines()[0])
            return
        ready[service.name].set()
        progress(service.name, "ready", service.url)

    with ThreadPoolExecutor(len(platform.services)) as pool:
        futures = [pool.submit(start, service) for service in platform.services]
        try:
            for future in futures:
                future.result()
        except BaseException:
            # a Ctrl-C comes to this thread alone; the others must not wait on
            failed.set()
            raise
    if errors:
        told = "\n\n".join(str(error) for error in errors)
        raise ServiceError(
            f"{told}\n\nThe rest runs on: `loom status` tells what. Mend it and `loom up`, or `loom down`"
        )


def _start_one(platform: Platform, service: Service, progress: Progress, failed: threading.Event) -> bool:
    supervisor = platform.supervisor
    began = time.monotonic()
    patience = READY_TIMEOUT_SECONDS if service.launch else EXTERNAL_TIMEOUT_SECONDS
    deaths: set[float] = set()
    started = 0.0
    progress(service.name, "starting", "")
    if service.launch is not None:
        supervisor.start_process(service.name)
    while True:
        if service.launch is not None:
            info = supervisor.processes().get(service.name)
            started = info.started if info else 0.0
            if info is None or info.state in ("BACKOFF", "FATAL", "EXITED"):
                deaths.add(started)
            if info is None or info.state == "FATAL" or len(deaths) >= GIVE_UP_AFTER_DEATHS:
                raise _broken(platform, service, "it ends as soon as it is started")
        if (service.answers or service.probe)(started):
            break
        if time.monotonic() - began > patience:
            raise _broken(platform, service, f"it was not ready after {patience:.0f} s")
        if failed.is_set():
            return False
        time.sleep(0.1)
    _finish(platform, service, progress)
    return True


def _finish(platform: Platform, service: Service, progress: Progress) -> None:
    """What the others need of a server beyond that it runs: databases with their schema, topics."""
    settings, endpoints = platform.settings, platform.endpoints
    if service.name == "postgres":
        from loom_platform.database import ensure_database
        from loom_platform.migrate import migrate

        progress(service.name, "finishing", "migrations")
        ensure_database(endpoints.database_url, ("vector",))
        ensure_database(endpoints.dagster_database_url(settings))
        migrate(endpoints.database_url)
        if platform.embedded.postgres is not None:
            ensure_logins(endpoints.database_url, platform.embedded.postgres.password)
    elif service.name == "kafka":
        from loom_models.flows import STAGES
        from loom_platform.topics import create_topics

        progress(service.name, "finishing", "topics")
        create_topics(
            endpoints.kafka_bootstrap_servers,
            prefix=settings.kafka_topic_prefix,
            partitions=settings.kafka_default_partitions,
            replication_factor=settings.kafka_default_replication_factor,
            stages=[stage.name for stage in STAGES],
        )


def _broken(platform: Platform, service: Service, why: str) -> ServiceError:
    if service.launch is None:
        variable = {"postgres": "LOOM_DATABASE_URL", "kafka": "LOOM_KAFKA_BOOTSTRAP_SERVERS"}[service.name]
        return ServiceError(
            f"{service.name}: nothing answers at {variable}={service.url}; start it, or unset {variable}"
        )
    log = platform.settings.logs_dir / f"{service.name}.log"
    return ServiceError(f"{service.name}: {why}. The end of {log}:\n{tail(log)}")


def make_directories(settings: Settings) -> None:
    """Make the data directory. Only its owner may look in; root's may be entered, for PostgreSQL's user."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    private = (settings.run_dir, settings.logs_dir, settings.dagster_home)
    for directory in (*private, *(settings.data_dir / name for name in ("kafka", "blobs", "spool"))):
        directory.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of `loom up`; raises ServiceError when another process has it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError("another `loom up` is at work on this data directory; wait for it") from None
        yield
