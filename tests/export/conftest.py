"""Two platforms: one with a person's data, one that is empty."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from loom_platform.blobs import Blobs, open_blobs
from loom_platform.export.catalogue import Exported
from loom_platform.export.load import Imported, load
from loom_platform.export.manifest import Manifest
from loom_platform.export.selection import Selection
from loom_platform.export.write import export
from tests.conftest import fresh_database
from tests.export.filling import FEW, TOPICS, fill


@dataclass
class Side:
    """One platform: its database, a connection to it, and its object storage."""

    url: str
    connection: psycopg.Connection[Any]
    store: Blobs
    blobs: Path

    def export(self, out: Path, wanted: Selection | None = None) -> Manifest:
        return export(self.url, self.store, out, wanted or Selection())

    def load(self, folder: Path) -> Imported:
        return load(self.url, self.store, folder, after=lambda _: 0)


@pytest.fixture(scope="module")
def tables() -> tuple[Exported, ...]:
    """The topics' tables that `full` has rows in; a module may have its own."""
    return FEW


@pytest.fixture(scope="module")
def full(
    server_url: str,
    template_database: str,
    tables: tuple[Exported, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Side]:
    """A platform with a person's data and bodies; a module's tests only read it."""
    yield from platform(server_url, template_database, tmp_path_factory.mktemp("full"), tables)


@pytest.fixture
def fresh(server_url: str, template_database: str, tmp_path: Path) -> Iterator[Side]:
    """A platform without any data."""
    yield from platform(server_url, template_database, tmp_path / "fresh", ())


@pytest.fixture(scope="module")
def exported(full: Side, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of all of `full`; a module's tests only read it."""
    out = tmp_path_factory.mktemp("export") / "all"
    full.export(out, Selection(audit=True))
    return out


def platform(server_url: str, template: str, folder: Path, tables: tuple[Exported, ...]) -> Iterator[Side]:
    with (
        fresh_database(server_url, f"loom_export_{folder.name}_{id(folder):x}", template) as url,
        psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection,
    ):
        store = open_blobs(str(folder / "blobs"), url)
        if tables:
            fill(connection, tables)
            put_bodies(connection, store)
        yield Side(url, connection, store, folder / "blobs")
        store.close()


def put_bodies(connection: psycopg.Connection[Any], store: Blobs) -> None:
    """A body for each row that refers to one; the two rows of a device's first moment on a day share theirs."""
    for table in TOPICS:
        for column in table.bodies:
            name = column.removesuffix("_ref")
            key = sql.SQL("SELECT timestamp, message_id, device_id FROM {} ORDER BY timestamp").format(
                sql.Identifier(table.name)
            )
            for number, (timestamp, message_id, device) in enumerate(connection.execute(key).fetchall()):
                body = f"{device} {number // 2}".encode() * 50
                stored = store.put(body, device_id=device, kind=name, suffix=".wav")
                connection.execute(
                    sql.SQL("UPDATE {} SET {} = %s, {} = %s, {} = %s WHERE timestamp = %s AND message_id = %s").format(
                        *map(sql.Identifier, (table.name, column, f"{name}_sha256", f"{name}_size_bytes"))
                    ),
                    (stored.ref, stored.sha256, stored.size_bytes, timestamp, message_id),
                )
