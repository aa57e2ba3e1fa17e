"""Encrypted payloads of the companion app: libsodium's secretbox in base64, its nonce in front.

https://developers.home-assistant.io/docs/api/native-app-integration/sending-data#implementing-encryption. The secret is
64 hexadecimal digits: of them apps make a key of 32 bytes, or take the first 32 digits as it, which older ones do. An
answer is encrypted as its request was.
"""

import binascii
from typing import Any, Final

from nacl.encoding import Base64Encoder
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from pydantic_core import from_json, to_json

_SIZE: Final = SecretBox.KEY_SIZE


class Sealed:
    """How one request was encrypted; `payload` is what was in it."""

    def __init__(self, secret: str, encrypted: Any) -> None:
        """Open `encrypted`; raises ValueError when that cannot be done."""
        text = encrypted if isinstance(encrypted, str) else ""
        # Not every app pads its base64.
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        for key in (bytes.fromhex(secret), secret.encode()[:_SIZE]):
            box = SecretBox(key)
            try:
                content = box.decrypt(padded.encode(), encoder=Base64Encoder)
            except (CryptoError, binascii.Error, ValueError, TypeError):
                continue
            self._box = box
            self.payload = from_json(content)
            return
        raise ValueError("it was not encrypted with the secret of this registration")

    def seal(self, content: Any) -> bytes:
        """An answer, encrypted in the same way."""
        sealed = self._box.encrypt(to_json(content), encoder=Base64Encoder)
        return to_json({"encrypted": True, "encrypted_data": sealed.decode()})
