"""From a request's body to an acknowledged record: read within a limit, parse once, check, send, answer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from fastapi import Request, Response
from pydantic import ValidationError

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_ingest.errors import JSON, ApiError, Code
from loom_ingest.metrics import Metrics
from loom_ingest.producer import Producer, Record
from loom_ingest.settings import Settings
from loom_ingest.trace import RequestContext
from loom_ingest.validation import field_rejection, rejection

M = TypeVar("M", bound=Message)

CONTEXT: Final = "loom.context"
"""Key of the RequestContext in an ASGI scope."""


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with; one per app, at `app.state.services`."""

    settings: Settings
    producer: Producer
    metrics: Metrics

    def topic_name(self, topic: Topic) -> str:
        """The name of `topic` on the broker."""
        return topic.on_broker(self.settings.kafka_topic_prefix)


class JsonAnswer(Response):
    """A 201 with JSON that is bytes already; Starlette's own constructor costs as much as parsing a message."""

    def __init__(self, content: bytes) -> None:
        self.status_code = 201
        self.background = None
        self.body = content
        self.raw_headers = [
            (b"content-length", str(len(content)).encode()),
            (b"content-type", JSON),
        ]


def services_of(request: Request) -> Services:
    """The services of the app that answers `request`."""
    services: Services = request.scope["app"].state.services
    return services


def context_of(request: Request) -> RequestContext:
    """Request id and trace of `request`."""
    context: RequestContext = request.scope[CONTEXT]
    return context


async def accept(request: Request, topic: Topic) -> Response:
    """Take one message of `topic` from the body; answers 201 when the broker has it."""
    services = services_of(request)
    body = await read_json(request, services.settings.max_body_bytes)
    message = check(parse(topic.payload, body), topic, services.settings)
    await send(services, topic, message, context_of(request))
    return accepted(topic, message)


async def read_json(request: Request, limit: int) -> bytes:
    """The body, when it is announced as JSON and no longer than `limit`; raises the 413, 415 or 400."""
    length = None
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            _check_media_type(value)
        elif name == b"content-length":
            length = int(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise ApiError(
                415,
                Code.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding {value.decode('latin-1')!r} is not supported; send the body as it is",
            )
    if length is not None and length > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    receive = request.receive
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ApiError(400, Code.CLIENT_DISCONNECTED, "The client left before the body was complete")
        chunk = event.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not event.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else bytes(chunk)
        chunks.append(chunk)


def _check_media_type(value: bytes) -> None:
    media, _, parameters = value.lower().partition(b";")
    media = media.strip()
    if media != JSON and not (media.startswith(b"application/") and media.endswith(b"+json")):
        raise ApiError(
            415,
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type {value.decode('latin-1')!r} is not supported; send application/json",
        )
    charset = parameters.partition(b"charset=")[2].strip().strip(b'"')
    if charset and charset not in (b"utf-8", b"utf8", b"us-ascii"):
        raise ApiError(
            415, Code.UNSUPPORTED_MEDIA_TYPE, f"Charset {charset.decode('latin-1')!r} is not supported; send UTF-8"
        )


def _too_large(limit: int) -> ApiError:
    # The rest of the body is not read: the connection cannot be used again.
    return ApiError(
        413,
        Code.PAYLOAD_TOO_LARGE,
        f"The body is larger than {limit} bytes; send less at a time",
        details={"limit_bytes": limit},
        headers={"Connection": "close"},
    )


def parse(model: type[M], body: bytes) -> M:
    """The message in `body`, as JSON Schema would have it (no text for numbers); raises the 400 or 422."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise rejection(error, body) from None


def check(message: M, topic: Topic, settings: Settings, now: datetime | None = None) -> M:
    """`message`, when its version is known and its time plausible; its time in UTC. Raises the 422."""
    version = message.schema_version
    if version != "1.0" and version.partition(".")[0] != str(topic.major_version):
        raise field_rejection(
            "schema_version",
            version,
            Code.UNKNOWN_SCHEMA_VERSION,
            f"Field 'schema_version' is {version[:32]!r}: {topic.name} knows {topic.major_version}.x; "
            "send that, or update the service",
        )
    timestamp = message.timestamp
    if settings.timestamp_tolerance_hours:
        tolerance = timedelta(hours=settings.timestamp_tolerance_hours)
        now = now or datetime.now(UTC)
        if abs(timestamp - now) > tolerance:
            raise field_rejection(
                "timestamp",
                timestamp.isoformat(),
                Code.TIMESTAMP_OUT_OF_RANGE,
                f"Field 'timestamp' is {timestamp.isoformat()}: it must be within "
                f"{settings.timestamp_tolerance_hours:g} hours of the server's time, {now:%Y-%m-%dT%H:%M:%SZ}; correct "
                "the device's clock, or leave it out, or widen LOOM_TIMESTAMP_TOLERANCE_HOURS",
            )
    if timestamp.tzinfo is not UTC and timestamp.utcoffset():
        return message.model_copy(update={"timestamp": _utc(timestamp)})
    return message


def _utc(timestamp: datetime) -> datetime:
    try:
        return timestamp.astimezone(UTC)
    except OverflowError:
        raise field_rejection(
            "timestamp",
            timestamp.isoformat(),
            Code.TIMESTAMP_OUT_OF_RANGE,
            f"Field 'timestamp' is {timestamp.isoformat()}: it does not exist in UTC; correct the device's clock",
        ) from None


def record_of(services: Services, topic: Topic, message: Message, context: RequestContext) -> Record:
    """`message` as it goes to the broker, with the trace of the request that brought it."""
    trace_id = context.trace_id
    if message.trace_id is not None and not context.inherited:
        trace_id = message.trace_id
    traced = message.model_copy(update={"trace_id": trace_id, "span_id": context.span_id})
    return Record(
        services.topic_name(topic),
        message.device_id.encode(),
        traced.__pydantic_serializer__.to_json(traced),
        [("traceparent", f"00-{trace_id}-{context.span_id}-{context.flags}".encode())],
    )


async def send(services: Services, topic: Topic, message: Message, context: RequestContext) -> None:
    """Return when the broker has `message`; raises the 503 or 413 when it does not."""
    if message.trace_id is not None and not context.inherited:
        context.trace_id = message.trace_id
    await services.producer.send(record_of(services, topic, message, context))


def accepted(topic: Topic, message: Message, **extra: Any) -> Response:
    """The guide's answer to an accepted message."""
    tail = "".join(f',"{name}":"{value}"' for name, value in extra.items())
    content = f'{{"status":"success","message_id":"{message.message_id}","topic":"{topic.name}"{tail}}}'
    return JsonAnswer(content.encode())
