"""Where a key is in a request, and what is said of one that is missing or does not count.

`X-API-Key: KEY`, `Authorization: Bearer KEY`, `Authorization: Basic` with the key as the password (the user's name is
free), and `?token=KEY` where a Rule allows it; in this order. RFC 6750 section 3 has the form of the challenge, RFC
7617 that of Basic.
"""

import binascii
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from loom_ingest.access.keys import well_formed
from loom_ingest.errors import ApiError, Code

_HOW: Final = "send one as `Authorization: Bearer KEY` (`loom keys create` makes one)"
_BASIC: Final = ', Basic realm="loom", charset="UTF-8"'


def key_in_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """What a request's headers offer as its key; None when they offer nothing."""
    found = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            scheme = scheme.lower()
            if scheme == b"bearer":
                found = rest.strip()
            elif scheme == b"basic":
                found = _password(rest)
        elif name == b"x-api-key":
            return value.strip()
    return found


def key_in_query(query: bytes) -> bytes | None:
    """The first `token` of a query string; None when it has none."""
    if b"token=" not in query:
        return None
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name == "token":
            return value.encode()
    return None


def missing(*, basic: bool = False) -> ApiError:
    """The 401 for a request without a key."""
    return _refused("missing", f"This needs an API key: {_HOW}", 'Bearer realm="loom"', basic=basic)


def not_known(key: bytes, *, basic: bool = False) -> ApiError:
    """The 401 for a key that is not known: of no key at all, or not the secret of the key that it names."""
    if not well_formed(key):
        reason, says = "malformed", "The API key is mistyped or cut short: its checksum does not match; copy it again"
    else:
        reason, says = "unknown", "The API key is not known here; `loom keys list` shows those that are"
    return _refused(reason, says, _invalid(reason), basic=basic)


def ended(reason: str, moment: float, *, basic: bool = False) -> ApiError:
    """The 401 for a known key that was `revoked` or has `expired` at `moment`, told to its bearer alone."""
    at = f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
    was = f"was revoked at {at}" if reason == "revoked" else f"expired at {at}"
    return _refused(reason, f"This API key {was}; make another with `loom keys create`", _invalid(reason), basic=basic)


def _invalid(reason: str) -> str:
    return f'Bearer realm="loom", error="invalid_token", error_description="{reason}"'


def _refused(reason: str, message: str, challenge: str, *, basic: bool) -> ApiError:
    headers = {"WWW-Authenticate": challenge + (_BASIC if basic else "")}
    return ApiError(401, Code.UNAUTHENTICATED, message, details={"reason": reason}, headers=headers)


def _password(value: bytes) -> bytes:
    try:
        return binascii.a2b_base64(value.strip()).partition(b":")[2]
    except binascii.Error:
        return b""
