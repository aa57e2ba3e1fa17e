"""Refusals as a client has to hear them that deletes whatever is answered with a 4xx."""

from typing import Final

from loom_ingest.errors import ApiError, Code

DELETING: Final = ("/pub",)
"""Beginnings of the paths of such clients: OwnTracks for iOS (Connection.m)."""
_LATER: Final = {
    # Seconds to wait; None where the refusal says it.
    Code.RATE_LIMITED: None,
    Code.DEVICE_NOT_REGISTERED: 60,
    Code.REQUEST_TIMEOUT: 5,
    Code.MALFORMED_REQUEST: 5,
}


def told(path: str, error: ApiError) -> ApiError:
    """`error`; at the paths of such clients as a 503, when the same request may be taken later."""
    if error.code not in _LATER or not path.startswith(DELETING):
        return error
    wait = _LATER[error.code]
    headers = error.headers if wait is None else {**error.headers, "Retry-After": str(wait)}
    return ApiError(503, error.code, error.message, details=error.details, headers=headers)
