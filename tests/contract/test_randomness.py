"""Identities of messages: version 7 UUIDs, each given once, in every thread and process."""

import os
import threading
import time
from uuid import RFC_4122, UUID

from loom_contracts.randomness import PIECE, random_id, random_piece


def test_an_identity_is_a_uuid_of_version_7() -> None:
    for _ in range(600):
        found = random_id()
        assert (found.version, found.variant) == (7, RFC_4122)
        assert UUID(str(found)) == found
    assert len(random_piece()) == PIECE


def test_it_begins_with_the_time_to_a_quarter_of_a_microsecond() -> None:
    for _ in range(100):
        before = time.time_ns()
        number = random_id().int
        after = time.time_ns()
        told = (number >> 80) * 1_000_000 + (number >> 64 & 0xFFF) * 1_000_000 // 4096
        assert before - 245 <= told <= after


def test_every_random_bit_is_used() -> None:
    ones, zeros = 0, (1 << 128) - 1
    for _ in range(200):
        number = random_id().int
        ones |= number
        zeros &= number
    assert ((ones ^ zeros) & (1 << 62) - 1).bit_count() == 62


def test_none_is_given_twice_to_threads() -> None:
    found: list[list[UUID]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda own: own.extend(random_id() for _ in range(5_000)), args=(own,)) for own in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for own in found for each in own}) == 20_000


def test_a_fork_gives_others_than_its_parent() -> None:
    random_piece()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, random_piece())
        os._exit(0)
    os.waitpid(child, 0)
    try:
        assert os.read(reading, PIECE) not in {random_piece() for _ in range(1_000)}
    finally:
        os.close(reading)
        os.close(writing)
