"""The routes of ActivityWatch's server API."""

import math
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID, uuid5

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from loom_ingest import VERSION
from loom_ingest.accept import admit, context_of, services_of
from loom_ingest.body import read_json
from loom_ingest.clients.activitywatch import documents, reading, writing
from loom_ingest.clients.activitywatch.buckets import LONGEST_LABEL, Bucket, label, valid_name
from loom_ingest.clients.activitywatch.documents import operation
from loom_ingest.clients.activitywatch.events import EventError, moment_of
from loom_ingest.clients.activitywatch.importing import import_body
from loom_ingest.clients.activitywatch.reading import Range
from loom_ingest.clients.activitywatch.writing import Description, watch_of
from loom_ingest.errors import ApiError, Code
from loom_ingest.route import IngestRoute
from loom_ingest.validation import parse_json, rejection

router = APIRouter(prefix="/api/0", tags=["clients"], route_class=IngestRoute)

M = TypeVar("M", bound=BaseModel)

FIRST_BYTES: Final = 32 * 1024
"""Of an answer that is sent in pieces: read before it begins, so that what fails until then is an answer of its own."""
_MACHINES: Final = UUID("5a6c3d4e-97f1-5d0b-9a53-2f4c1be0a7d6")
_NO_SETTINGS: Final = "Loom keeps no settings of ActivityWatch; its own are LOOM_ variables"
_BUCKET: Final = "/buckets/{bucket_id}"


@router.get("/info", **operation(documents.Info, "The server.", bucket=False))
async def info(_: Request) -> Response:
    """What the server is; clients ask it whether it is there."""
    hostname = socket.gethostname()
    machine = str(uuid5(_MACHINES, hostname))
    return _json({"hostname": hostname, "version": f"v{VERSION} (loom)", "testing": False, "device_id": machine})


@router.get("/buckets/", **operation(dict[str, documents.BucketAnswer], "Buckets by their name.", bucket=False))
async def buckets(request: Request) -> Response:
    """All buckets."""
    watch = watch_of(request)
    found = await watch.all(context_of(request).principal)
    return _json({b.bucket_id: b.json(await reading.last_ends(watch, b)) for b in found})


@router.get(_BUCKET, **operation(documents.BucketAnswer, "The bucket."))
async def bucket(request: Request) -> Response:
    """One bucket."""
    return _json((await _existing(request)).json())


@router.post(
    _BUCKET,
    **operation(dict[str, Any], "It is made.", body=documents.NewBucket, errors=(304,)),
)
async def create_bucket(request: Request) -> Response:
    """Make a bucket; 304 when it is there."""
    said = await _model(request, documents.NewBucket)
    description = Description(said.type, said.client, said.hostname, said.data or {})
    _, made = await writing.make_bucket(request, _bucket_id(request), description)
    return _json({}) if made else Response(status_code=304)


@router.put(_BUCKET, **operation(dict[str, Any], "It is changed.", body=documents.BucketUpdate))
async def update_bucket(request: Request) -> Response:
    """Change what is said of a bucket: the members that are sent."""
    said = await _model(request, documents.BucketUpdate)
    found = await _existing(request)
    await admit(services_of(request), context_of(request), found.device_id)
    async with found.lock:
        if said.type is not None:
            found.bucket_type = label(said.type)
        if said.client is not None:
            found.client = label(said.client)
        if said.hostname is not None:
            # It stays the same device's: the name of a computer is only what its watchers call it.
            found.hostname = label(said.hostname)
        if said.data is not None:
            found.data = said.data
        found.inferred = False
        await watch_of(request).save(found)
    return _json({})


@router.delete(_BUCKET, **operation(dict[str, Any], "It is deleted.", parameters=(documents.FORCE,)))
async def delete_bucket(request: Request) -> Response:
    """Hide a bucket and its events, with `?force=1`. Nothing is erased."""
    found = await _existing(request)
    if request.query_params.get("force") != "1":
        raise ApiError(
            401, Code.FORCE_REQUIRED, "Deleting buckets is only permitted with ?force=1", details={"force": "missing"}
        )
    await admit(services_of(request), context_of(request), found.device_id)
    await watch_of(request).delete(found)
    return _json({})


