"""The body of a request whatever it is announced as: of clients that take a refusal for a receipt.

Such a client deletes what was refused with a 4xx. So a body of an unknown media type, or one that is not compressed as
its header says, is handed on as it came; only one that is longer than the limit is refused, for it can never be kept.
"""

from typing import Final

from fastapi import Request

from loom_ingest.body import decompressed
from loom_ingest.errors import ApiError, Code

_ENCODINGS: Final = {b"gzip": "gzip", b"x-gzip": "gzip", b"zstd": "zstd"}


async def read_any(request: Request, limit: int) -> bytes:
    """The body, decompressed where that can be done; raises the 413, or the 400 of a client that left."""
    encoding = None
    for name, value in request.scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise _too_large(limit)
        if name == b"content-encoding":
            encoding = _ENCODINGS.get(value.strip().lower())
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        event = await request.receive()
        if event["type"] == "http.disconnect":
            raise ApiError(400, Code.CLIENT_DISCONNECTED, "The client left before the body was complete")
        chunk = event.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = event.get("more_body", False)
    body = b"".join(chunks)
    if encoding is None:
        return body
    try:
        return decompressed(body, encoding, limit)
    except ApiError as error:
        if error.status == 413:
            raise
        return body


def text_of(body: bytes) -> str:
    """`body` as text; bytes that are none of UTF-8 as `\\xNN`, so that they can be had back."""
    return body.decode("utf-8", "backslashreplace")


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        Code.PAYLOAD_TOO_LARGE,
        f"The body is larger than {limit} bytes; send less at a time",
        details={"limit_bytes": limit},
        headers={"Connection": "close"},
    )
