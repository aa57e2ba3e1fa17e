"""The services of the platform: how each is started, what it needs first, and when it is ready."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy.engine import make_url

from loom_platform.embedded.kafka import Kafka
from loom_platform.embedded.postgres import Postgres
from loom_platform.embedded.process import Launch
from loom_platform.settings import Settings, loom_environment
from loom_platform.supervise import instance, probes
from loom_platform.supervise.endpoints import Endpoints

REPOSITORY = Path(__file__).parents[2]
DEFINITIONS = "loom_platform.orchestration.definitions"
CODE_LOCATION = "loom"

# Sensors that long-poll each hold a worker of the code server for their whole tick.
CODE_SERVER_WORKERS = 32


@dataclass(frozen=True)
class Service:
    """One service. `launch` None means that it is not ours to start, and is
    a function because it may look for Java and the jars; `needs` are names of services."""

    name: str
    url: str
    probe: probes.Probe
    # when others may begin to prepare it, where that is before it is ready
    answers: probes.Probe | None = None
    launch: Callable[[], Launch] | None = None
    needs: tuple[str, ...] = ()
    stop_seconds: int = 25
    # whether its own children belong to it and are stopped with it
    group: bool = False


RUN_ENVIRONMENT = {"POLARS_MAX_THREADS": "1"}
"""Of the runs of Dagster, where the person says nothing else. A stream run has a thread for each stage: to share the
small frames of a live batch out to more of them costs more than it saves."""


@dataclass(frozen=True)
class Embedded:
    """The servers that Loom itself brings; None where the settings name one elsewhere."""

    postgres: Postgres | None = field(default=None)
    kafka: Kafka | None = field(default=None)


def embedded_servers(settings: Settings, ports: dict[str, int]) -> Embedded:
    """What has to be started beside Loom's own processes."""
    postgres = None if settings.external_database else Postgres(settings.data_dir / "postgres", ports["postgres_port"])
    kafka = None
    if not settings.external_kafka:
        root = settings.data_dir / "kafka"
        kafka = Kafka(root, ports["kafka_port"], ports["kafka_controller_port"], settings.cache_dir)
    return Embedded(postgres, kafka)


def all_services(settings: Settings, endpoints: Endpoints, embedded: Embedded) -> tuple[Service, ...]:
    """Every service, in the order of showing. The code server, whose start is the longest, waits for none."""
    environment = child_environment(settings, endpoints)
    ingest_url = f"http://{_reachable(settings.host)}:{endpoints.port}"
    dagster_url = f"http://127.0.0.1:{endpoints.dagster_port}"
    home = settings.dagster_home

    def python(*arguments: str, **more: str) -> Callable[[], Launch]:
        return lambda: Launch((sys.executable, "-m", *arguments), home, environment | more)

    workspace = str(home / "workspace.yaml")
    port = str(endpoints.code_server_port)
    return (
        Service(
            "postgres",
            hide_password(endpoints.database_url),
            probes.database_probe(endpoints.database_url),
            answers=probes.database_server_probe(endpoints.database_url),
            launch=_marked(embedded.postgres, settings),
            stop_seconds=40,
        ),
        Service(
            "kafka",
            endpoints.kafka_bootstrap_servers,
            probes.kafka_probe(endpoints.kafka_bootstrap_servers, embedded.kafka),
            launch=_marked(embedded.kafka, settings),
            stop_seconds=40,
        ),
        Service(
            "ingest",
            ingest_url,
            probes.http_probe(f"{ingest_url}/readyz"),
            launch=lambda: Launch(
                (sys.executable, "-m", "loom_ingest"), home, ingest_environment(environment, endpoints)
            ),
            needs=("kafka",),
        ),
        Service(
            "code-server",
            f"grpc://127.0.0.1:{port}",
            probes.code_server_probe(endpoints.code_server_port),
            launch=python(
                *("dagster", "code-server", "start", "-m", DEFINITIONS, "--location-name", CODE_LOCATION),
                *("-h", "127.0.0.1", "-p", port, "-n", str(CODE_SERVER_WORKERS)),
                *("--use-python-environment-entry-point", "--log-level", "warning"),
                **RUN_ENVIRONMENT | {k: os.environ[k] for k in RUN_ENVIRONMENT.keys() & os.environ.keys()},
            ),
            group=True,
        ),
        Service(
            "dagster-webserver",
            dagster_url,
            probes.http_probe(f"{dagster_url}/server_info"),
            launch=python("dagster_webserver", "-h", "127.0.0.1", "-p", str(endpoints.dagster_port), "-w", workspace),
            needs=("postgres", "code-server"),
            group=True,
        ),
        Service(
            "dagster-daemon",
            "",
            probes.daemon_probe(endpoints.dagster_database_url(settings)),
            launch=python("dagster._daemon", "run", "-w", workspace),
            needs=("postgres", "code-server"),
            group=True,
        ),
    )


def child_environment(settings: Settings, endpoints: Endpoints) -> dict[str, str]:
    """What Loom's own processes see: the person's `LOOM_` variables, and every endpoint, told explicitly."""
    environment = loom_environment()
    # A key is for whoever sends, not for a process that may show its environment.
    environment.pop("LOOM_API_KEY", None)
    environment.setdefault("LOOM_SPOOL_DIR", str(settings.data_dir / "spool"))
    return environment | {
        instance.MARK: instance.mark(settings.data_dir),
        "LOOM_DATA_DIR": str(settings.data_dir),
        "LOOM_CACHE_DIR": str(settings.cache_dir),
        "LOOM_HOST": settings.host,
        "LOOM_PORT": str(endpoints.port),
        "LOOM_DATABASE_URL": endpoints.database_url,
        "LOOM_DAGSTER_DATABASE_URL": endpoints.dagster_database_url(settings),
        **_role_variables(endpoints),
        "LOOM_KAFKA_BOOTSTRAP_SERVERS": endpoints.kafka_bootstrap_servers,
        "LOOM_DAGSTER_PORT": str(endpoints.dagster_port),
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # runs are started as `dagster ...`
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
    }


def _role_variables(endpoints: Endpoints) -> dict[str, str]:
    urls = {
        "LOOM_STREAM_DATABASE_URL": endpoints.stream_database_url,
        "LOOM_READ_DATABASE_URL": endpoints.read_database_url,
    }
    return {name: url for name, url in urls.items() if url}


# What others connect with, which a service that strangers can reach has no need of.
_NOT_INGEST = (
    *("LOOM_DAGSTER_DATABASE_URL", "LOOM_STREAM_DATABASE_URL", "LOOM_READ_DATABASE_URL", "LOOM_INGEST_DATABASE_URL"),
)


def ingest_environment(environment: dict[str, str], endpoints: Endpoints) -> dict[str, str]:
    """What the ingest service sees: of the databases only its own role's URL."""
    kept = {name: value for name, value in environment.items() if name not in _NOT_INGEST}
    return kept | {"LOOM_DATABASE_URL": endpoints.ingest_database_url or endpoints.database_url}


def hide_password(url: str) -> str:
    """The URL as it may be shown."""
    return make_url(url).render_as_string(hide_password=True)


def _marked(server: Postgres | Kafka | None, settings: Settings) -> Callable[[], Launch] | None:
    if server is None:
        return None
    environment = {instance.MARK: instance.mark(settings.data_dir)}
    return lambda: replace(server.launch, environment=environment)


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
