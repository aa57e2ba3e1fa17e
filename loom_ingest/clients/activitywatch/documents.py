"""How the routes are described in the OpenAPI document."""

from typing import Any, Final

from pydantic import BaseModel, Field

from loom_contracts.payloads.common import JsonObject
from loom_ingest.openapi import ERRORS, ErrorAnswer

_EVENT: Final = {
    "timestamp": "2026-01-15T08:30:00.000000+00:00",
    "duration": 12.5,
    "data": {"app": "Firefox", "title": "An article"},
}
_BUCKET: Final = {"client": "aw-watcher-window", "type": "currentwindow", "hostname": "laptop"}
_EXPORT: Final = {
    "buckets": {
        "aw-watcher-window_laptop": {
            "id": "aw-watcher-window_laptop",
            "created": "2026-01-15T08:00:00+00:00",
            **_BUCKET,
            "events": [_EVENT],
        }
    }
}


class Info(BaseModel):
    """What the server is."""

    hostname: str
    version: str
    testing: bool
    device_id: str


class BucketAnswer(BaseModel):
    """One bucket."""

    id: str = Field(examples=["aw-watcher-window_laptop"])
    created: str
    name: str | None
    type: str
    client: str
    hostname: str
    data: dict[str, Any]
    last_updated: str | None = Field(None, description="When its last event ends.")


class EventAnswer(BaseModel):
    """One event."""

    id: int | None
    timestamp: str
    duration: float
    data: dict[str, Any]


class Deleted(BaseModel):
    """Whether there was something to delete."""

    success: bool


class NewBucket(BaseModel):
    """A bucket to make."""

    type: str = Field(description="Type of its events.")
    client: str = Field(description="The watcher.")
    hostname: str = Field(description="Its computer; `!local` is the server's.")
    data: JsonObject | None = None


class BucketUpdate(BaseModel):
    """What is to be changed of a bucket."""

    type: str | None = None
    client: str | None = None
    hostname: str | None = None
    data: JsonObject | None = None


class Query(BaseModel):
    """A query in ActivityWatch's own language."""

    timeperiods: list[str]
    query: list[str]


EVENT: Final[dict[str, Any]] = {"schema": {}, "example": _EVENT}
"""Anything: what is no event is kept as it came, because the client would throw it away."""
EVENTS: Final[dict[str, Any]] = {"schema": {"type": ["array", "object"]}, "example": [_EVENT]}
_IMPORTED: Final = {
    "type": "object",
    "properties": {"events": {"type": "array", "items": {}}},
    "description": "A bucket as GET /api/0/buckets/{bucket_id} has it, with its events.",
}
IMPORT: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "properties": {"buckets": {"type": "object", "additionalProperties": _IMPORTED}},
        "required": ["buckets"],
    },
    "example": _EXPORT,
}
SETTING: Final[dict[str, Any]] = {"schema": {}, "example": "09:00"}

_BUCKET_ID: Final = {
    "name": "bucket_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "example": "aw-watcher-window_laptop",
}
_EVENT_ID: Final = {"name": "event_id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
_KEY: Final = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}, "example": "startOfDay"}
_MOMENT: Final = {"type": "string", "format": "date-time"}
RANGE: Final = (
    {"name": "start", "in": "query", "required": False, "schema": _MOMENT, "description": "Events that end later."},
    {"name": "end", "in": "query", "required": False, "schema": _MOMENT, "description": "Events that begin earlier."},
)
LIMIT: Final = {
    "name": "limit",
    "in": "query",
    "required": False,
    "schema": {"type": "integer"},
    "description": "How many at most; all when it is negative.",
}
PULSETIME: Final = {
    "name": "pulsetime",
    "in": "query",
    "required": True,
    "schema": {"type": "number"},
    "description": "Seconds between two heartbeats that are still one event.",
    "example": 5.0,
}
FORCE: Final = {
    "name": "force",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Must be 1.",
    "example": "1",
}


def operation(
    answer: Any,
    says: str,
    *,
    body: dict[str, Any] | type[BaseModel] | None = None,
    parameters: tuple[dict[str, Any], ...] = (),
    bucket: bool = True,
    event: bool = False,
    key: bool = False,
    errors: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Keywords of a route: the model of its answer and what it means, its parameters, its body, its errors."""
    named = [p for p, there in ((_BUCKET_ID, bucket), (_EVENT_ID, event), (_KEY, key)) if there]
    extra: dict[str, Any] = {"parameters": [*named, *parameters]}
    codes: set[int] = {401, 403, 500, 503, *errors} | ({400, 413, 415, 429} if body is not None else set())
    if body is not None:
        model = isinstance(body, type)
        content = {"schema": body.model_json_schema(), "example": _BUCKET} if isinstance(body, type) else body
        codes |= {422} if model else set()
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    responses: dict[int | str, dict[str, Any]] = {200: {"model": answer, "description": says}}
    for code in sorted(codes):
        responses[code] = ERRORS.get(code) or {"model": ErrorAnswer, "description": _SAYS[code]}
    if 304 in responses:
        responses[304] = {"description": _SAYS[304]}
    if bucket:
        responses.setdefault(404, {"model": ErrorAnswer, "description": _SAYS[404]})
    return {"status_code": 200, "responses": responses, "openapi_extra": extra}


_SAYS: Final = {
    304: "It is there already.",
    400: "A parameter is missing or wrong.",
    401: "No key, or one that does not count.",
    404: "There is no such bucket or event.",
}
