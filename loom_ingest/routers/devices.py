"""The register of devices."""

from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from loom_contracts.message import DeviceId
from loom_ingest.accept import context_of, services_of
from loom_ingest.access.policy import change_of
from loom_ingest.access.principal import Principal, Scope
from loom_ingest.body import read_json
from loom_ingest.devices.models import (
    ActivitySummary,
    Device,
    DeviceActivity,
    DeviceDescription,
    DeviceList,
    DeviceRegistration,
    Registered,
    TopicActivity,
)
from loom_ingest.devices.sightings import Devices
from loom_ingest.errors import ApiError, Code
from loom_ingest.openapi import ERRORS, ErrorAnswer
from loom_ingest.route import IngestRoute
from loom_ingest.validation import rejection

router = APIRouter(prefix="/devices", tags=["devices"], route_class=IngestRoute)

M = TypeVar("M", bound=BaseModel)

ACTIVE_SECONDS: Final = 300
_EXAMPLE: Final = {
    "device_id": "phone-001",
    "name": "My phone",
    "device_type": "phone",
    "platform": "android",
    "model": "Pixel 9",
    "tags": ["pocket"],
}


class ListQuery(BaseModel):
    """Query of the list."""

    limit: int = Field(100, ge=1, le=1_000)
    offset: int = Field(0, ge=0, le=2**31)
    include_deleted: bool = False


class DeviceQuery(BaseModel):
    """Query of one device."""

    include_deleted: bool = False


class ActivityQuery(BaseModel):
    """Query of the activity summary."""

    active_seconds: int = Field(ACTIVE_SECONDS, ge=1, le=31_536_000)


_ID: Final[TypeAdapter[str]] = TypeAdapter(Annotated[DeviceId, Field()])
_PATH: Final = {
    "name": "device_id",
    "in": "path",
    "required": True,
    "schema": _ID.json_schema(),
    "description": "The device.",
}


def _operation(
    model: type[BaseModel],
    status: int = 200,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    path: bool = False,
    conflict: bool = False,
) -> dict[str, Any]:
    errors = {code: ERRORS[code] for code in (422, 500, 503)}
    extra: dict[str, Any] = {"parameters": [_PATH] if path else []}
    if body is not None:
        errors |= {code: ERRORS[code] for code in (400, 413, 415)}
        example = {k: v for k, v in _EXAMPLE.items() if k in body.model_fields}
        content = {"application/json": {"schema": body.model_json_schema(), "example": example}}
        extra["requestBody"] = {"required": True, "content": content}
    if query is not None:
        for name, schema in query.model_json_schema()["properties"].items():
            extra["parameters"].append({"name": name, "in": "query", "required": False, "schema": schema})
    if path:
        errors[404] = {"model": ErrorAnswer, "description": "There is no such device, or it is deleted."}
    if conflict:
        errors[409] = {"model": ErrorAnswer, "description": "It is registered already."}
    return {"status_code": status, "responses": {status: {"model": model}, **errors}, "openapi_extra": extra}


@router.get("", **_operation(DeviceList, query=ListQuery))
async def list_devices(request: Request) -> Response:
    """All devices, those that sent last first; registered ones and those that were only seen."""
    query = _parsed(ListQuery, dict(request.query_params), "query")
    store = _devices(request).store
    only = _principal(request).devices
    rows, total = await store.page(deleted=query.include_deleted, limit=query.limit, offset=query.offset, only=only)
    return _json(DeviceList(devices=[Device.model_validate(row) for row in rows], total=total))


@router.get("/activity", **_operation(ActivitySummary, query=ActivityQuery))
async def activity(request: Request) -> Response:
    """How many messages each device sent to each topic, and when it was seen first and last."""
    query = _parsed(ActivityQuery, dict(request.query_params), "query")
    found: dict[str, DeviceActivity] = {}
    for row in await _devices(request).store.activity(query.active_seconds, _principal(request).devices):
        topic = TopicActivity.model_validate(row)
        device = found.get(row["device_id"])
        if device is None:
            found[row["device_id"]] = DeviceActivity(
                device_id=row["device_id"],
                name=row["name"],
                status="active" if row["active"] else "inactive",
                message_count=topic.message_count,
                last_seen_at=topic.last_seen_at,
                topics=[topic],
            )
        else:
            device.message_count += topic.message_count
            device.topics.append(topic)
    devices = list(found.values())
    return _json(
        ActivitySummary(
            total_devices=len(devices),
            active_devices=sum(d.status == "active" for d in devices),
            active_seconds=query.active_seconds,
            message_count=sum(d.message_count for d in devices),
            devices=devices,
        )
    )


