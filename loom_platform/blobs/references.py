"""What a row calls its body: `<kind>/<device_id>/<aa>/<sha256><suffix>`, by the SHA-256 of the body as it was sent.

Bodies stored before there were keys are `<kind>/<aa>/<sha256><suffix>`; they belong to no device, are not encrypted and
stay readable.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_DEVICE: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")
_KIND: Final = re.compile(r"[a-z0-9_-]{1,32}")
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9_-]{1,16}")
_REF: Final = re.compile(
    r"(?P<kind>[^/]+)/(?:(?P<device_id>[A-Za-z0-9_-]{3,64})/)?(?P<aa>[0-9a-f]{2})/"
    r"(?P<sha256>(?P=aa)[0-9a-f]{62})(?P<suffix>[^/]*)"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference says of its body; `device_id` is None for one that is older than the keys."""

    ref: str
    kind: str
    device_id: str | None
    sha256: str


def parsed(ref: str) -> Reference | None:
    """What `ref` says; None when it is not a reference that Loom gives."""
    found = _REF.fullmatch(ref)
    return None if found is None else Reference(ref, found["kind"], found["device_id"], found["sha256"])


def reference_to(body: bytes, device_id: str, kind: str, suffix: str) -> Reference:
    """The reference of `body`; a suffix that no file name should have is left out. Raises ValueError."""
    if not _DEVICE.fullmatch(device_id):
        raise ValueError(f"{device_id[:80]!r} is not a device_id: 3 to 64 letters, digits, hyphens and underscores")
    if not _KIND.fullmatch(kind):
        raise ValueError(
            f"{kind[:80]!r} is not a kind of body: 1 to 32 lower-case letters, digits, hyphens, underscores"
        )
    digest = sha256(body).hexdigest()
    end = suffix if _SUFFIX.fullmatch(suffix) else ""
    return Reference(f"{kind}/{device_id}/{digest[:2]}/{digest}{end}", kind, device_id, digest)
