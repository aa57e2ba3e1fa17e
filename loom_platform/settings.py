"""The settings of a platform process: `LOOM_` variables, then the running platform's endpoints, then defaults.

`load_settings()` is called at an entry point and the result is passed down; nothing here reads the environment
on import. The ingest service has its own settings, because it does not import this package.
"""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from loom_models.services.choice import Choice, FinderName, GeocoderName
from loom_platform.errors import SettingsError

PREFIX = "LOOM_"
ENDPOINTS_FILE = "run/endpoints.json"
"""Where `loom up` writes what the embedded servers listen on, below the data directory."""


def _postgres_url(value: str) -> str:
    try:
        url = make_url(value)
    except ArgumentError:
        raise ValueError("must look like postgresql://user:password@host:5432/database") from None
    if url.drivername not in ("postgresql", "postgres") or not url.database:
        raise ValueError("must look like postgresql://user:password@host:5432/database")
    return value


def _service_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must look like https://nominatim.example.org or http://localhost:8080")
    return value.rstrip("/")


def _bootstrap_servers(value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"must be host:port[,host:port...]; {server!r} is not")
    return value


def _time_zone(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be the name of a time zone, like Europe/Zurich") from None


TimeZone = Annotated[str, AfterValidator(_time_zone)]
Directory = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]
BootstrapServers = Annotated[str, AfterValidator(_bootstrap_servers)]
ServiceUrl = Annotated[str, AfterValidator(_service_url)]
Port = Annotated[int, Field(ge=1, le=65535)]


def default_data_dir() -> Path:
    """Root's is in /var/lib, because the unprivileged user that PostgreSQL runs as must reach its files."""
    return Path("/var/lib/loom") if os.geteuid() == 0 else Path.home() / ".local/share/loom"