@router.get("/{device_id}", **_operation(Device, query=DeviceQuery, path=True))
async def get_device(request: Request) -> Response:
    """One device; with `include_deleted=true` a deleted one too, which has its `deleted_at`."""
    device_id = _device_id(request)
    query = _parsed(DeviceQuery, dict(request.query_params), "query")
    _principal(request).require_own(Scope.READ, device_id)
    device = _found(await _devices(request).store.get(device_id), device_id)
    if device.deleted_at is not None and not query.include_deleted:
        raise _missing(device_id, "it was deleted; ask with ?include_deleted=true")
    return _json(device)


@router.post("", **_operation(Registered, 201, body=DeviceRegistration, conflict=True))
async def register(request: Request) -> Response:
    """Register a device, or one that was seen or deleted before; what was known of it and is not sent stays.

    A device's own key may register it; only a key with the scope `admin` brings back one that was deleted.
    """
    registration = await _body(request, DeviceRegistration)
    principal = _may_change(request, registration.device_id)
    fields = registration.model_dump(exclude_unset=True, exclude={"device_id"})
    devices = _devices(request)
    admin = principal.has(Scope.ADMIN)
    row = await devices.store.register(registration.device_id, fields, principal.actor, restore=admin)
    if row is None:
        if not admin and _found(await devices.store.get(registration.device_id), registration.device_id).deleted_at:
            raise _refused(request, registration.device_id, principal.lacks(Scope.ADMIN))
        raise ApiError(
            409,
            Code.DEVICE_EXISTS,
            f"Device {registration.device_id!r} is registered already; change it with PATCH "
            f"/devices/{registration.device_id}",
            details={"device_id": registration.device_id},
        )
    devices.changed(registration.device_id, registered=True)
    return _json(Registered(device=Device.model_validate(row)), 201)


@router.patch("/{device_id}", **_operation(Registered, body=DeviceDescription, path=True))
async def update_device(request: Request) -> Response:
    """Change what is said of a device: the fields that are sent; null empties one."""
    device_id = _device_id(request)
    principal = _may_change(request, device_id)
    fields = (await _body(request, DeviceDescription)).model_dump(exclude_unset=True)
    device = _found(await _devices(request).store.update(device_id, fields, principal.actor), device_id)
    return _json(Registered(device=device))


@router.delete("/{device_id}", **_operation(Registered, path=True))
async def delete_device(request: Request) -> Response:
    """Delete a device from the list; what it sent stays, and it can be registered again."""
    device_id = _device_id(request)
    principal = _may_change(request, device_id)
    devices = _devices(request)
    device = _found(await devices.store.delete(device_id, principal.actor), device_id)
    devices.changed(device_id, registered=False)
    return _json(Registered(device=device))


def _principal(request: Request) -> Principal:
    return context_of(request).principal


def _may_change(request: Request, device_id: str) -> Principal:
    """Whoever asks, when they may change this device: with `admin`, or with the device's own key. Raises the 403."""
    principal = _principal(request)
    try:
        principal.require_own(Scope.ADMIN, device_id)
    except ApiError as error:
        raise _refused(request, device_id, error) from None
    return principal


def _refused(request: Request, device_id: str, error: ApiError) -> ApiError:
    """`error`, which the audit log is told of."""
    action, _ = change_of(request.scope)
    services_of(request).gate.refused(_principal(request), action, device_id, error)
    return error


def _devices(request: Request) -> Devices:
    return services_of(request).devices


def _device_id(request: Request) -> str:
    try:
        return _ID.validate_python(request.path_params["device_id"])
    except ValidationError as error:
        raise _located(rejection(error, b"path"), "path", "device_id") from None


async def _body(request: Request, model: type[M]) -> M:
    body = await read_json(request, services_of(request).settings.max_body_bytes)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise rejection(error, body) from None


def _parsed(model: type[M], values: dict[str, str], place: str) -> M:
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise _located(rejection(error, b"query"), place) from None


def _located(error: ApiError, *place: str) -> ApiError:
    """`error` whose details are of the query or path, not the body."""
    for item in error.detail or []:
        item["loc"] = [*place, *item["loc"][1:]]
    return error


def _found(row: dict[str, Any] | None, device_id: str) -> Device:
    if row is None:
        raise _missing(device_id, "GET /devices lists them")
    return Device.model_validate(row)


def _missing(device_id: str, remedy: str) -> ApiError:
    return ApiError(
        404,
        Code.DEVICE_NOT_FOUND,
        f"There is no device {device_id!r}; {remedy}",
        details={"device_id": device_id},
    )


def _json(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, media_type="application/json")
