"""Platforms on the suite's servers, each with a database, topics and directories of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loom_platform.settings import load_settings
from tests.backup.home import Home


@pytest.fixture
def home(database_url: str, bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Iterator[Home]:
    settings = load_settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        # a test of its own has one
        dagster_database_url=database_url.rpartition("/")[0] + "/loom_no_dagster",
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_topic_prefix=topic_prefix,
        kafka_default_partitions=2,
        blob_url=str(tmp_path / "blobs"),
        spool_dir=tmp_path / "spool",
    )
    home = Home(settings)
    yield home
    home.delete_topics()
