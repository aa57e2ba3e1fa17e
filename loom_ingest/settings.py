"""The settings of the ingest service: `LOOM_` variables with the integration guide's names.

`load_settings()` is called at the entry point and the result is passed down; nothing reads the environment on import.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from loom_contracts.topics.device import AUDIO_RAW
from loom_ingest.errors import SettingsError

PREFIX: Final = "LOOM_"
MEBIBYTE: Final = 1024 * 1024


def _bootstrap_servers(value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"must be host:port[,host:port...]; {server!r} is not")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Every setting of the service; the variable of `kafka_client_id` is `LOOM_KAFKA_CLIENT_ID`, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    # Server
    host: str = Field("127.0.0.1", description="0.0.0.0 lets the devices of the local network in.")
    port: Port = 8000
    workers: int = Field(1, ge=1, le=64)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    debug: bool = Field(False, description="Log at DEBUG; payloads stay out of the log then too.")
    environment: Literal["development", "staging", "production"] = "development"
    cors_origins: Annotated[tuple[str, ...], NoDecode] | None = Field(
        None, description="Comma-separated origins; `*` in development and none otherwise when it is not set."
    )
    shutdown_timeout_seconds: float = Field(10.0, gt=0, description="How long a shutdown waits for what is in flight.")

    # Connections of each worker
    max_connections: int = Field(2_000, ge=16, description="At once, WebSockets among them; above it: 503.")
    header_timeout_seconds: float = Field(10.0, gt=0, description="From a request's first byte to its body: 408.")
    body_timeout_seconds: float = Field(60.0, gt=0, description="For each MiB of a body, or of an answer: 408.")
    body_min_bytes_per_second: int = Field(500, ge=0, description="Of a body, from its sixth second on: 408.")
    keep_alive_seconds: float = Field(30.0, gt=0, description="How long a connection may be idle between requests.")
    max_header_bytes: int = Field(32 * 1024, ge=1_024, description="Of a request's line and headers: 431.")
    max_buffered_bytes: int = Field(
        64 * MEBIBYTE, ge=MEBIBYTE, description="Of all bodies and frames that are being received: 503."
    )

    # Kafka
    kafka_bootstrap_servers: Annotated[str, AfterValidator(_bootstrap_servers)] = "localhost:9092"
    kafka_client_id: str = "loom-ingestion-api"
    kafka_compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    kafka_retries: int = Field(
        3, ge=0, description="Accepted for the guide's sake: an idempotent producer retries until the delivery timeout."
    )
    kafka_request_timeout_ms: int = Field(30_000, ge=100, description="Of one request to a broker.")
    kafka_delivery_timeout_ms: int = Field(
        5_000, ge=100, description="How long a record waits for the broker; then the spool takes it, or none: 503."
    )
    kafka_linger_ms: int = Field(1, ge=0, le=1_000)
    kafka_topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9_-]*$")
    kafka_max_pending_records: int = Field(10_000, ge=1, description="Unacknowledged; above it a client gets 503.")
    kafka_max_pending_bytes: int = Field(64 * MEBIBYTE, ge=MEBIBYTE, description="The same in bytes.")

    # Spool
    spool_dir: Path | None = Field(
        None, description="Where records wait while the broker is away; `loom up` sets it. No spool without it."
    )
    spool_max_bytes: int = Field(1024 * MEBIBYTE, ge=0, description="Of all workers' records together; 0: no spool.")

    # Topic names of the guide; they are fixed by the contract
    topic_device_audio_raw: str = AUDIO_RAW.name
    topic_device_sensor_raw: str = "device.sensor.{sensor_type}.raw"
    topic_device_health_raw: str = "device.health.{health_type}.raw"
    topic_device_state_raw: str = "device.state.{state_type}.raw"

    # Monitoring
    enable_metrics: bool = True
    metrics_port: Port | None = Field(None, description="Also serve the metrics alone on this port.")
    enable_health_checks: bool = True
    otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://[^/\s]+", description="A collector of OpenTelemetry spans; none are made without it."
    )
    trace_sample_ratio: float = Field(1.0, ge=0, le=1, description="Of the traces that begin here.")

    # Devices
    database_url: str = Field(
        "postgresql://loom:loom@localhost:5432/loom", description="Where the register of devices is."
    )
    database_pool_size: int = Field(4, ge=1, le=64, description="Connections of each worker at most.")
    require_registered_devices: bool = Field(False, description="Refuse what comes from other devices.")

    # Access
    require_api_keys: bool | None = Field(
        None, description="Let nobody in without a key; false in development and true otherwise when it is not set."
    )

    # Clients
    owntracks_secrets_file: Path | None = Field(
        None, description="Secrets of OwnTracks apps that encrypt: a line `jane-phone SECRET` for each."
    )

    # Limits of each device, key and address
    rate_limit_enabled: bool = Field(False, description="Answer 429 to whoever sends more.")
    rate_limit_requests_per_minute: float = Field(1_000.0, gt=0, description="Of one device.")
    rate_limit_burst_size: int = Field(100, ge=1, description="Requests of one device at once.")
    rate_limit_key_requests_per_minute: float = Field(
        10_000.0, gt=0, description="Of one key, or of one address without a key."
    )
    rate_limit_key_burst_size: int = Field(1_000, ge=1, description="The same, at once.")

    # What is accepted
    timestamp_tolerance_hours: float = Field(24.0, ge=0, description="Around the server's time; 0 accepts any time.")
    max_body_bytes: int = Field(MEBIBYTE, ge=1_024, description="Of one request, audio aside.")
    max_audio_body_bytes: int = Field(15 * MEBIBYTE, ge=1_024, description="Of one request with audio or an image.")
    max_activitywatch_import_bytes: int = Field(
        512 * MEBIBYTE, ge=1_024, description="Of one import from ActivityWatch; it goes to a temporary file first."
    )
    max_import_body_bytes: int = Field(
        16 * MEBIBYTE, ge=1_024, description="Of one request to /overland or /api/data, which bring days at once."
    )
    batch_max_items: int = Field(100, ge=1, le=10_000)
    max_apps_per_request: int = Field(100, ge=1, le=10_000)

    # Audio streams
    stream_inactivity_seconds: float = Field(30.0, gt=0, description="Of a WebSocket, until it is closed.")
    stream_max_connections: int = Field(1_000, ge=1, description="WebSockets at once.")
    stream_max_frame_bytes: int = Field(4 * MEBIBYTE, ge=1_024, description="Of one message; a longer one: close 1009.")
    metrics_device_labels: bool = Field(False, description="Tell connections by device in the metrics.")

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator(
        "topic_device_audio_raw", "topic_device_sensor_raw", "topic_device_health_raw", "topic_device_state_raw"
    )
    @classmethod
    def _fixed(cls, value: str, info: Any) -> str:
        if value != cls.model_fields[info.field_name].default:
            raise ValueError("topic names are fixed by the contract; unset it, and use LOOM_KAFKA_TOPIC_PREFIX instead")
        return value

    @model_validator(mode="after")
    def _one_exporter(self) -> Self:
        if self.metrics_port is not None and self.workers > 1:
            raise ValueError(
                f"LOOM_METRICS_PORT={self.metrics_port}: workers cannot share it; unset it or LOOM_WORKERS"
            )
        return self

    @model_validator(mode="after")
    def _room_for_one(self) -> Self:
        for name in ("max_body_bytes", "max_audio_body_bytes", "max_import_body_bytes", "stream_max_frame_bytes"):
            if getattr(self, name) > self.max_buffered_bytes:
                raise ValueError(
                    f"{PREFIX}{name.upper()}={getattr(self, name)}: more than LOOM_MAX_BUFFERED_BYTES, "
                    f"{self.max_buffered_bytes}, holds; lower the one or raise the other"
                )
        return self

    @model_validator(mode="after")
    def _closed_in_production(self) -> Self:
        if self.environment == "production" and self.debug:
            raise ValueError("LOOM_DEBUG=true: not in production; set it to false")
        if self.environment == "production" and "*" in self.allowed_origins:
            raise ValueError("LOOM_CORS_ORIGINS=*: not in production; list the origins of your pages")
        return self

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if self.keys_required:
            return self
        if self.environment == "production":
            raise ValueError(
                "LOOM_REQUIRE_API_KEYS=false: not in production; unset it, and make a key with `loom keys create`"
            )
        if not _is_loopback(self.host):
            raise ValueError(
                f"LOOM_HOST={self.host}: whoever reaches this machine could send and read without a key; set "
                "LOOM_REQUIRE_API_KEYS=true and make a key with `loom keys create`, or set LOOM_HOST=127.0.0.1"
            )
        return self

    @property
    def keys_required(self) -> bool:
        """Whether nobody is let in without a key."""
        return self.environment != "development" if self.require_api_keys is None else self.require_api_keys

    @property
    def log_threshold(self) -> str:
        """The least level that is logged."""
        return "DEBUG" if self.debug else self.log_level

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins whose pages may call the API."""
        if self.cors_origins is not None:
            return self.cors_origins
        return ("*",) if self.environment == "development" else ()


def load_settings() -> Settings:
    """The settings from the environment; raises SettingsError that names each wrong variable and its value."""
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            name = PREFIX + str(item["loc"][0]).upper() + "=" + repr(item["input"]) + ": " if item["loc"] else ""
            lines.append(name + item["msg"].removeprefix("Value error, "))
        raise SettingsError("; ".join(lines)) from None
