"""Fixtures of the engine's tests. One database serves them all and is emptied after each: cloning takes a second."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from psycopg import sql

from loom_platform.roles.limits import Role
from loom_platform.stream.api import StreamConfig
from tests.conftest import fresh_database
from tests.logins import login
from tests.stream.bench import LARGEST, Bench
from tests.stream.stages import TABLES

_KEPT = ("timeseries_tables", "rollup_tables")


@pytest.fixture(scope="session")
def stream_database_url(server_url: str, template_database: str) -> Iterator[str]:
    with fresh_database(server_url, f"loom_stream_{os.getpid()}", template_database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(TABLES.encode())
        yield url


@pytest.fixture(scope="session")
def stream_url(stream_database_url: str) -> Iterator[str]:
    """The same database as the stream role, which is whom the engine works as."""
    with login(stream_database_url, Role.STREAM) as url:
        yield url


@pytest.fixture
def database_url(stream_database_url: str) -> Iterator[str]:
    yield stream_database_url
    empty(stream_database_url)


def empty(database_url: str) -> None:
    """Remove every row, except for what migrations have written."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
            "AND NOT relispartition AND relname NOT LIKE '%%yoyo%%' AND relname <> ALL(%s)",
            (list(_KEPT),),
        ).fetchall()
        connection.execute("SET session_replication_role = replica")
        for (name,) in names:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))


@pytest.fixture
def bench(database_url: str, stream_url: str, bootstrap_servers: str, topic_prefix: str) -> Iterator[Bench]:
    with bench_on(database_url, stream_url, bootstrap_servers, topic_prefix) as bench:
        yield bench


@pytest.fixture
def own_bench(server_url: str, template_database: str, bootstrap_servers: str, topic_prefix: str) -> Iterator[Bench]:
    """A bench with a database of its own, for a test that leaves more behind than rows."""
    with (
        fresh_database(server_url, f"loom_own_{os.getpid()}", template_database) as url,
        login(url, Role.STREAM) as stream_url,
        bench_on(url, stream_url, bootstrap_servers, topic_prefix) as bench,
    ):
        yield bench


@contextmanager
def bench_on(database_url: str, stream_url: str, bootstrap_servers: str, topic_prefix: str) -> Iterator[Bench]:
    common: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
    bench = Bench(
        StreamConfig(stream_url, bootstrap_servers, topic_prefix),
        AdminClient(common),
        Producer({**common, "acks": "all", "partitioner": "murmur2_random", "message.max.bytes": LARGEST}),
        database_url,
    )
    yield bench
    for pid in bench.pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    mine = [t for t in bench.admin.list_topics(timeout=20).topics if t.startswith(f"{topic_prefix}.")]
    if mine:
        for future in bench.admin.delete_topics(mine).values():
            future.result(timeout=20)
