"""Identities of messages, from the system's source of randomness, many at a time.

A look into that source is a system call, which costs more than parsing a message; one of them serves 256 identities.
"""

import os
import time
from typing import Final
from uuid import UUID

PIECE: Final = 16
_PIECES: Final = 256
_pool: Final[list[bytes]] = []
_VERSION_7: Final = 0x7000_8000_0000_0000_0000
_RANDOM: Final = (1 << 62) - 1


def random_piece() -> bytes:
    """16 random bytes; each is given once, to whichever thread asks."""
    try:
        return _pool.pop()
    except IndexError:
        pass
    fresh = os.urandom(PIECE * _PIECES)
    _pool.extend([fresh[n : n + PIECE] for n in range(PIECE, len(fresh), PIECE)])
    return fresh[:PIECE]


def random_id() -> UUID:
    """A version 7 UUID (RFC 9562, section 5.7): milliseconds, 12 bits of their fraction (6.2, method 3), 62 random.

    The time is there for the tables: rows that came together have identities that begin alike, of which
    TimescaleDB keeps half the bytes (docs/adr/0009-days-as-storage.md).
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    moment = milliseconds << 80 | (rest * 4096 // 1_000_000) << 64
    return UUID(int=moment | _VERSION_7 | int.from_bytes(random_piece(), "big") & _RANDOM)


# A forked process must not give what its parent gives.
os.register_at_fork(after_in_child=_pool.clear)