@router.get(
    _BUCKET + "/events",
    **operation(
        list[documents.EventAnswer], "Events, the newest first.", parameters=(documents.LIMIT, *documents.RANGE),
        errors=(400,),
    ),
)  # fmt: skip
async def events(request: Request) -> Response:
    """Events of a bucket; those that reach out of the range are cut to it."""
    limit, within = _limit(request), _range(request).widened()
    found = await _existing(request)
    states = reading.events(watch_of(request), found, within, limit)
    return await _stream(reading.listed(states))


@router.post(
    _BUCKET + "/events", **operation(documents.EventAnswer | None, "The event when it is one.", body=documents.EVENTS)
)
async def insert_events(request: Request) -> Response:
    """Insert events; one with the `id` of another replaces it."""
    items = await _body(request)
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        raise ApiError(400, Code.INVALID_TYPE, "Invalid POST data: send an event, or an array of events")
    found = await _existing(request) if not watch_of(request).away else await _any(request)
    states = await writing.insert(request, found, items)
    return _json(states[0].json() if len(states) == 1 else None)


@router.get(_BUCKET + "/events/count", **operation(int, "How many.", parameters=documents.RANGE, errors=(400,)))
async def count_events(request: Request) -> Response:
    """How many events a bucket has."""
    within = _range(request)
    found = await _existing(request)
    return _json(await reading.count(watch_of(request), found, within))


@router.get(_BUCKET + "/events/{event_id}", **operation(documents.EventAnswer, "The event.", event=True))
async def event(request: Request) -> Response:
    """One event."""
    number = _number(request)
    state = await watch_of(request).event(await _existing(request), number)
    if state is None:
        raise _no_event(number)
    return _json(state.json())


@router.delete(_BUCKET + "/events/{event_id}", **operation(documents.Deleted, "Whether it was there.", event=True))
async def delete_event(request: Request) -> Response:
    """Hide an event. Nothing is erased."""
    number = _number(request)
    found = await _existing(request)
    await admit(services_of(request), context_of(request), found.device_id)
    return _json({"success": await writing.delete_event(request, found, number)})


@router.post(
    _BUCKET + "/heartbeat",
    **operation(documents.EventAnswer, "The event.", body=documents.EVENT, parameters=(documents.PULSETIME,)),
)
async def heartbeat(request: Request) -> Response:
    """Extend the last event, or begin another; answered when it is stored."""
    pulsetime = _pulsetime(request)
    return _json(await writing.beat(request, _bucket_id(request), await _body(request), pulsetime))


@router.get(_BUCKET + "/export", **operation(dict[str, Any], "The export."))
async def export_bucket(request: Request) -> Response:
    """One bucket with its events, as a file."""
    found = await _existing(request)
    name = f"aw-bucket-export_{label(found.bucket_id)}.json"
    return await _stream(reading.exported(watch_of(request), [found]), name)


@router.get("/export", **operation(dict[str, Any], "The export.", bucket=False))
async def export_all(request: Request) -> Response:
    """All buckets with their events, as a file."""
    watch = watch_of(request)
    found = await watch.all(context_of(request).principal)
    return await _stream(reading.exported(watch, found), "aw-buckets-export.json")


@router.post("/import", **operation(None, "All of it is stored.", body=documents.IMPORT, bucket=False))
async def import_all(request: Request) -> Response:
    """Take an export, as JSON or as a form with a file; events that are there already are not stored again."""
    await import_body(request)
    return _json(None)


@router.post(
    "/query/", **operation(None, "Never.", body=documents.Query, bucket=False, errors=(404,)), response_model=None
)
async def query(request: Request) -> Response:
    """Loom does not speak ActivityWatch's query language; its tables can be asked in SQL."""
    await _model(request, documents.Query)
    raise ApiError(
        404,
        Code.NOT_IMPLEMENTED,
        "Loom does not answer ActivityWatch's queries; ask digital_activitywatch_events in SQL",
        extra={"type": "QueryException"},
    )


