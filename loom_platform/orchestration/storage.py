"""Dagster's own storage in PostgreSQL over one pool of connections.

dagster-postgres opens a connection for each group of statements; over a pool a tick or a run is several times
cheaper. It is named in `dagster.yaml` as `storage.custom`. With an empty configuration the database is the one of
Loom's settings, so a run, the daemon and the webserver all find it as the rest of the platform does.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any, Self

import sqlalchemy
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import pg_config, pg_url_from_config

from loom_platform.settings import load_settings

POOL_SIZE = 3
MAX_OVERFLOW = 20
RECYCLE_SECONDS = 1800
# The slowest page of a large instance takes seconds; a pruning has its own connection.
OPTIONS = "-c timezone=UTC -c statement_timeout=120s -c idle_in_transaction_session_timeout=300s"


class PooledPostgresStorage(DagsterPostgresStorage):
    """DagsterPostgresStorage whose parts share this process' pool; the webserver has pools of dagster's own.

    A code server makes an instance for every tick, so the pool is the process' and not the instance's, and only the
    first instance looks whether the tables are there.
    """

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        self.engine = engine_of(postgres_url)
        super().__init__(postgres_url, should_autocreate_tables and postgres_url not in _SEEN, inst_data)
        _SEEN.add(postgres_url)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = self.engine

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """dagster-postgres' own, all of it optional."""
        return pg_config()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """From `dagster.yaml`; `LOOM_DATABASE_URL` and `LOOM_DAGSTER_DATABASE_URL` decide when it names no database."""
        if config_value.get("postgres_url") or config_value.get("postgres_db"):
            url = pg_url_from_config(config_value)
        else:
            url = load_settings().dagster_url_of_storage
        return cls(psycopg2_url(url), config_value.get("should_autocreate_tables", True), inst_data)


def psycopg2_url(url: str) -> str:
    """`url` as dagster-postgres needs it: with the driver that its code is written for (SQLAlchemy 2.1 would choose
    another), and sessions in UTC, which is what dagster takes the server's own timestamps for."""
    parsed = sqlalchemy.make_url(url)
    if "options" not in parsed.query:
        parsed = parsed.update_query_dict({"options": OPTIONS})
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return parsed.render_as_string(hide_password=False)


_SEEN: set[str] = set()
_ENGINES: dict[str, sqlalchemy.Engine] = {}
_LOCK = threading.Lock()


def engine_of(postgres_url: str) -> sqlalchemy.Engine:
    """The engine of this process for `postgres_url`, made when it is first asked for."""
    with _LOCK:
        if postgres_url not in _ENGINES:
            if not _ENGINES:
                os.register_at_fork(after_in_child=_forget_connections)
            _ENGINES[postgres_url] = sqlalchemy.create_engine(
                postgres_url,
                isolation_level="AUTOCOMMIT",
                pool_size=POOL_SIZE,
                max_overflow=MAX_OVERFLOW,
                pool_use_lifo=True,
                pool_recycle=RECYCLE_SECONDS,
                # A connection that a restarted server left behind is found before it is used.
                pool_pre_ping=True,
            )
        return _ENGINES[postgres_url]


def _forget_connections() -> None:
    """A forked child forgets the parent's connections without closing them: the sockets are the parent's."""
    for engine in _ENGINES.values():
        engine.dispose(close=False)
