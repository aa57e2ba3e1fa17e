"""The times of messages that came without one: another process, or the next one, gives them again."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loom_ingest.retries import BUCKETS, FILE, WAYS, Retries

NOON = datetime(2026, 1, 15, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def retries(directory: Path | None) -> Retries:
    made = Retries(directory)
    made.start()
    return made


@pytest.mark.parametrize("durable", [True, False])
def test_the_first_time_is_given_again(tmp_path: Path, durable: bool) -> None:
    some = retries(tmp_path / "spool" if durable else None)
    ids = [uuid.uuid4() for _ in range(1_000)]
    for n, message_id in enumerate(ids):
        assert some.time_of(message_id, NOON + timedelta(microseconds=n)) == NOON + timedelta(microseconds=n)
    for n, message_id in enumerate(ids):
        assert some.time_of(message_id, LATER) == NOON + timedelta(microseconds=n)


def test_other_workers_and_the_next_process_know_it(tmp_path: Path) -> None:
    one, other = retries(tmp_path), retries(tmp_path)
    message_id = uuid.uuid4()
    assert one.time_of(message_id, NOON) == NOON
    # Nothing was closed or flushed: so it is after a kill -9.
    assert other.time_of(message_id, LATER) == NOON
    assert retries(tmp_path).time_of(message_id, LATER) == NOON
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_the_newest_are_remembered(tmp_path: Path) -> None:
    some = retries(tmp_path)
    rng = random.Random(1)
    ids = [uuid.UUID(int=rng.getrandbits(128)) for _ in range(2 * BUCKETS * WAYS)]
    for n, message_id in enumerate(ids):
        some.time_of(message_id, NOON + timedelta(seconds=n))
    newest = ids[-20_000:]
    known = sum(
        some.time_of(message_id, LATER + timedelta(days=9)) < LATER + timedelta(days=9) for message_id in newest
    )
    assert known / len(newest) > 0.99


def test_a_torn_entry_is_none(tmp_path: Path) -> None:
    message_id = uuid.uuid4()
    retries(tmp_path).time_of(message_id, NOON)
    content = bytearray((tmp_path / FILE).read_bytes())
    content[content.index(message_id.bytes) + 17] ^= 0xFF
    (tmp_path / FILE).write_bytes(content)
    assert retries(tmp_path).time_of(message_id, LATER) == LATER


def test_without_a_disk_it_goes_on_in_memory() -> None:
    some = retries(Path("/proc/nowhere"))
    message_id = uuid.uuid4()
    assert some.time_of(message_id, NOON) == NOON
    assert some.time_of(message_id, LATER) == NOON
