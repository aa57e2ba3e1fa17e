"""The text of an API key: `loom_<id>_<secret><checksum>`.

`id` is 10 characters of base32 and no secret: it names the key in lists and commands. `secret` is 32 characters of
base62, 190 bits. `checksum` is the CRC-32 of all before it, in 6 characters of base62: a key that was mistyped or cut
short is told from one that is not known, without a look-up. The fixed beginning lets scanners of secrets find keys.
"""

import re
import secrets
import zlib
from hashlib import sha256
from typing import Final, NamedTuple

BEGINNING: Final = "loom_"
ID_LENGTH: Final = 10
SECRET_LENGTH: Final = 32
CHECKSUM_LENGTH: Final = 6
KEY_LENGTH: Final = len(BEGINNING) + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH
ID: Final = slice(len(BEGINNING), len(BEGINNING) + ID_LENGTH)
"""Where the id stands in a key."""

_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(rb"loom_[a-z2-7]{10}_[0-9A-Za-z]{38}")


class NewKey(NamedTuple):
    """A key that was just made: its text, which is kept nowhere, and what is kept of it."""

    key_id: str
    text: str
    sha256: bytes


def make_key() -> NewKey:
    """A new key, from the system's source of randomness."""
    key_id = "".join(secrets.choice(_BASE32) for _ in range(ID_LENGTH))
    body = f"{BEGINNING}{key_id}_" + "".join(secrets.choice(_BASE62) for _ in range(SECRET_LENGTH))
    text = body + checksum(body.encode())
    return NewKey(key_id, text, digest(text.encode()))


def digest(key: bytes) -> bytes:
    """What is kept of a key. It has 190 random bits, so no salt and no slow hash is needed."""
    return sha256(key).digest()


def well_formed(key: bytes) -> bool:
    """Whether `key` has the form of a key and its own checksum."""
    if _KEY.fullmatch(key) is None:
        return False
    return checksum(key[:-CHECKSUM_LENGTH]).encode() == key[-CHECKSUM_LENGTH:]


def checksum(body: bytes) -> str:
    """The CRC-32 of `body` in base62, with leading zeros."""
    number, text = zlib.crc32(body), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        text = _BASE62[digit] + text
    return text
