"""Platforms for tests of erasures. One is filled once and cloned for each test that leaves its topics as they are."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import fresh_database
from tests.erasure.home import MINE, OTHER, Home, make_home


@contextmanager
def filled(database_url: str, bootstrap_servers: str, prefix: str, folder: Path) -> Iterator[Home]:
    """A platform in which two devices have sent a little of everything."""
    made = make_home(database_url, bootstrap_servers, prefix, folder)
    made.prepare()
    made.live(MINE, OTHER)
    made.drain()
    yield made
    made.close()
    mine = [t for t in made.admin.list_topics(timeout=20).topics if t.startswith(f"{prefix}.")]
    for future in made.admin.delete_topics(mine).values():
        future.result(timeout=20)


@pytest.fixture(scope="session")
def model_home(
    server_url: str, template_database: str, bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    """The one that is cloned."""
    name = f"loom_erasure_{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("erasure")
    with (
        fresh_database(server_url, name, template_database) as url,
        filled(url, bootstrap_servers, f"t{uuid.uuid4().hex[:10]}", folder) as made,
    ):
        made.close()
        yield made


@pytest.fixture
def home(model_home: Home, server_url: str, tmp_path: Path) -> Iterator[Home]:
    """A clone; its topics are those of every other clone: a test that sends something takes `own_home`."""
    template = model_home.settings.database_url.partition("?")[0].rpartition("/")[2]
    shutil.copytree(model_home.settings.blobs, tmp_path / "blobs")
    with fresh_database(server_url, f"loom_test_{uuid.uuid4().hex[:12]}", template) as url:
        config = model_home.config
        made = make_home(url, config.bootstrap_servers, config.topic_prefix, tmp_path)
        yield made
        made.close()


@pytest.fixture
def own_home(database_url: str, bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Iterator[Home]:
    """One with topics of its own."""
    with filled(database_url, bootstrap_servers, topic_prefix, tmp_path) as made:
        yield made
