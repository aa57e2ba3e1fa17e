"""The store on S3: the real client against a server that speaks the protocol (moto), over HTTP."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from loom_models.errors import DependencyError
from loom_models.stage import Body
from loom_platform.blobs import BlobDamagedError, Blobs
from loom_platform.blobs.keys import MemoryKeys
from loom_platform.blobs.objects import Objects
from loom_platform.blobs.usage import Usage
from loom_platform.embedded.process import free_port
from tests.stream.bench import eventually


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of the S3 server, with the bucket `bodies`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    root, quiet = Path(__file__).parents[2], subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=root, stdout=quiet, stderr=quiet)
    try:
        eventually(lambda: _answers(url))
        assert httpx.put(f"{url}/bodies").status_code == 200
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/").status_code < 500
    except httpx.TransportError:
        return False


@pytest.fixture
def environment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person sets for a server of their own, such as MinIO."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "loom")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT", server)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")


@pytest.fixture
def blobs(environment: None, request: pytest.FixtureRequest) -> Blobs:
    return Blobs(Objects(f"s3://bodies/{request.node.name}"), MemoryKeys())


def test_bodies_are_stored_read_listed_and_removed(blobs: Blobs) -> None:
    bodies = [Body(b"%d" % n, f"phone-{n % 2}", "audio", ".wav") for n in range(30)]
    stored = blobs.put_all(bodies)
    assert blobs.put_all(bodies) == stored
    assert [blobs.get(s.ref) for s in stored] == [b.body for b in bodies]
    assert sorted(f.key for listed in blobs.objects.list() for f in listed) == sorted(s.ref for s in stored)
    found = blobs.objects.find(stored[0].ref)
    assert found is not None
    assert abs(datetime.now(UTC) - found.written_at) < timedelta(minutes=1)
    blobs.objects.delete([s.ref for s in stored if "phone-1" in s.ref] + ["audio/never/was"])
    assert blobs.usage() == [Usage("audio", "phone-0", 15, sum(64 + s.size_bytes for s in stored[::2]))]
    with pytest.raises(KeyError):
        blobs.get(stored[1].ref)


def test_an_altered_object_is_seen_and_stored_anew(blobs: Blobs) -> None:
    ref = blobs.put(b"body", device_id="phone", kind="audio").ref
    blobs.objects.write(ref, b"altered", afresh=True)
    with pytest.raises(BlobDamagedError):
        blobs.get(ref)
    blobs.put(b"body", device_id="phone", kind="audio")
    assert blobs.get(ref) == b"body"


def test_a_bucket_or_a_server_that_is_not_there_is_a_dependency_error(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = f"audio/phone/00/{'0' * 64}"
    no_bucket = Blobs(Objects("s3://nowhere/bodies"), MemoryKeys())
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    no_server = Blobs(Objects("s3://bodies"), MemoryKeys())
    for away in (no_bucket, no_server):
        asks: list[Callable[[], object]] = [
            partial(away.put, b"body", device_id="phone", kind="audio"),
            partial(away.get, ref),
            partial(away.objects.delete, [ref]),
            away.usage,
        ]
        for ask in asks:
            with pytest.raises(DependencyError):
                ask()