class Settings(BaseSettings):
    """Every setting of the platform; the variable of `database_url` is `LOOM_DATABASE_URL`, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    # Where things are
    data_dir: Directory = Field(default_factory=default_data_dir, description="Databases, topics, blobs, logs.")
    cache_dir: Directory = Field(default_factory=lambda: Path.home() / ".cache/loom", description="The broker's jars.")
    database_url: PostgresUrl = "postgresql://loom:loom@localhost:5432/loom"
    dagster_database_url: PostgresUrl | None = Field(None, description="Default: `dagster` beside `database_url`.")
    ingest_database_url: PostgresUrl | None = Field(None, description="The ingest service's; default: `database_url`.")
    stream_database_url: PostgresUrl | None = Field(None, description="The stream runs'; default: `database_url`.")
    read_database_url: PostgresUrl | None = Field(None, description="Of what only reads; default: `database_url`.")
    blob_url: str | None = Field(None, description="Object storage of large bodies; default <data_dir>/blobs.")
    spool_dir: Directory | None = Field(None, description="The ingest service's spool; default <data_dir>/spool.")
    model_dir: Path | None = Field(None, description="Model weights to use in place of the hub's.")
    # Read by loom_models.settings when the stages are put together; checked here.
    activity_model: Path | None = Field(None, description="An ONNX classifier in the place of the rules.")
    activity_model_sha256: str | None = Field(None, validate_default=True, pattern=r"^[0-9A-Fa-f]{64}$")

    # Kafka
    kafka_bootstrap_servers: BootstrapServers = "localhost:9092"
    kafka_topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9_-]*$")
    kafka_default_partitions: int = Field(3, ge=1, le=1000)
    kafka_default_replication_factor: int = Field(1, ge=1, le=15)

    # Addresses and businesses: nobody is asked unless one is named (docs/how-to/addresses.md)
    geocoder: GeocoderName = "offline"
    geocoder_url: ServiceUrl | None = Field(None, description="A server of your own; default: the public one.")
    business_finder: FinderName = "none"
    business_finder_url: ServiceUrl | None = Field(None, description="A server of your own; default: the public one.")
    business_finder_key: SecretStr | None = Field(None, validate_default=True, description="For foursquare, google.")
    lookup_contact: str | None = Field(None, max_length=200, pattern=r"^[\x20-\x7e]*$", validate_default=True)
    lookup_interval_seconds: float | None = Field(None, ge=0.0, le=3600.0)

    # The ingest API; what only the service itself needs is in loom_ingest.settings
    host: str = Field("127.0.0.1", description="0.0.0.0 lets the devices of the local network in.")
    port: Port = 8000
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    environment: Literal["development", "staging", "production"] = "development"

    # Ports of what `loom up` starts
    dagster_port: Port = 3000
    code_server_port: Port = 4266
    postgres_port: Port = 5432
    kafka_port: Port = 9092
    kafka_controller_port: Port = 9093

    # Stream runs
    stream_idle_timeout_seconds: float = Field(60.0, gt=0)
    stream_max_duration_seconds: float = Field(10_800.0, gt=0)
    stream_report_interval_seconds: float = Field(15.0, gt=0)

    # The person
    time_zone: TimeZone = Field("UTC", description="Where the person is when neither they nor a position says.")

    _explicit: frozenset[str] = PrivateAttr(frozenset())

    @field_validator("activity_model_sha256")
    @classmethod
    def _model_is_named(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("activity_model") is not None:
            raise ValueError("must be the SHA-256 of LOOM_ACTIVITY_MODEL, which names the version; sha256sum prints it")
        return value

    @field_validator("business_finder_key")
    @classmethod
    def _key_is_there(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        key = None if value is None else value.get_secret_value()
        name = info.data.get("business_finder", "none")
        Choice("business", name, key=key, contact="unknown yet").check()
        return value

    @field_validator("lookup_contact")
    @classmethod
    def _contact_is_there(cls, value: str | None, info: ValidationInfo) -> str | None:
        told = info.data
        Choice("address", told.get("geocoder", "offline"), told.get("geocoder_url"), contact=value).check()
        finder, url = told.get("business_finder", "none"), told.get("business_finder_url")
        Choice("business", finder, url, key="checked already", contact=value).check()
        return value

    @property
    def external_database(self) -> bool:
        """Whether LOOM_DATABASE_URL names a database, so that none is started."""
        return "database_url" in self._explicit

    @property
    def external_kafka(self) -> bool:
        """Whether LOOM_KAFKA_BOOTSTRAP_SERVERS names a cluster, so that none is started."""
        return "kafka_bootstrap_servers" in self._explicit

    def is_explicit(self, field: str) -> bool:
        """Whether the variable of `field` is set in the environment."""
        return field in self._explicit

    @property
    def stream_url(self) -> str:
        """URL that the stream engine connects with."""
        return self.stream_database_url or self.database_url

    @property
    def read_url(self) -> str:
        """URL that whatever only reads connects with."""
        return self.read_database_url or self.database_url

    @property
    def run_dir(self) -> Path:
        """Sockets, generated configuration and endpoints of the running platform."""
        return self.data_dir / "run"

    @property
    def logs_dir(self) -> Path:
        """Logs of the services, one file each."""
        return self.data_dir / "logs"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of the services."""
        return self.data_dir / "dagster"

    @property
    def blobs(self) -> str:
        """URL or directory of the object storage."""
        return self.blob_url or str(self.data_dir / "blobs")

    @property
    def spool(self) -> Path:
        """Where records wait while the broker is away."""
        return self.spool_dir or self.data_dir / "spool"

    @property
    def dagster_url_of_storage(self) -> str:
        """SQLAlchemy URL of Dagster's own storage; psycopg2, which its LISTEN/NOTIFY code is written for."""
        url = make_url(self.dagster_database_url or self.database_url)
        if self.dagster_database_url is None:
            url = url.set(database="dagster")
        return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the endpoints file; never a .env file found by chance."""
        return init_settings, env_settings, _EndpointsSource(settings_cls)


class _EndpointsSource(PydanticBaseSettingsSource):
    """The endpoints that `loom up` wrote below the data directory."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        endpoints = read_endpoints(Path(self.current_state.get("data_dir") or default_data_dir()))
        if "database_url" in self.current_state:
            # The roles' URLs are of the server beside it, not of the one that was named.
            return {name: value for name, value in endpoints.items() if not name.endswith("_database_url")}
        return endpoints


def read_endpoints(data_dir: Path) -> dict[str, Any]:
    """What the last `loom up` wrote below `data_dir`, by field name of Settings; empty when it never ran."""
    path = data_dir / ENDPOINTS_FILE
    try:
        endpoints = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path} is not JSON ({error}); remove it and run `loom up` again") from None
    return {k: v for k, v in endpoints.items() if k in Settings.model_fields and v != ""}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` win over the environment.

    Raises SettingsError, which names each variable that is wrong, its value and what it must be.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(e) for e in error.errors())) from None
    settings._explicit = frozenset(
        name for name in Settings.model_fields if os.environ.get(PREFIX + name.upper()) or name in overrides
    )
    return settings


_REMEDY = "correct or unset it and try again"


def _explain(error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else "?"
    # what stands before the @ of a URL is a password
    value = re.sub(r"//[^@]*@", "//***@", repr(error["input"]))
    reason = error["msg"].removeprefix("Value error, ")
    return f"{PREFIX}{name.upper()}={value}: {reason[:1].lower()}{reason[1:]}; {_REMEDY}"


def loom_environment() -> dict[str, str]:
    """The `LOOM_` variables that are set, as they are, for a child process."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and value}