@router.get("/settings", **operation(dict[str, Any], "None.", bucket=False))
async def settings(_: Request) -> Response:
    """No settings: Loom keeps none of ActivityWatch."""
    return _json({})


@router.get("/settings/{key}", **operation(None, "Null.", bucket=False, key=True))
async def setting(_: Request) -> Response:
    """Null: Loom keeps no settings of ActivityWatch."""
    return _json(None)


@router.post(
    "/settings/{key}", **operation(None, "Never.", body=documents.SETTING, bucket=False, key=True, errors=(404,))
)
async def set_setting(request: Request) -> Response:
    """Loom keeps no settings of ActivityWatch."""
    await _body(request)
    raise ApiError(404, Code.NOT_IMPLEMENTED, _NO_SETTINGS)


def _json(value: Any) -> Response:
    return Response(to_json(value, inf_nan_mode="null"), media_type="application/json")


async def _stream(pieces: AsyncGenerator[bytes, None], filename: str | None = None) -> Response:
    """An answer of `pieces`; a database that is away is noticed before the answer begins."""
    first, size = [], 0
    async for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size > FIRST_BYTES:
            break

    async def rest() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            for piece in first:
                yield piece
            async for piece in pieces:
                yield piece

    headers = {}
    if filename is not None:
        plain = filename.encode("ascii", "replace").decode().replace('"', "").replace("\\", "")
        headers["Content-Disposition"] = f'attachment; filename="{"".join(c for c in plain if c.isprintable())}"'
    return StreamingResponse(rest(), media_type="application/json", headers=headers)


async def _existing(request: Request) -> Bucket:
    return await watch_of(request).existing(_bucket_id(request), context_of(request).principal)


async def _any(request: Request) -> Bucket:
    """The bucket, which nobody can look for now: it may well be there."""
    return await writing.bucket_for(request, _bucket_id(request))


async def _body(request: Request) -> Any:
    return parse_json(await read_json(request, services_of(request).settings.max_body_bytes))


async def _model(request: Request, model: type[M]) -> M:
    body = await read_json(request, services_of(request).settings.max_body_bytes)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise rejection(error, body) from None


def _bucket_id(request: Request) -> str:
    bucket_id: str = request.path_params["bucket_id"]
    if not valid_name(bucket_id):
        raise ApiError(404, Code.BUCKET_NOT_FOUND, f"A bucket's name has at most {LONGEST_LABEL} characters, no NUL")
    return bucket_id


def _number(request: Request) -> int:
    text: str = request.path_params["event_id"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise _no_event(text)
    return int(text)


def _no_event(number: object) -> ApiError:
    return ApiError(404, Code.EVENT_NOT_FOUND, f"There's no event {str(number)[:32]!r} in this bucket")


def _pulsetime(request: Request) -> float:
    text = request.query_params.get("pulsetime")
    if text is None:
        raise ApiError(
            400, Code.MISSING_FIELD, "Missing required parameter pulsetime", details={"pulsetime": "missing"}
        )
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise _wrong("pulsetime", text, "a number of seconds")
    return value


def _limit(request: Request) -> int | None:
    text = request.query_params.get("limit")
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        raise _wrong("limit", text, "a whole number") from None
    return None if value < 0 or value >= 2**53 else value


def _range(request: Request) -> Range:
    return Range(_moment(request, "start"), _moment(request, "end"))


def _moment(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return moment_of(text)
    except EventError:
        raise _wrong(name, text, "a time in ISO 8601") from None


def _wrong(name: str, text: str, wanted: str) -> ApiError:
    message = f"Parameter {name!r} is {text[:64]!r}: it must be {wanted}"
    return ApiError(400, Code.INVALID_VALUE, message, details={name: message})
