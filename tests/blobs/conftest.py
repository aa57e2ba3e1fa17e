"""A platform's database with its bodies. One database serves a module."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loom_platform.blobs import Blobs, open_blobs
from tests.blobs.rows import Connection
from tests.conftest import fresh_database


@dataclass
class Store:
    """A store below `root`, the owner's connection to its database, and URLs to open both again."""

    blobs: Blobs
    connection: Connection
    url: str
    root: Path
    opened: ExitStack

    def again(self) -> Blobs:
        """The same store, as another process has it."""
        return open_blobs(str(self.root), self.url)

    def connect(self) -> Connection:
        return self.opened.enter_context(psycopg.connect(self.url, autocommit=True))

    def files(self) -> set[str]:
        return {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def module_url(server_url: str, template_database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"loom_blobs_{os.getpid()}_{request.module.__name__.rpartition('.')[2]}"
    with fresh_database(server_url, name, template_database) as url:
        yield url


@pytest.fixture
def store(module_url: str, tmp_path: Path) -> Iterator[Store]:
    blobs = open_blobs(str(tmp_path / "blobs"), module_url)
    with psycopg.connect(module_url, autocommit=True) as connection:
        with ExitStack() as opened:
            yield Store(blobs, connection, module_url, tmp_path / "blobs", opened)
        blobs.close()
        connection.execute("DELETE FROM device_audio_raw")
        connection.execute("DELETE FROM media_audio_vad_filtered")
        connection.execute("DELETE FROM device_keys")


def one(connection: Connection, query: str, *values: Any) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]
