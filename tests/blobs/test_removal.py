import random
import threading
import uuid
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from loom_models.stage import BlobRef, Body
from loom_platform.blobs import Removed
from loom_platform.blobs.locks import InTransactionError
from loom_platform.blobs.removal import referring
from tests.blobs import rows
from tests.blobs.conftest import Store


@pytest.fixture(autouse=True)
def _days(store: Store) -> None:
    rows.days(store.connection)


def put(store: Store, body: bytes = b"body", device: str = "phone") -> BlobRef:
    return store.blobs.put(body, device_id=device, kind="audio", suffix=".wav")


def test_every_column_that_refers_to_a_body_is_asked(store: Store) -> None:
    assert referring(store.connection) == [
        ("device_audio_raw", "audio_ref"),
        ("device_image_camera_raw", "image_ref"),
        ("device_video_screen_raw", "frame_ref"),
        ("media_audio_vad_filtered", "audio_ref"),
    ]


def test_a_body_goes_with_its_last_row(store: Store) -> None:
    blob = put(store)
    chunk, other = (rows.land(store.connection, blob, "phone", second) for second in (0, 1))
    segment = rows.segment(store.connection, blob, "phone")
    rows.forget(store.connection, chunk)
    assert store.blobs.remove_unreferenced(store.connection, [blob.ref]) == Removed(0, 1)
    rows.forget(store.connection, other)
    assert store.blobs.remove_unreferenced(store.connection, [blob.ref]) == Removed(0, 1)
    assert store.blobs.get(blob.ref) == b"body"
    store.connection.execute("DELETE FROM media_audio_vad_filtered WHERE message_id = %s", (segment,))
    assert store.blobs.remove_unreferenced(store.connection, [blob.ref, blob.ref]) == Removed(1, 0)
    assert not store.blobs.exists(blob.ref)
    assert [str(p.relative_to(store.root)) for p in store.root.rglob("*")] == ["audio"]  # not even the device's name
    assert store.blobs.remove_unreferenced(store.connection, [blob.ref]) == Removed(1, 0)


def test_a_removal_leaves_the_same_body_of_another_device(store: Store) -> None:
    mine, theirs = put(store), put(store, device="laptop")
    rows.land(store.connection, theirs, "laptop")
    assert store.blobs.remove_unreferenced(store.connection, [mine.ref, theirs.ref]) == Removed(1, 1)
    assert store.blobs.get(theirs.ref) == b"body"


def test_a_body_from_before_the_keys_goes_with_its_last_row(store: Store) -> None:
    old = BlobRef(f"audio/ab/ab{'0' * 62}.wav", f"ab{'0' * 62}", 4)
    store.blobs.objects.write(old.ref, b"body")
    chunks = [rows.land(store.connection, old, device) for device in ("phone", "laptop")]
    rows.forget(store.connection, chunks[0])
    assert store.blobs.remove_unreferenced(store.connection, [old.ref]) == Removed(0, 1)
    rows.forget(store.connection, chunks[1])
    assert store.blobs.remove_unreferenced(store.connection, [old.ref]) == Removed(1, 0)


@pytest.mark.parametrize("ref", ["../../etc/passwd", "", "audio", "audio/phone/xx/yy.wav"])
def test_what_is_no_reference_is_left_alone(store: Store, ref: str) -> None:
    assert store.blobs.remove_unreferenced(store.connection, [ref]) == Removed(0, 0)


def test_a_removal_waits_for_the_rows_removal_to_be_committed(store: Store) -> None:
    blob = put(store)
    with store.connection.transaction(), pytest.raises(InTransactionError, match="commit"):
        store.blobs.remove_unreferenced(store.connection, [blob.ref])
    assert store.blobs.exists(blob.ref)


def test_many_bodies_of_many_devices_are_removed_at_once(store: Store) -> None:
    with store.connection.transaction():
        bodies = [Body(b"%d" % n, f"phone-{n % 3}", "audio") for n in range(650)]
        refs = [blob.ref for blob in store.blobs.within(store.connection).put_all(bodies)]
    assert store.blobs.remove_unreferenced(store.connection, iter(refs)) == Removed(650, 0)
    assert store.files() == set()


def test_a_body_whose_row_is_not_committed_yet_stays(store: Store) -> None:
    done: list[Removed] = []
    blob = put(store)

    def remove() -> None:
        with store.connect() as connection:
            done.append(store.again().remove_unreferenced(connection, [blob.ref]))

    with store.connect() as writing, writing.transaction():
        assert store.blobs.within(writing).put(b"body", device_id="phone", kind="audio", suffix=".wav") == blob
        thread = threading.Thread(target=remove)
        thread.start()
        thread.join(0.6)
        assert thread.is_alive()
        assert store.blobs.exists(blob.ref)
        rows.land(writing, blob, "phone")
    thread.join(10)
    assert done == [Removed(0, 1)]
    assert store.blobs.get(blob.ref) == b"body"


