"""OwnTracks in HTTP mode, for iOS and Android: `POST /pub`.

Format: https://owntracks.org/booklet/tech/http/ and the Recorder's http.c. One message to a request, or an array of
them, encrypted or not; the answer is a JSON array, encrypted when the message was.

The iOS app deletes a point that is answered with any 4xx (Connection.m), Android's gives up on one that is no location
after ten tries. So whatever can be stored is, even when it cannot be read; what cannot be stored now gets a 503, on
which both keep it; and a 4xx is left for who may not send (401, 403) and for a body that never can be kept (413).
"""

import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json

from loom_ingest.accept import context_of, services_of
from loom_ingest.access.principal import Principal
from loom_ingest.clients.anybody import read_any, text_of
from loom_ingest.clients.identities import Identities
from loom_ingest.clients.large import large_bodies
from loom_ingest.clients.loose import label
from loom_ingest.clients.owntracks_crypto import Opened, Secrets, UndecryptableError, sealed
from loom_ingest.clients.owntracks_messages import CLIENT, drafts_of
from loom_ingest.clients.refusals import told
from loom_ingest.clients.taking import Draft, take_many, unrecognized_pieces
from loom_ingest.errors import ApiError
from loom_ingest.openapi import ERRORS
from loom_ingest.route import IngestRoute

NOTHING: Final = b"[]"
MOST_MESSAGES: Final = 10_000
"""Of one array; the others are kept as they came."""
DEFAULT_USER: Final = "owntracks"
DEFAULT_DEVICE: Final = "phone"
"""What the Recorder calls those that do not say."""
router = APIRouter(tags=["clients"], route_class=IngestRoute)

_EXAMPLE: Final = {
    "_type": "location",
    "lat": 52.5163,
    "lon": 13.3777,
    "acc": 8,
    "alt": 35,
    "vel": 14,
    "cog": 180,
    "batt": 80,
    "bs": 1,
    "t": "u",
    "tid": "JA",
    "tst": 1768465800,
    "inregions": ["Home"],
    "topic": "owntracks/jane/phone",
}
_SCHEMA: Final[dict[str, Any]] = {
    # Of no type: whatever comes is kept.
    "title": "OwnTracks",
    "description": "A message: an object with its `_type`, and its time as `tst`, any past one; or an array of them.",
}
_ANSWER: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "array", "items": {"type": "object"}, "maxItems": 0},
        {
            "type": "object",
            "description": "The same, encrypted; to an encrypted message only.",
            "properties": {"_type": {"const": "encrypted"}, "data": {"type": "string", "contentEncoding": "base64"}},
            "required": ["_type", "data"],
        },
    ]
}


