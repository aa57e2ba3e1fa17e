"""Home Assistant's companion app: registration of a phone, and its webhook.

https://developers.home-assistant.io/docs/api/native-app-integration, and homeassistant/components/mobile_app/webhook.py
for what the documentation leaves open: an unknown webhook gets an empty 200, a deleted one 410, what cannot be read
`{}`. Loom takes what the app tells. It is no home automation: it calls no services and has no cameras.
"""

import secrets
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import from_json, to_json

from loom_contracts.payloads.common import NO_NUL, Label
from loom_ingest.accept import Services, admit, context_of, services_of
from loom_ingest.access.principal import Principal, Scope
from loom_ingest.body import read_json
from loom_ingest.clients.anybody import read_any, text_of
from loom_ingest.clients.homeassistant_crypto import Sealed
from loom_ingest.clients.homeassistant_store import Phone, Phones
from loom_ingest.clients.homeassistant_webhook import Answer, Call, perform
from loom_ingest.clients.loose import label, storable
from loom_ingest.clients.operation import client_operation
from loom_ingest.clients.taking import take_drafts, unrecognized_pieces
from loom_ingest.errors import ApiError, Code
from loom_ingest.logging import log
from loom_ingest.route import IngestRoute
from loom_ingest.validation import rejection

CLIENT: Final = "homeassistant"
router = APIRouter(tags=["clients"], route_class=IngestRoute)

Word = Annotated[str, StringConstraints(max_length=256, pattern=NO_NUL)]


class HomeAssistantRegistration(BaseModel):
    """What an app says of itself and of its phone."""

    model_config = ConfigDict(extra="allow")

    app_id: Label
    app_name: Word
    app_version: Word
    device_name: Label
    device_id: Word | None = None
    manufacturer: Word
    model: Word
    os_name: Word
    os_version: Word | None = None
    supports_encryption: bool
    app_data: dict[str, Any] = {}


class HomeAssistantRegistered(BaseModel):
    """Where the app sends to, and the secret of its encryption where it asked for one. Told only here."""

    cloudhook_url: str | None
    remote_ui_url: str | None
    secret: str | None
    webhook_id: str


class WebhookAnswer(BaseModel):
    """An object that depends on the type; `{}` for most."""

    model_config = ConfigDict(extra="allow")


_REGISTRATION: Final = {
    "device_id": "6A1D0F3C2B4E5F60",
    "app_id": "io.robbie.HomeAssistant",
    "app_name": "Home Assistant",
    "app_version": "2026.1.0",
    "device_name": "Jan's iPhone",
    "manufacturer": "Apple",
    "model": "iPhone17,1",
    "os_name": "iOS",
    "os_version": "19.2",
    "supports_encryption": False,
}
_UPDATE: Final = {"type": "update_location", "data": {"gps": [52.5163, 13.3777], "gps_accuracy": 12, "battery": 81}}
_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "update_location, update_sensor_states, register_sensor, .."},
        "data": {"description": "What the type takes."},
        "encrypted": {"type": "boolean"},
        "encrypted_data": {"type": "string", "description": "The data, as libsodium's secretbox in base64."},
    },
    "required": ["type"],
}


@router.post(
    "/api/mobile_app/registrations",
    **client_operation(
        HomeAssistantRegistration.model_json_schema(),
        _REGISTRATION,
        HomeAssistantRegistered,
        status=201,
        query={"device_id": "The device, in place of the app's own identifier of it."},
        errors=(422,),
    ),
)
async def register(request: Request) -> Response:
    """Register a phone; the webhook's id is the credential with which it sends from then on."""
    services, context = services_of(request), context_of(request)
    body = await read_json(request, services.settings.max_body_bytes)
    try:
        registration = HomeAssistantRegistration.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise rejection(error, body) from None
    identity = label(request.query_params.get("device_id")) or registration.device_id or registration.device_name
    device_id = services.identities.device_of(CLIENT, identity, context.principal)
    context.principal.require_devices((device_id,))
    await _register_device(services, device_id, registration, context.principal)
    await admit(services, context, device_id)
    webhook_id = secrets.token_hex(32)
    secret = secrets.token_hex(32) if registration.supports_encryption else None
    told = storable(registration.model_dump(exclude={"supports_encryption"}))
    await _phones(request).add(webhook_id, device_id, told, secret, context.principal.actor)
    answer = {"cloudhook_url": None, "remote_ui_url": None, "secret": secret, "webhook_id": webhook_id}
    return Response(to_json(answer), 201, media_type="application/json")


