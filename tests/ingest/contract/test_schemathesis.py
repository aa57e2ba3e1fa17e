"""schemathesis over the whole OpenAPI document, every check on, against the service with its broker and database.

https://schemathesis.readthedocs.io. Its inputs are the same in each run. The service takes any time here: the document
cannot say that a timestamp must be near the server's.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.ingest.access.harness import make
from tests.ingest.server import live_server

pytestmark = pytest.mark.integration

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
SECONDS = 170


def schemathesis(url: str, directory: Path, *arguments: str) -> None:
    """Run it; a failed check fails the test, with its report."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
        *("run", f"{url}/openapi.json", "--checks", "all", "--max-examples", "10", "--generation-deterministic"),
        *("--continue-on-failure", "--no-shrink", "--no-color", "--request-timeout", "20", *arguments),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOOM_")}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


def operations(url: str) -> int:
    paths = httpx.get(f"{url}/openapi.json", timeout=20).json()["paths"]
    return sum(len(path) for path in paths.values())


def test_the_service_is_as_its_document_says(
    bootstrap_servers: str, ingest_prefix: str, database_url: str, tmp_path: Path
) -> None:
    settings = {"kafka_topic_prefix": ingest_prefix, "database_url": database_url, "timestamp_tolerance_hours": 0}
    with live_server(bootstrap_servers, **settings) as server:
        assert operations(server.url) >= 60
        schemathesis(server.url, tmp_path)


def test_a_key_is_asked_for_where_the_document_says_so(
    bootstrap_servers: str, ingest_prefix: str, database_url: str, tmp_path: Path
) -> None:
    key = asyncio.run(make(database_url, "admin"))
    settings = {"kafka_topic_prefix": ingest_prefix, "database_url": database_url, "timestamp_tolerance_hours": 0}
    with live_server(bootstrap_servers, require_api_keys="true", **settings) as server:
        assert httpx.get(f"{server.url}/devices").status_code == 401
        header = f"Authorization: Bearer {key}"
        schemathesis(server.url, tmp_path, "--header", header, "--phases", "examples,stateful")
