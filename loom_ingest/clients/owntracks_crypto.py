"""Encrypted payloads of OwnTracks: libsodium's secretbox with a secret that phone and server share.

Format: https://owntracks.org/booklet/features/encrypt/. `{"_type": "encrypted", "data": base64(nonce || box)}`; the key
is the secret in UTF-8, cut or padded with zeroes to 32 bytes.

The secrets are in a file, a line each: `jane-phone the secret`, with `*` for the secret of every other phone. It is the
form in which the Recorder prints its own (`ocat --dump=keys`). It is read again when it changes.
"""

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from pydantic_core import to_json

from loom_ingest.logging import log

ANY: Final = "*"
LONGEST_FILE: Final = 1024 * 1024


class UndecryptableError(Exception):
    """An encrypted message that cannot be opened now; its text says why, and never holds a secret."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in a box, and how to close one for the same phone."""

    content: bytes
    box: SecretBox = field(repr=False)


def box_of(secret: str) -> SecretBox:
    """The box of `secret`."""
    return SecretBox(secret.encode()[: SecretBox.KEY_SIZE].ljust(SecretBox.KEY_SIZE, b"\0"))


def sealed(content: bytes, box: SecretBox) -> bytes:
    """The message, as JSON, that has `content` encrypted, with a nonce of its own."""
    return to_json({"_type": "encrypted", "data": base64.b64encode(box.encrypt(content)).decode()})


class Secrets:
    """The secrets in `path`; none when it is None."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._boxes: dict[str, SecretBox] = {}
        self._seen: object = None

    def open(self, data: Any, user: str, device: str) -> Opened:
        """What is in `data` of this user's device; raises UndecryptableError.

        Their own secret is tried, then the user's, then `*`. Where neither user nor device is known, all of them are:
        a box that opens was made with that secret.
        """
        if self._path is None:
            raise UndecryptableError("no secret is known: LOOM_OWNTRACKS_SECRETS_FILE is not set")
        self._refresh(self._path)
        try:
            box = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise UndecryptableError("its data is not base64") from None
        names = (_name(f"{user}-{device}"), _name(user), ANY) if user or device else tuple(self._boxes)
        tried = [self._boxes[name] for name in names if name in self._boxes]
        for candidate in tried:
            try:
                return Opened(candidate.decrypt(box), candidate)
            except (CryptoError, ValueError):
                continue
        if not tried:
            raise UndecryptableError("the file of secrets has none for this phone")
        raise UndecryptableError("the secret in the file of secrets is not the one on the phone")

    def _refresh(self, path: Path) -> None:
        try:
            status = path.stat()
            seen: object = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            if status.st_mode & 0o077:
                log.warning("owntracks_secrets_readable", path=str(path), remedy="chmod 600; others can read it")
            with path.open(encoding="utf-8") as file:
                self._boxes = _parsed(file.read(LONGEST_FILE))
        except (OSError, UnicodeDecodeError) as error:
            seen = type(error).__name__
            if seen != self._seen:
                log.error("owntracks_secrets_unreadable", path=str(path), reason=type(error).__name__)
        self._seen = seen


def _parsed(text: str) -> dict[str, SecretBox]:
    boxes = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, secret = line.strip().partition(" ")
        if secret:
            boxes[_name(name)] = box_of(secret)
        else:
            log.warning("owntracks_secret_left_out", line=number, remedy="write NAME SECRET, such as jane-phone s3cret")
    return boxes


def _name(name: str) -> str:
    """As the Recorder has it: in lower case, user and device with a dash between them."""
    return name.lower().replace("/", "-")
