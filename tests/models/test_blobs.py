"""The object store by itself; what needs a database is in tests/blobs."""

from hashlib import sha256
from pathlib import Path

import pytest

from loom_models.errors import DependencyError
from loom_platform.blobs import BlobDamagedError, Blobs, BlobUrlError, open_blobs
from loom_platform.blobs.keys import MemoryKeys
from loom_platform.blobs.objects import Objects


@pytest.fixture(params=["memory", "file", "path"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    urls = {"memory": "memory://", "file": f"file://{tmp_path}/my%20blobs", "path": f"{tmp_path}/blobs"}
    return local(urls[request.param])


def local(url: str) -> Blobs:
    return Blobs(Objects(url), MemoryKeys())


def test_a_body_is_kept_under_its_hash_and_encrypted(blobs: Blobs) -> None:
    first = blobs.put(b"body", device_id="phone", kind="audio", suffix=".wav")
    assert first == blobs.put(b"body", device_id="phone", kind="audio", suffix=".wav")
    digest = sha256(b"body").hexdigest()
    expected = f"audio/phone/{digest[:2]}/{digest}.wav"
    assert (first.ref, first.sha256, first.size_bytes) == (expected, digest, 4)
    assert blobs.get(first.ref) == b"body"
    stored = blobs.objects.read(first.ref)
    assert stored is not None
    assert b"body" not in stored


def test_devices_share_no_body(blobs: Blobs) -> None:
    refs = [blobs.put(b"body", device_id=d, kind="audio").ref for d in ("phone", "laptop")]
    phone, laptop = (blobs.objects.read(r) for r in refs)
    assert phone != laptop
    assert phone is not None
    blobs.objects.write(refs[1], phone)
    with pytest.raises(BlobDamagedError, match="does not decrypt"):
        blobs.get(refs[1])


def test_a_body_from_before_the_keys_stays_readable(blobs: Blobs) -> None:
    digest = sha256(b"body").hexdigest()
    ref = f"audio/{digest[:2]}/{digest}.wav"
    blobs.objects.write(ref, b"body")
    assert blobs.get(ref) == b"body"
    blobs.objects.write(ref, b"bodx")
    with pytest.raises(BlobDamagedError, match="SHA-256"):
        blobs.get(ref)


@pytest.mark.parametrize("ref", ["audio/00/none.wav", "../../etc/passwd", f"audio/phone/00/{'0' * 64}.wav"])
def test_a_missing_body_is_a_key_error(blobs: Blobs, ref: str) -> None:
    with pytest.raises(KeyError):
        blobs.get(ref)
    assert not blobs.exists(ref)


@pytest.mark.parametrize("left", [b"", b"\x00" * 56, b"LOOMBLB\x01 torn"])
def test_a_file_that_a_crash_left_torn_is_damaged_and_written_again(tmp_path: Path, left: bytes) -> None:
    blobs = local(f"file://{tmp_path}")
    ref = blobs.put(b"body", device_id="phone", kind="audio").ref
    (tmp_path / ref).write_bytes(left)
    with pytest.raises(BlobDamagedError):
        blobs.get(ref)
    assert blobs.put(b"body", device_id="phone", kind="audio").ref == ref
    assert blobs.get(ref) == b"body"


def test_every_altered_bit_is_seen(tmp_path: Path) -> None:
    blobs = local(f"file://{tmp_path}")
    ref = blobs.put(b"body", device_id="phone", kind="audio").ref
    whole = (tmp_path / ref).read_bytes()
    for place in range(len(whole)):
        (tmp_path / ref).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BlobDamagedError):
            blobs.get(ref)


def test_a_store_that_is_away_is_a_dependency_error(tmp_path: Path) -> None:
    blobs = local(f"file://{tmp_path}/blobs")
    (tmp_path / "blobs" / "audio").write_text("a file where a directory should be")
    with pytest.raises(DependencyError, match="did not take"):
        blobs.put(b"body", device_id="phone", kind="audio")


def test_a_disk_that_is_not_mounted_is_no_missing_body(tmp_path: Path) -> None:
    blobs = local(f"{tmp_path}/disk")
    ref = blobs.put(b"body", device_id="phone", kind="audio").ref
    (tmp_path / "disk").rename(tmp_path / "away")
    for ask in (lambda: blobs.get(ref), lambda: blobs.exists(ref), blobs.usage):
        with pytest.raises(DependencyError, match="disk"):
            ask()
    (tmp_path / "away").rename(tmp_path / "disk")
    assert blobs.get(ref) == b"body"


@pytest.mark.parametrize("device", ["", "../..", "a/b", "x" * 65])
def test_what_is_no_device_gets_no_body(blobs: Blobs, device: str) -> None:
    with pytest.raises(ValueError, match="device_id"):
        blobs.put(b"body", device_id=device, kind="audio")


@pytest.mark.parametrize("suffix", ["wav", "./x", ".a/b", ".x" * 40])
def test_a_suffix_that_is_none_is_left_out(blobs: Blobs, suffix: str) -> None:
    ref = blobs.put(b"body", device_id="phone", kind="audio", suffix=suffix).ref
    assert ref.endswith(sha256(b"body").hexdigest())


@pytest.mark.parametrize("url", ["ftp://host/x", "blobs", "file://host/x", "file:relative"])
def test_a_url_that_is_no_use_says_so(url: str) -> None:
    with pytest.raises(BlobUrlError, match="object store URL"):
        open_blobs(url, "postgresql://nobody@localhost/none")


def test_bodies_without_keys_are_only_for_memory(tmp_path: Path) -> None:
    with pytest.raises(BlobUrlError, match="give the database"):
        open_blobs(str(tmp_path))
