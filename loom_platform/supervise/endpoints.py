"""Where each service listens: chosen once, written to `<data_dir>/run/endpoints.json`, and kept."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from loom_platform.embedded.process import port_is_free
from loom_platform.errors import SettingsError
from loom_platform.settings import ENDPOINTS_FILE, PREFIX, Settings, read_endpoints


@dataclass(frozen=True)
class Endpoints:
    """Ports and URLs under the names that `Settings` has for them. The URL holds the password: the file is 0600."""

    port: int
    dagster_port: int
    code_server_port: int
    postgres_port: int
    kafka_port: int
    kafka_controller_port: int
    database_url: str = ""
    kafka_bootstrap_servers: str = ""
    ingest_database_url: str = ""
    stream_database_url: str = ""
    read_database_url: str = ""

    external_database: bool = False
    external_kafka: bool = False

    @classmethod
    def read(cls, data_dir: Path) -> "Endpoints | None":
        """What was written last; None when the platform was never up."""
        try:
            return cls(**json.loads((data_dir / ENDPOINTS_FILE).read_text()))
        except (OSError, TypeError, json.JSONDecodeError):
            return None

    def dagster_database_url(self, settings: Settings) -> str:
        """URL of Dagster's own storage: `dagster` beside the platform's database, unless it is set."""
        if settings.dagster_database_url:
            return settings.dagster_database_url
        return make_url(self.database_url).set(database="dagster").render_as_string(hide_password=False)

    def write(self, data_dir: Path) -> None:
        """Write it where `Settings` reads it, in one step."""
        path = data_dir / ENDPOINTS_FILE
        building = path.with_suffix(".new")
        building.touch(mode=0o600)
        building.write_text(json.dumps(asdict(self), indent=2) + "\n")
        building.replace(path)


PORTS = ("port", "dagster_port", "code_server_port", "postgres_port", "kafka_port", "kafka_controller_port")


def choose_ports(settings: Settings, ours: bool, is_free: Callable[[int], bool] = port_is_free) -> dict[str, int]:
    """A port per service, by the name of its setting.

    A port is kept while it is free, or when `ours` says that the platform, already running, listens on it. A
    default or remembered one that is taken gives way to the next free one; raises SettingsError when one
    that is set explicitly is taken.
    """
    remembered = read_endpoints(settings.data_dir) if ours else {}
    unused = {
        *(("postgres_port",) if settings.external_database else ()),
        *(("kafka_port", "kafka_controller_port") if settings.external_kafka else ()),
    }
    chosen: dict[str, int] = {}
    for name in PORTS:
        wanted: int = getattr(settings, name)
        if name in unused or remembered.get(name) == wanted:
            chosen[name] = wanted
            continue
        if settings.is_explicit(name):
            if wanted in chosen.values() or not is_free(wanted):
                raise SettingsError(
                    f"{PREFIX}{name.upper()}={wanted}: something else listens there; stop it, or choose another port"
                )
            chosen[name] = wanted
            continue
        chosen[name] = _next_free(wanted, set(chosen.values()), is_free)
    return chosen


def _next_free(wanted: int, taken: set[int], is_free: Callable[[int], bool]) -> int:
    for port in range(wanted, min(wanted + 1000, 65536)):
        if port not in taken and is_free(port):
            return port
    raise SettingsError(f"no free port from {wanted} on; stop what listens there")
