"""What each code of an error answer means and what to do about it; and the answer as RFC 9457's problem details.

RFC 9457 (https://www.rfc-editor.org/rfc/rfc9457.html) and the integration guide both have a `status` and a `detail`,
of different types. So whoever asks for `application/problem+json` gets the RFC's, beside all other members of the
guide's object, and the guide's list of a 422 as `errors`; whoever does not, gets the guide's.
"""

from datetime import UTC, datetime
from html import escape
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from loom_ingest.errors import ApiError, Code, timestamp_text

PROBLEM_JSON: Final = "application/problem+json"
PAGE: Final = "/docs/errors"
"""Where the service explains its codes; a problem's `type` leads there."""


class Meaning(NamedTuple):
    """Statuses that a code comes with, what it says in short, and what whoever gets it does."""

    statuses: tuple[int, ...]
    title: str
    remedy: str


_AGAIN: Final = "Keep the data and send it again after `Retry-After` seconds."

MEANINGS: Final[dict[Code, Meaning]] = {
    Code.MALFORMED_REQUEST: Meaning((400,), "Not HTTP/1.1", "Speak plain HTTP/1.1 to this port."),
    Code.MALFORMED_JSON: Meaning((400,), "The body is not JSON", "Send one JSON value in UTF-8."),
    Code.MALFORMED_FORM: Meaning((400,), "The form cannot be read", "Send multipart/form-data with one file."),
    Code.MALFORMED_ENCODING: Meaning(
        (400,), "The body is not what Content-Encoding says", "Compress it again, whole, as gzip or zstd."
    ),
    Code.INVALID_IDEMPOTENCY_KEY: Meaning(
        (400,), "The Idempotency-Key cannot be used", "Send 1 to 255 characters, such as a UUID."
    ),
    Code.MISSING_FIELD: Meaning((422,), "A required field is missing", "Add the field that `details` names."),
    Code.INVALID_TYPE: Meaning(
        (400, 422), "A field is of a wrong type", "Send the type that `details` names; text is not taken for a number."
    ),
    Code.INVALID_VALUE: Meaning((422,), "A field has a value that cannot be used", "Do what `details` says of it."),
    Code.OUT_OF_RANGE: Meaning((422,), "A number is out of its range", "Correct it, or leave an optional field out."),
    Code.TIMESTAMP_OUT_OF_RANGE: Meaning(
        (422,),
        "The time is too far from the server's",
        "Correct the device's clock, or leave `timestamp` out; for old data widen LOOM_TIMESTAMP_TOLERANCE_HOURS "
        "(0: any time).",
    ),
    Code.UNKNOWN_SCHEMA_VERSION: Meaning(
        (422,), "The version of the payload is not known", "Send the version that `message` names, or update Loom."
    ),
    Code.UNKNOWN_SENSOR_TYPE: Meaning(
        (422,), "There is no such sensor", "Use one that `message` names; anything else fits into /system/metadata."
    ),
    Code.TOO_MANY_APPS: Meaning((422,), "Too many applications at once", "Send the rest in another request."),
    Code.BATCH_TOO_LONG: Meaning((422,), "Too many readings at once", "Send 100 at most; the rest in another batch."),
    Code.BATCH_REJECTED: Meaning((422,), "No reading of the batch was taken", "Correct what `errors` says of each."),
    Code.PAYLOAD_TOO_LARGE: Meaning((413,), "The body is too large", "Send less at a time: `details` has the limit."),
    Code.UNSUPPORTED_MEDIA_TYPE: Meaning(
        (415,), "The body is of a type that is not taken", "Send application/json, plain or as gzip or zstd."
    ),
    Code.HEADERS_TOO_LARGE: Meaning((431,), "The headers are too large", "Send fewer, and no cookies."),
    Code.REQUEST_TIMEOUT: Meaning(
        (408,), "The request came too slowly", "Send it again, on a better connection or in smaller pieces."
    ),
    Code.RATE_LIMITED: Meaning((429,), "Too many requests", _AGAIN),
    Code.TOO_MANY_CONNECTIONS: Meaning((503,), "Too many connections are open", _AGAIN),
    Code.UNAUTHENTICATED: Meaning(
        (401,), "A key is needed, and none that is valid came", "Make one: `loom keys create`; send it as a Bearer."
    ),
    Code.INSUFFICIENT_SCOPE: Meaning((403,), "The key has not the scope", "Use a key with the scope in `details`."),
    Code.DEVICE_NOT_ALLOWED: Meaning(
        (403,), "The key is of another device", "Use that device's own key, or a person's."
    ),
    Code.DEVICE_NOT_REGISTERED: Meaning((403,), "The device is not registered", "Register it: POST /devices."),
    Code.DEVICE_NOT_FOUND: Meaning((404,), "There is no such device", "Look for it: GET /devices."),
    Code.DEVICE_EXISTS: Meaning((409,), "The device is registered already", "Change it: PATCH /devices/{device_id}."),
    Code.ROW_NOT_FOUND: Meaning((404,), "There is no such row", "Ask later; `loom lag` and the dead letters tell why."),
    Code.BUCKET_NOT_FOUND: Meaning((404,), "ActivityWatch: there is no such bucket", "Make it first, as watchers do."),
    Code.EVENT_NOT_FOUND: Meaning((404,), "ActivityWatch: there is no such event", "Look for it in its bucket."),
    Code.FORCE_REQUIRED: Meaning((401,), "ActivityWatch: deleting asks for more", "Say it: `?force=1`."),
    Code.DATABASE_UNAVAILABLE: Meaning(
        (503,), "PostgreSQL cannot be used", "Start it, or set LOOM_DATABASE_URL; data is taken all the same."
    ),
    Code.CLIENT_DISCONNECTED: Meaning((400,), "The client left", "Nobody reads this one; it is in the metrics."),
    Code.NOT_FOUND: Meaning((404,), "There is no such endpoint", "Look for it: /docs."),
    Code.METHOD_NOT_ALLOWED: Meaning((405,), "The endpoint has no such method", "Use one of the header `Allow`."),
    Code.NOT_IMPLEMENTED: Meaning((501,), "Loom does not do this", "Do what `message` says instead."),
    Code.HTTP_ERROR: Meaning((400,), "The request cannot be answered", "Do what `message` says."),
    Code.KAFKA_UNAVAILABLE: Meaning(
        (503,), "Neither the broker nor the disk spool took it", "Keep the data; send it again after `Retry-After`."
    ),
    Code.TOPIC_UNAVAILABLE: Meaning(
        (503,), "The broker has no such topic", "Create the topics: `loom topics create`; then send it again."
    ),
    Code.OVERLOADED: Meaning((503,), "More is under way than fits", _AGAIN),
    Code.INTERNAL_ERROR: Meaning(
        (500,), "The service failed", "Send it again with the same `message_id`; report it with its `request_id`."
    ),
}


