"""Which device a foreign client is: what it calls itself is seldom a `device_id`."""

import re
from hashlib import blake2s
from typing import Final

from loom_ingest.access.principal import Principal

LONGEST: Final = 64
_ALLOWED: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]+")


class Identities:
    """Links from (client, identity) to a device.

    A link that the person made comes first; then the one device of a device's key; then a name made of the identity.
    """

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], str] = {}

    def device_of(self, client: str, identity: str, principal: Principal) -> str:
        """The `device_id` of what calls itself `identity` to the endpoint of `client`."""
        linked = self._links.get((client, identity))
        if linked is not None:
            return linked
        if principal.devices is not None and len(principal.devices) == 1:
            (device_id,) = principal.devices
            return device_id
        return derived_device_id(client, identity)


def derived_device_id(client: str, identity: str) -> str:
    """`identity` as it is when it can be a `device_id`, else made so, with six digits that keep it apart from others.

    `derived_device_id("owntracks", "jan/phone")` is `jan-phone-` and the beginning of the identity's BLAKE2s.
    """
    if _ALLOWED.fullmatch(identity):
        return identity
    readable = _OTHER.sub("-", identity).strip("-") or client
    return f"{readable[: LONGEST - 7]}-{blake2s(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
