"""The one resource: the platform that a run works on. It is resolved when it is used, not when it is defined."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from loom_models.errors import DependencyError
from loom_models.flows import STAGES
from loom_platform.blobs import open_blobs
from loom_platform.roles.limits import Role
from loom_platform.settings import Settings, load_settings
from loom_platform.stream.api import StreamConfig

# Each plan is for its own days, as in the stream's connections.
_OPTIONS = (
    "-c statement_timeout=60s -c idle_in_transaction_session_timeout=120s -c jit=off "
    "-c plan_cache_mode=force_custom_plan"
)


@dataclass(frozen=True)
class Platform:
    """Gives settings and connections to assets and sensors; tests give another `load`."""

    load: Callable[[], Settings] = load_settings

    def settings(self) -> Settings:
        """The settings as they are now."""
        return self.load()

    def stream_config(self, run_id: str, *, idle_timeout: timedelta | None = None) -> StreamConfig:
        """What a stream run, a recompute or a look at the backlog is given."""
        settings = self.settings()
        return StreamConfig(
            database_url=settings.stream_url,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic_prefix=settings.kafka_topic_prefix,
            run_id=run_id,
            idle_timeout=idle_timeout or timedelta(seconds=settings.stream_idle_timeout_seconds),
            max_duration=timedelta(seconds=settings.stream_max_duration_seconds),
            report_interval=timedelta(seconds=settings.stream_report_interval_seconds),
            blobs=open_blobs(settings, settings.stream_url),
            stages=STAGES,
        )

    def api_url(self) -> str:
        """Where a browser on this machine reaches the ingest API."""
        settings = self.settings()
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"

    @contextmanager
    def connect(self, what: str, role: Role = Role.MIGRATE) -> Iterator[psycopg.Connection[Any]]:
        """A connection to Loom's database for a short task, as `role`; the owner's unless it is told.

        Raises DependencyError when the database is away.
        """
        try:
            connection = psycopg.connect(
                self._url_of(role),
                autocommit=True,
                application_name=f"loom {what}",
                connect_timeout=5,
                options=_OPTIONS,
            )
        except psycopg.OperationalError as error:
            raise DependencyError(f"LOOM_DATABASE_URL: cannot connect ({error}); is the database up?") from error
        with connection:
            yield connection

    def _url_of(self, role: Role) -> str:
        settings = self.settings()
        return {Role.STREAM: settings.stream_url, Role.READ: settings.read_url}.get(role, settings.database_url)