def problem(error: ApiError, request_id: str) -> bytes:
    """The JSON of `error` as problem details."""
    content: dict[str, Any] = {
        "type": f"{PAGE}#{error.code.value}",
        "title": MEANINGS[error.code].title,
        "status": error.status,
        "detail": error.message,
        "instance": f"urn:loom:request:{request_id}",
        "message": error.message,
        "code": error.code,
        "details": error.details,
        "request_id": request_id,
        "timestamp": timestamp_text(datetime.now(UTC)),
        **({"errors": error.detail} if error.detail else {}),
        **{name: value for name, value in error.extra.items() if name not in ("type", "title", "instance")},
    }
    return to_json(content, inf_nan_mode="strings")


def page() -> str:
    """The codes as a page of HTML."""
    rows = "".join(
        f'<tr id="{code.value}"><td><code>{code.value}</code><td>{", ".join(map(str, meaning.statuses))}'
        f"<td>{escape(meaning.title)}<td>{escape(meaning.remedy)}"
        for code, meaning in MEANINGS.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Error codes of Loom's API</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }}
table {{ border-collapse: collapse }} th, td {{ border-top: 1px solid #ccc; padding: .4rem .7rem; text-align: left }}
:target {{ background: #fff3c4 }} @media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd }} }}
</style></head><body><h1>Error codes</h1>
<p>Every answer that is not a success is a JSON object with <code>status, message, code, details, request_id,
timestamp</code>. What <code>code</code> can be:</p>
<table><thead><tr><th>Code<th>Status<th>What it means<th>What to do</thead><tbody>{rows}</tbody></table>
</body></html>"""