def _operation() -> dict[str, Any]:
    named = (
        ("X-Limit-U", "header", "The user; it goes before `u`."),
        ("X-Limit-D", "header", "The device; it goes before `d`."),
        ("u", "query", "The user, where the app sends no header."),
        ("d", "query", "The device, where the app sends no header."),
        ("token", "query", "The API key, where it is not the password of HTTP Basic."),
    )
    parameters = [
        {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": description}
        for name, place, description in named
    ]
    # A body may be missing: the app sends an empty one when a friend is deleted.
    body = {"required": False, "content": {"application/json": {"schema": _SCHEMA, "example": _EXAMPLE}}}
    stored = {"description": "All of it is stored.", "content": {"application/json": {"schema": _ANSWER}}}
    errors = {code: answer for code, answer in ERRORS.items() if code in (403, 413, 500, 503)}
    return {
        "status_code": 200,
        "response_class": Response,
        "responses": {200: stored, **errors},
        "openapi_extra": {"parameters": parameters, "requestBody": body},
    }


@router.post("/pub", **_operation())
async def publish(request: Request) -> Response:
    """Take what an OwnTracks app publishes; what cannot be read is kept on `device.unrecognized.raw`."""
    try:
        return await _publish(request)
    except ApiError as error:
        raise told(request.scope["path"], error) from None


async def _publish(request: Request) -> Response:
    services = services_of(request)
    sender = Sender.of(request)
    latest = datetime.now(UTC) + timedelta(hours=services.settings.timestamp_tolerance_hours or 1e6)
    secrets: Secrets = request.app.state.owntracks_secrets
    batch = _Batch(services.identities, secrets, sender, context_of(request).principal, latest)
    # A location with a picture has megabytes.
    limit = services.settings.max_audio_body_bytes
    async with large_bodies(request).read(request, limit, read_any) as body:
        drafts = batch.read(body)
        if drafts:
            await take_many(request, CLIENT, {device_id for device_id, _ in drafts}, drafts)
    answer = NOTHING if batch.opened is None else sealed(NOTHING, batch.opened.box)
    return Response(answer, media_type="application/json")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a request says it is from; empty where it does not say."""

    user: str = ""
    device: str = ""
    login: str = ""

    @classmethod
    def of(cls, request: Request) -> "Sender":
        """From the headers `X-Limit-U` and `-D`, else the query, else the user's name of HTTP Basic."""
        headers, query = request.headers, request.query_params
        user = label(_header(headers.get("x-limit-u"))) or label(query.get("u")) or ""
        device = label(_header(headers.get("x-limit-d"))) or label(query.get("d")) or ""
        return cls(user, device, _login(headers.get("authorization", "")))

    def identity(self, message: Any) -> str:
        """`user/device`; what the request does not say is in the message's topic, or else has the Recorder's name."""
        topic = message.get("topic") if isinstance(message, dict) else None
        parts = topic.split("/") if isinstance(topic, str) else []
        named = parts[0] == "owntracks" and len(parts) >= 3 and parts[1] != "http" if parts else False
        user = self.user or (parts[1] if named else "") or self.login or DEFAULT_USER
        device = self.device or (parts[2] if named else "") or DEFAULT_DEVICE
        return label(f"{user}/{device}") or f"{DEFAULT_USER}/{DEFAULT_DEVICE}"


def _header(value: str | None) -> str | None:
    """A header in UTF-8, which the apps write; its bytes are taken for Latin-1 before."""
    if value is None:
        return None
    return value.encode("latin-1").decode("utf-8", "replace")


def _login(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user = binascii.a2b_base64(rest.strip()).partition(b":")[0]
    except (binascii.Error, ValueError):
        return ""
    return label(user.decode("utf-8", "replace")) or ""


class _Batch:
    """What one request brought."""

    def __init__(
        self, identities: Identities, secrets: Secrets, sender: Sender, principal: Principal, latest: datetime
    ) -> None:
        self._identities = identities
        self._secrets = secrets
        self._sender = sender
        self._principal = principal
        self._latest = latest
        self.opened: Opened | None = None

    def read(self, body: bytes) -> list[tuple[str, Draft]]:
        """Every draft with its device."""
        return list(self._all(body))

    def _all(self, body: bytes) -> Iterator[tuple[str, Draft]]:
        if not body.strip():
            # Of a friend that was deleted.
            return
        try:
            content = from_json(body)
        except ValueError as error:
            yield from self._kept(f"not JSON: {error}", text_of(body))
            return
        messages = content if isinstance(content, list) else [content]
        for message in messages[:MOST_MESSAGES]:
            if isinstance(message, dict) and message.get("_type") == "encrypted":
                yield from self._encrypted(message)
            else:
                yield from self._plain(message)
        if len(messages) > MOST_MESSAGES:
            yield from self._kept(f"more than {MOST_MESSAGES} messages at once", messages[MOST_MESSAGES:])

    def _encrypted(self, message: dict[str, Any]) -> Iterator[tuple[str, Draft]]:
        sender = self._sender
        try:
            opened = self._secrets.open(message.get("data"), sender.user or sender.login, sender.device)
        except UndecryptableError as error:
            # As it came: sent again once the secret is known, it is read.
            yield from self._kept(f"encrypted, and cannot be opened: {error}", message)
            return
        self.opened = opened
        try:
            content = from_json(opened.content)
        except ValueError as error:
            yield from self._kept(f"not JSON when decrypted: {error}", text_of(opened.content))
            return
        for inner in (content if isinstance(content, list) else [content])[:MOST_MESSAGES]:
            yield from self._plain(inner)

    def _plain(self, message: Any) -> Iterator[tuple[str, Draft]]:
        device_id = self._device_of(message)
        for draft in drafts_of(message, self._latest):
            yield device_id, draft

    def _kept(self, reason: str, body: Any) -> Iterator[tuple[str, Draft]]:
        device_id = self._device_of(None)
        for draft in unrecognized_pieces(CLIENT, reason, body):
            yield device_id, draft

    def _device_of(self, message: Any) -> str:
        return self._identities.device_of(CLIENT, self._sender.identity(message), self._principal)
