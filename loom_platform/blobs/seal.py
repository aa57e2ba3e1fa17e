"""The form of an encrypted body: XChaCha20-Poly1305 with the device's key, and the reference as associated data.

    magic "LOOMBLB" | version 1 | key_id (16 bytes) | nonce (24 bytes) | ciphertext | tag (16 bytes)

The nonce follows from the key and the reference, which names the body's hash: a body has one encrypted form under a
key, so storing it again changes nothing and a torn object is seen at once. No two bodies of a key share a nonce.
https://doc.libsodium.org/secret-key_cryptography/aead/chacha20-poly1305/xchacha20-poly1305_construction
"""

from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Final
from uuid import UUID

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from loom_platform.blobs.errors import BlobDamagedError
from loom_platform.blobs.references import Reference

MAGIC: Final = b"LOOMBLB\x01"
KEY_BYTES: Final = sodium.crypto_aead_xchacha20poly1305_ietf_KEYBYTES
_NONCE_BYTES: Final = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_HEADER: Final = len(MAGIC) + 16
OVERHEAD: Final = _HEADER + _NONCE_BYTES + sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES
"""How many bytes an encrypted body is longer than the body itself."""


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device's key: 32 bytes, shown nowhere."""

    key_id: UUID
    key: bytes = field(repr=False)


def seal(body: bytes, reference: Reference, key: DeviceKey) -> bytes:
    """`body` as it is stored."""
    name = reference.ref.encode()
    nonce = blake2b(name, digest_size=_NONCE_BYTES, key=key.key, person=b"loom blob nonce").digest()
    header = MAGIC + key.key_id.bytes
    sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(body, header + name, nonce, key.key)
    return header + nonce + sealed


def key_id_of(stored: bytes, reference: Reference) -> UUID:
    """Which key opens `stored`; raises BlobDamagedError when it is not an encrypted body."""
    if len(stored) < OVERHEAD or not stored.startswith(MAGIC):
        raise BlobDamagedError(
            f"{reference.ref}: its {len(stored):,} bytes are no encrypted body; it was altered or torn"
        )
    return UUID(bytes=stored[len(MAGIC) : _HEADER])


def unseal(stored: bytes, reference: Reference, key: DeviceKey) -> bytes:
    """The body; raises BlobDamagedError when a bit of it, or its name, is not what was stored."""
    nonce, sealed = stored[_HEADER : _HEADER + _NONCE_BYTES], stored[_HEADER + _NONCE_BYTES :]
    try:
        body = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed, stored[:_HEADER] + reference.ref.encode(), nonce, key.key
        )
    except CryptoError:
        raise BlobDamagedError(f"{reference.ref}: it does not decrypt: it was altered or torn") from None
    return checked(body, reference)


def checked(body: bytes, reference: Reference) -> bytes:
    """`body`, if its hash is the one in its name; raises BlobDamagedError."""
    if (digest := sha256(body).hexdigest()) != reference.sha256:
        raise BlobDamagedError(f"{reference.ref}: its SHA-256 is {digest}; it was altered or torn")
    return body
