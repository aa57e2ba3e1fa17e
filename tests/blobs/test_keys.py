import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from loom_models.errors import DependencyError
from loom_platform.blobs import BlobDamagedError, BlobError, KeyDestroyedError, destroy_key, open_blobs
from loom_platform.blobs.keys import DatabaseKeys
from loom_platform.roles.limits import Role
from tests.blobs.conftest import Store, one
from tests.logins import login


def test_another_process_reads_what_one_has_stored(store: Store) -> None:
    ref = store.blobs.put(b"body", device_id="phone", kind="audio", suffix=".wav").ref
    other = store.again()
    assert other.get(ref) == b"body"
    assert other.put(b"body", device_id="phone", kind="audio", suffix=".wav").ref == ref
    assert one(store.connection, "SELECT count(*) FROM device_keys") == 1
    other.close()


def test_a_destroyed_key_is_heeded_within_a_second_and_stays_destroyed(store: Store) -> None:
    ref = store.blobs.put(b"body", device_id="phone", kind="audio").ref
    other = store.blobs.put(b"body", device_id="laptop", kind="audio").ref
    assert store.blobs.get(ref) == b"body"
    assert destroy_key(store.connection, "phone") == 1
    assert destroy_key(store.connection, "phone") == 0
    time.sleep(1.0)
    for blobs in (store.blobs, store.again()):
        with pytest.raises(KeyDestroyedError, match="was destroyed at"):
            blobs.get(ref)
        assert blobs.get(other) == b"body"
    assert one(store.connection, "SELECT key FROM device_keys WHERE device_id = 'phone'") is None


def test_what_a_device_sends_after_its_key_was_destroyed_has_another_key(store: Store) -> None:
    before = store.blobs.put(b"old", device_id="phone", kind="audio").ref
    same = store.blobs.put(b"body", device_id="phone", kind="audio").ref
    old = (store.root / same).read_bytes()
    destroy_key(store.connection, "phone")
    with store.connection.transaction():
        writer = store.blobs.within(store.connection)
        assert writer.put(b"body", device_id="phone", kind="audio").ref == same
    assert store.again().get(same) == b"body"
    assert (store.root / same).read_bytes()[:24] != old[:24]
    with pytest.raises(KeyDestroyedError):
        store.again().get(before)


def test_a_key_that_is_not_there_is_no_key_error(store: Store) -> None:
    ref = store.blobs.put(b"body", device_id="phone", kind="audio").ref
    store.connection.execute("DELETE FROM device_keys")
    with pytest.raises(BlobDamagedError, match="restored without its keys"):
        store.again().get(ref)


def test_a_body_is_never_of_a_key_that_is_destroyed_meanwhile(store: Store) -> None:
    """The writer holds the device; who destroys waits for its rows, and the next writer sees it."""
    done = threading.Event()

    def destroy() -> None:
        with store.connect() as connection:
            destroy_key(connection, "phone")
        done.set()

    with store.connect() as writing, writing.transaction():
        writer = store.blobs.within(writing)
        first = writer.put(b"first", device_id="phone", kind="audio").ref
        thread = threading.Thread(target=destroy)
        thread.start()
        assert not done.wait(0.3)
        second = writer.put(b"second", device_id="phone", kind="audio").ref
        assert store.blobs.get(second) == b"second"
    thread.join(10)
    assert done.is_set()
    with store.connect() as writing, writing.transaction():
        third = store.blobs.within(writing).put(b"third", device_id="phone", kind="audio").ref
    reader = store.again()
    assert reader.get(third) == b"third"
    for ref in (first, second):
        with pytest.raises(KeyDestroyedError):
            reader.get(ref)


def test_two_processes_make_one_key(store: Store) -> None:
    refs: list[str] = []
    ready = threading.Barrier(4)

    def work(number: int) -> None:
        blobs = store.again()
        ready.wait()
        refs.append(blobs.put(b"%d" % number, device_id="phone", kind="audio").ref)
        blobs.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one(store.connection, "SELECT count(*) FROM device_keys") == 1
    assert sorted(store.blobs.get(r) for r in refs) == [b"0", b"1", b"2", b"3"]


def test_the_cache_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom_platform.blobs.keys._CACHED", 3)
    refs = [store.blobs.put(b"body", device_id=f"phone-{n}", kind="audio").ref for n in range(8)]
    keys = DatabaseKeys(store.url)
    blobs = type(store.blobs)(store.blobs.objects, keys)
    assert [blobs.get(ref) for ref in refs] == [b"body"] * 8
    assert len(keys._cache) == 3
    blobs.close()


def test_bodies_are_stored_within_a_transaction(store: Store) -> None:
    with pytest.raises(BlobError, match="begin it first"):
        store.blobs.within(store.connection).put(b"body", device_id="phone", kind="audio")


def test_a_database_that_is_away_is_a_dependency_error(store: Store) -> None:
    ref = store.blobs.put(b"body", device_id="phone", kind="audio").ref
    away = open_blobs(str(store.root), "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DependencyError, match="does not answer"):
        away.get(ref)
    with pytest.raises(DependencyError, match="does not answer"):
        away.put(b"other", device_id="phone", kind="audio")


def test_a_connection_that_was_cut_is_opened_again(store: Store) -> None:
    ref = store.blobs.put(b"body", device_id="phone", kind="audio").ref
    store.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'loom blobs' AND datname = current_database()"
    )
    with pytest.raises(DependencyError):
        store.blobs.get(ref)
    assert store.blobs.get(ref) == b"body"


@pytest.fixture(scope="module")
def stream_url(module_url: str) -> Iterator[str]:
    with login(module_url, Role.STREAM) as url:
        yield url


def test_the_stream_role_makes_keys_and_destroys_none(store: Store, stream_url: str) -> None:
    blobs = open_blobs(str(store.root), stream_url)
    with psycopg.connect(stream_url, autocommit=True) as connection:
        with connection.transaction():
            ref = blobs.within(connection).put(b"body", device_id="phone", kind="audio").ref
        assert blobs.get(ref) == b"body"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            destroy_key(connection, "phone")
    blobs.close()
    assert store.again().get(ref) == b"body"
