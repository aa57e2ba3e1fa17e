"""A Dagster instance over the suite's PostgreSQL, and definitions that work on a test's own database and topics."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from loom_platform.orchestration.platform import Platform
from loom_platform.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of the repository's dagster.yaml, with a database of its own."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    monkeypatch.setenv("LOOM_DAGSTER_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as found:
        yield found


@pytest.fixture
def platform(database_url: str, bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Platform:
    """A platform of this test's own, whose runs end soon."""
    settings = load_settings(
        database_url=database_url,
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_topic_prefix=topic_prefix,
        blob_url=str(tmp_path / "blobs"),
        stream_idle_timeout_seconds=4,
        stream_report_interval_seconds=0.5,
    )
    return Platform(lambda: settings)
