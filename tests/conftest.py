"""The real PostgreSQL and Kafka of the suite: started on free ports, stopped by the pids that were started.

With LOOM_DATABASE_URL or LOOM_KAFKA_BOOTSTRAP_SERVERS set, that server is used and none is started.
"""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from loom_platform.embedded.kafka import Kafka
from loom_platform.embedded.postgres import Postgres
from loom_platform.embedded.process import free_port, running
from loom_platform.migrate import migrate
from loom_platform.settings import load_settings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no worker is left alone with one of them at the end."""
    slow = [{i.path for i in items if i.get_closest_marker(name)} for name in ("acceptance", "fault")]
    items.sort(key=lambda item: [item.path not in paths for paths in slow])


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A directory that `nobody` may enter, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="loom-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url(server_dir: Path) -> Iterator[str]:
    """URL of a database on the suite's PostgreSQL server, as a role that may create databases."""
    if external := os.environ.get("LOOM_DATABASE_URL"):
        yield external
        return
    server = Postgres(server_dir / "postgres", free_port(), durable=False)
    server.prepare()
    with running(server.launch, server_dir / "postgres.log", lambda alive: server.wait_ready(60, alive)):
        yield server.url("postgres")


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """Name of a migrated database that each test's own is cloned from."""
    name = f"loom_template_{uuid.uuid4().hex[:8]}"
    with fresh_database(server_url, name) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
        migrate(url)
        keep_sessions_out(server_url, name, url)
        yield name


@pytest.fixture
def database_url(server_url: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database that only this test uses."""
    with fresh_database(server_url, f"loom_test_{uuid.uuid4().hex[:12]}", template_database) as url:
        yield url


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """URL of a database without any table."""
    with fresh_database(server_url, f"loom_empty_{uuid.uuid4().hex[:12]}") as url:
        yield url


@pytest.fixture(scope="session")
def bootstrap_servers(server_dir: Path) -> Iterator[str]:
    """The suite's Kafka broker."""
    if external := os.environ.get("LOOM_KAFKA_BOOTSTRAP_SERVERS"):
        yield external
        return
    broker = Kafka(server_dir / "kafka", free_port(), free_port(), load_settings().cache_dir)
    broker.prepare()
    with running(broker.launch, server_dir / "kafka.log", lambda alive: broker.wait_ready(90, alive)):
        yield broker.bootstrap_servers


@pytest.fixture
def topic_prefix() -> str:
    """A topic prefix that only this test uses."""
    return f"t{uuid.uuid4().hex[:10]}"


@contextmanager
def fresh_database(server_url: str, name: str, template: str = "template0") -> Iterator[str]:
    """URL of a new database, cloned from `template`, that is dropped at the end."""
    create = sql.SQL("create database {} template {} strategy file_copy")
    for _ in range(20):
        try:
            _run(server_url, create.format(sql.Identifier(name), sql.Identifier(template)))
            break
        except psycopg.errors.ObjectInUse:
            # the session of a job that is about to end
            time.sleep(0.5)
    else:
        raise AssertionError(f"{template} is in use")
    base, _, query = server_url.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    _run(server_url, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def keep_sessions_out(server_url: str, name: str, url: str) -> None:
    """A database with sessions cannot be cloned, and TimescaleDB opens one in each that it may enter."""
    with psycopg.connect(url, autocommit=True) as connection:
        _run(server_url, sql.SQL("alter database {} allow_connections false").format(sql.Identifier(name)))
        known = connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
        if known is not None:
            connection.execute("SELECT _timescaledb_functions.stop_background_workers()")


def _run(server_url: str, statement: sql.Composed) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
