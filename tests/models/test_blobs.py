from hashlib import sha256
from pathlib import Path

import pytest

from loom_models.errors import DependencyError
from loom_platform.blobs import BlobUrlError, ObstoreBlobs


@pytest.fixture(params=["memory", "file", "path"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> ObstoreBlobs:
    urls = {"memory": "memory://", "file": f"file://{tmp_path}/my%20blobs", "path": f"{tmp_path}/blobs"}
    return ObstoreBlobs(urls[request.param])


def test_a_body_is_kept_under_its_hash(blobs: ObstoreBlobs) -> None:
    first = blobs.put(b"body", kind="audio", suffix=".wav")
    assert first == blobs.put(b"body", kind="audio", suffix=".wav")
    digest = sha256(b"body").hexdigest()
    assert (first.ref, first.sha256, first.size_bytes) == (f"audio/{digest[:2]}/{digest}.wav", digest, 4)
    assert blobs.get(first.ref) == b"body"


@pytest.mark.parametrize("ref", ["audio/00/none.wav", "../../etc/passwd"])
def test_a_missing_body_is_a_key_error(blobs: ObstoreBlobs, ref: str) -> None:
    with pytest.raises(KeyError):
        blobs.get(ref)


def test_a_file_that_a_crash_left_short_is_written_again(tmp_path: Path) -> None:
    blobs = ObstoreBlobs(f"file://{tmp_path}")
    ref = blobs.put(b"body", kind="audio").ref
    (tmp_path / ref).write_bytes(b"")
    assert blobs.put(b"body", kind="audio").ref == ref
    assert blobs.get(ref) == b"body"


def test_a_store_that_is_away_is_a_dependency_error(tmp_path: Path) -> None:
    blobs = ObstoreBlobs(f"file://{tmp_path}/blobs")
    (tmp_path / "blobs" / "audio").write_text("a file where a directory should be")
    with pytest.raises(DependencyError, match="did not take"):
        blobs.put(b"body", kind="audio")


@pytest.mark.parametrize("url", ["ftp://host/x", "blobs", "file://host/x", "file:relative"])
def test_a_url_that_is_no_use_says_so(url: str) -> None:
    with pytest.raises(BlobUrlError, match="object store URL"):
        ObstoreBlobs(url)
