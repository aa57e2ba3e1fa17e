"""A platform for each test of erasures; one that was filled once is cloned, because filling takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.erasure.home import MINE, OTHER, Home, make_home


@pytest.fixture
def home(database_url: str, bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Iterator[Home]:
    """A platform in which two devices have sent a little of everything."""
    made = make_home(database_url, bootstrap_servers, topic_prefix, tmp_path)
    made.prepare()
    made.live(MINE, OTHER)
    made.drain()
    yield made
    assert made.config.blobs is not None
    made.config.blobs.close()
    mine = [t for t in made.admin.list_topics(timeout=20).topics if t.startswith(f"{topic_prefix}.")]
    for future in made.admin.delete_topics(mine).values():
        future.result(timeout=20)