def test_a_waiting_removal_holds_writers_up_for_a_moment_only(store: Store) -> None:
    """Someone stores for long, a recompute say; a removal waits for it; a live batch must not."""
    blob = put(store)
    removing = threading.Thread(
        target=lambda: store.again().remove_unreferenced(store.connect(), [blob.ref]), daemon=True
    )
    with store.connect() as long, long.transaction():
        store.blobs.within(long).put(b"other", device_id="phone", kind="audio")
        removing.start()
        for number in range(5):
            with store.connect() as live, live.transaction():
                live.execute("SET LOCAL statement_timeout = '600ms'")
                store.blobs.within(live).put(b"%d" % number, device_id="phone", kind="audio")
    removing.join(10)
    assert not store.blobs.exists(blob.ref)


def test_a_session_keeps_its_bodies_between_transactions(store: Store) -> None:
    with store.connect() as importing:
        blob = store.blobs.within(importing, session=True).put(b"body", device_id="phone", kind="audio")
        removing = threading.Thread(
            target=lambda: store.again().remove_unreferenced(store.connect(), [blob.ref]), daemon=True
        )
        removing.start()
        removing.join(0.6)
        assert store.blobs.exists(blob.ref)
        rows.land(importing, blob, "phone")
    removing.join(10)
    assert not removing.is_alive()
    assert store.blobs.get(blob.ref) == b"body"


def test_bodies_put_and_removed_at_once_by_many_are_there_for_every_row(store: Store) -> None:
    """Four writers and two removals over eight bodies of two devices; at the end rows and bodies agree."""
    stop = threading.Event()
    failures: list[BaseException] = []
    bodies = [(f"phone-{n % 2}", b"%d" % n) for n in range(8)]
    written = removed = 0

    def write(seed: int) -> None:
        nonlocal written
        choose = random.Random(seed)
        try:
            with store.connect() as connection:
                blobs = store.again()
                while not stop.is_set():
                    device, body = choose.choice(bodies)
                    with connection.transaction():
                        blob = blobs.within(connection).put(body, device_id=device, kind="audio")
                        message = rows.land(connection, blob, device)
                    assert blobs.get(blob.ref) == body  # its row is there, so it is
                    rows.forget(connection, message) if choose.random() < 0.9 else None
                    written += 1
                blobs.close()
        except BaseException as error:
            failures.append(error)

    def remove() -> None:
        nonlocal removed
        try:
            with store.connect() as connection:
                blobs = store.again()
                refs = [blobs.put(body, device_id=d, kind="audio").ref for d, body in bodies]
                while not stop.is_set():
                    connection.execute("DELETE FROM device_audio_raw WHERE random() < 0.5")
                    removed += blobs.remove_unreferenced(connection, refs).removed
                blobs.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    threads += [threading.Thread(target=remove) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(2)
    stop.set()
    for thread in threads:
        thread.join(20)
    # A row may be removed between its commit and the reading of its body: then the body may be gone, rightly.
    assert [f for f in failures if not isinstance(f, KeyError)] == []
    assert written > 20
    assert removed > 20
    reader = store.again()
    for (ref,) in store.connection.execute("SELECT DISTINCT audio_ref FROM device_audio_raw").fetchall():
        reader.get(ref)
    store.blobs.sweep(store.connection, older_than=timedelta(0))
    left = {ref for (ref,) in store.connection.execute("SELECT DISTINCT audio_ref FROM device_audio_raw").fetchall()}
    assert store.files() == left


def test_any_order_of_putting_landing_forgetting_removing_and_sweeping(store: Store) -> None:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.rows: dict[BlobRef, list[uuid.UUID]] = {}
            self.destroyed: set[str] = set()
            self.bodies: dict[BlobRef, tuple[bytes, str]] = {}

        @rule(
            body=st.sampled_from([b"a", b"b", b"c"]), device=st.sampled_from(["phone", "laptop"]), lands=st.booleans()
        )
        def store_one(self, body: bytes, device: str, lands: bool) -> None:
            with store.connection.transaction():
                blob = store.blobs.within(store.connection).put(body, device_id=device, kind="audio")
                self.bodies[blob] = body, device
                self.destroyed.discard(blob.ref)
                if lands:
                    self.rows.setdefault(blob, []).append(rows.land(store.connection, blob, device))

        @rule()
        def crash(self) -> None:
            with store.connection.transaction(force_rollback=True):
                blob = store.blobs.within(store.connection).put(b"crash", device_id="phone", kind="audio")
                rows.land(store.connection, blob, "phone")

        @rule(data=st.data())
        def forget(self, data: st.DataObject) -> None:
            known = [blob for blob, of in self.rows.items() if of]
            if known:
                blob = data.draw(st.sampled_from(known))
                rows.forget(store.connection, self.rows[blob].pop())
                store.blobs.remove_unreferenced(store.connection, [blob.ref])

        @rule()
        def sweep(self) -> None:
            store.blobs.sweep(store.connection, older_than=timedelta(0))
            assert store.files() == {blob.ref for blob, of in self.rows.items() if of}

        @invariant()
        def every_row_has_its_body(self) -> None:
            for blob, of in self.rows.items():
                if of:
                    assert store.blobs.get(blob.ref) == self.bodies[blob][0]

        def teardown(self) -> None:
            store.connection.execute("DELETE FROM device_audio_raw")
            store.blobs.sweep(store.connection, older_than=timedelta(0))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=8, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
