"""Identities of messages, from the system's source of randomness, many at a time.

A look into that source is a system call, which costs more than parsing a message; one of them serves 256 identities.
"""

import os
from typing import Final
from uuid import UUID

PIECE: Final = 16
_PIECES: Final = 256
_pool: Final[list[bytes]] = []
_VERSION_4: Final = 0x4000_8000_0000_0000_0000
_FREE: Final = (1 << 128) - 1 - 0xF000_C000_0000_0000_0000


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
    """A version 4 UUID (RFC 9562, section 5.4)."""
    return UUID(int=int.from_bytes(random_piece(), "big") & _FREE | _VERSION_4)


# A forked process must not give what its parent gives.
os.register_at_fork(after_in_child=_pool.clear)
