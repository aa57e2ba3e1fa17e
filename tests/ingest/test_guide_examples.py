"""Every curl example of the integration guide and the readme for these endpoints, as it is written there.

`examples/*.sh` hold them verbatim; curl is told by its configuration that localhost:8000 is the test's server. The
readme's carry times of 2024, so they go to a service that takes any time.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.server import LiveServer, live_server

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parent / "examples"


def commands(name: str) -> list[str]:
    return [c.strip() for c in f"\n{(EXAMPLES / name).read_text()}".split("\ncurl ") if c.strip()]


GUIDE, README = commands("guide.sh"), commands("readme.sh")
REFUSED = {i: c for i, c in enumerate(GUIDE) if '"latitude": 91.0' in c or ("device_id" not in c and "-d" in c)}


@pytest.fixture(scope="module")
def server(bootstrap_servers: str, ingest_prefix: str) -> Iterator[LiveServer]:
    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix) as server:
        yield server


@pytest.fixture(scope="module")
def timeless(bootstrap_servers: str, ingest_prefix: str) -> Iterator[LiveServer]:
    with live_server(bootstrap_servers, kafka_topic_prefix=ingest_prefix, timestamp_tolerance_hours=0) as server:
        yield server


def curl(command: str, server: LiveServer, home: Path) -> tuple[int, str]:
    """Status and body."""
    (home / ".curlrc").write_text(
        f'connect-to = "localhost:8000:127.0.0.1:{server.port}"\nsilent\nwrite-out = "\\n%{{http_code}}"\n'
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "CURL_HOME": str(home)}
    done = subprocess.run(
        ["bash", "-c", f"curl {command}"], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_the_examples_are_all_there() -> None:
    assert (len(GUIDE), len(README), len(REFUSED)) == (17, 5, 2)


@pytest.mark.parametrize("index", range(len(GUIDE)))
def test_an_example_of_the_guide(server: LiveServer, tmp_path: Path, index: int) -> None:
    status, body = curl(GUIDE[index], server, tmp_path)
    if index in REFUSED:
        assert status == 422
        assert json.loads(body)["detail"]
    else:
        assert status == (201 if "-d" in GUIDE[index] else 200), body


@pytest.mark.parametrize("index", range(len(README)))
def test_an_example_of_the_readme(timeless: LiveServer, tmp_path: Path, index: int) -> None:
    status, body = curl(README[index], timeless, tmp_path)
    assert status == (201 if "-d" in README[index] else 200), body
