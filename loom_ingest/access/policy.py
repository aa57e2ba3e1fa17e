"""Which scope each endpoint asks for, when keys are required; one explicit table.

What is not in it needs `read` to be read and `ingest` for anything else, so an endpoint that is new is never open.
Handlers ask for more where it depends on the device (`admit`, and the changes to `/devices`).
"""

import re
from typing import Final, NamedTuple

from starlette.types import Scope as Connection

from loom_ingest.access.principal import Scope


class Rule(NamedTuple):
    """What an endpoint asks for: any of `scopes`, or nothing when there are none.

    `token` says whether the key may come as `?token=`, which logs of proxies keep: only where a client cannot do
    otherwise. `basic` says whether a refusal asks for HTTP Basic too: some clients send it only when they are asked.
    """

    scopes: tuple[Scope, ...] = ()
    token: bool = False
    basic: bool = False


OPEN: Final = Rule()
READING: Final = Rule((Scope.READ,))
SENDING: Final = Rule((Scope.INGEST,))
STREAMING: Final = Rule((Scope.INGEST,), token=True)
CLIENT: Final = Rule((Scope.INGEST,), token=True, basic=True)
CLIENT_READING: Final = Rule((Scope.READ,), token=True, basic=True)
CLIENT_ANY: Final = Rule((Scope.READ, Scope.INGEST), token=True, basic=True)
OWN_READING: Final = Rule((Scope.READ, Scope.INGEST))
CHANGING: Final = Rule((Scope.ADMIN, Scope.INGEST))
ADMINISTRATION: Final = Rule((Scope.ADMIN,))

_READS: Final = frozenset({"GET", "HEAD"})

_EXACT: Final[dict[tuple[str, str], Rule]] = {
    **{
        ("GET", path): OPEN
        # What the service is, whether it lives, and its documentation tell nothing of a person.
        for path in ("/", "/healthz", "/readyz", "/docs", "/docs/errors", "/redoc", "/openapi.json")
    },
    ("POST", "/devices"): CHANGING,
    ("GET", "/devices/activity"): READING,
    # aw-client asks for it before it sends.
    ("GET", "/api/0/info"): CLIENT_ANY,
    ("GET", "/osmand"): CLIENT,
}
_PREFIXES: Final[tuple[tuple[str, Rule, Rule], ...]] = (
    # path begins with; rule of reading; rule of anything else
    ("/static/docs/", OPEN, SENDING),
    # The id of a webhook is a credential of its own, which its handler checks.
    ("/api/webhook/", OPEN, OPEN),
    ("/api/", CLIENT_READING, CLIENT),
    ("/pub", CLIENT, CLIENT),
    ("/overland", CLIENT, CLIENT),
    ("/osmand", CLIENT, CLIENT),
)
_DEVICE: Final = "/devices/"


def rule_of(method: str, path: str) -> Rule:
    """The rule of a request to `path`, in the form in which the router matches it."""
    reads = method in _READS
    exact = _EXACT.get(("GET" if reads else method, path))
    if exact is not None:
        return exact
    if method == "OPTIONS":
        # The question of a browser before a request from another origin; it never carries a key.
        return OPEN
    if path.startswith(_DEVICE):
        return OWN_READING if reads else ADMINISTRATION if method == "DELETE" else CHANGING
    for prefix, reading, other in _PREFIXES:
        if path.startswith(prefix):
            return reading if reads else other
    return READING if reads else SENDING


_ACTIONS: Final = {"POST": "device.register", "PATCH": "device.update", "DELETE": "device.delete"}
_DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")


def change_of(connection: Connection) -> tuple[str, str]:
    """What the audit log calls the change that is asked for, and its device; empty texts when it is no such change."""
    path = str(connection["path"])
    action = _ACTIONS.get(connection.get("method", ""), "")
    if not action or (path != "/devices" and not path.startswith(_DEVICE)):
        return "", ""
    device_id = path.removeprefix("/devices").removeprefix("/")
    return action, device_id if _DEVICE_ID.fullmatch(device_id) else ""