@router.post(
    "/api/webhook/{webhook_id}",
    **client_operation(
        _REQUEST,
        _UPDATE,
        WebhookAnswer,
        path={"webhook_id": "What the registration answered; it is the credential."},
        also={
            200: {"model": WebhookAnswer, "content": {"text/plain": {"schema": {"type": "string", "maxLength": 0}}}},
            201: {"model": WebhookAnswer, "description": "The sensor is registered."},
            400: {"model": WebhookAnswer, "description": "No JSON, or something that Loom does not do."},
            410: {"description": "The phone was deleted; it has to register again."},
        },
    ),
)
async def webhook(request: Request) -> Response:
    """Take whatever the app tells; what cannot be read is kept on `device.unrecognized.raw`."""
    services, context, phones = services_of(request), context_of(request), _phones(request)
    phone = await phones.find(request.path_params["webhook_id"])
    if phone is None:
        log.info("webhook_unknown", remedy="register the phone, POST /api/mobile_app/registrations")
        return Response(b"", media_type="text/plain")
    if phone.gone:
        return Response(status_code=410)
    context.principal = Principal(None, frozenset({Scope.INGEST}), frozenset({phone.device_id}))
    body = await read_any(request, services.settings.max_body_bytes)
    answer = await _answer(request, phones, phone, body)
    await phones.used(phone)
    return Response(answer.body, answer.status, media_type="application/json")


async def _answer(request: Request, phones: Phones, phone: Phone, body: bytes) -> Answer:
    """The answer to one webhook's body, when all of it is stored."""
    try:
        message = from_json(body)
    except ValueError as error:
        await _keep(request, phone, f"not JSON: {error}", text_of(body))
        return Answer.of({}, 400)
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        await _keep(request, phone, "no message of the app: it has no type", message)
        return Answer.of({})
    sealed = None
    if message.get("encrypted"):
        try:
            sealed = Sealed(phone.secret or "", message.get("encrypted_data"))
        except ValueError as error:
            await _keep(request, phone, f"cannot be decrypted: {error}", message)
            return Answer.of({})
        data = sealed.payload
    elif phone.secret is not None:
        return Answer.error("encryption_required", "Encryption required")
    else:
        data = message.get("data")
    answer = await perform(Call(request, phones, phone, message["type"], {} if data is None else data))
    if answer is None:
        reason = f"type {message['type'][:64]} in a shape that Loom does not know"
        await _keep(request, phone, reason, message | {"data": data})
        return Answer.of({})
    return answer if sealed is None or answer.plain else Answer(sealed.seal(from_json(answer.body)), answer.status)


async def _keep(request: Request, phone: Phone, reason: str, body: Any) -> None:
    if body != "":
        await take_drafts(request, CLIENT, phone.device_id, unrecognized_pieces(CLIENT, reason, body))


async def _register_device(
    services: Services, device_id: str, registration: HomeAssistantRegistration, principal: Principal
) -> None:
    """Have the device in the register, with what the app says of it; raises the 403 of one that was deleted."""
    fields = {
        "name": registration.device_name,
        "platform": registration.os_name.lower(),
        "manufacturer": registration.manufacturer,
        "model": registration.model,
        "os_version": registration.os_version,
        "app_version": registration.app_version,
    }
    store = services.devices.store
    row = await store.register(device_id, fields, principal.actor, restore=principal.has(Scope.ADMIN))
    if row is None:
        row = await store.get(device_id)
        if row is None or row["deleted_at"] is not None:
            raise ApiError(
                403,
                Code.DEVICE_NOT_ALLOWED,
                f"Device {device_id!r} was deleted; only a key with the scope 'admin' brings it back",
                details={"device_id": device_id},
            )
    services.devices.changed(device_id, registered=True)


def _phones(request: Request) -> Phones:
    found: Phones = request.scope["app"].state.homeassistant
    return found
