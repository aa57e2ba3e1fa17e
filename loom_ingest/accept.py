"""From a request's body to an acknowledged record: parse once, check, admit, send, answer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_ingest.access.gate import Gate
from loom_ingest.body import read_json
from loom_ingest.clients.identities import Identities
from loom_ingest.devices.sightings import Devices
from loom_ingest.errors import JSON, Code, timestamp_text
from loom_ingest.limits import RateLimits
from loom_ingest.metrics import Metrics
from loom_ingest.producer import Producer, Record
from loom_ingest.retries import Retries, identity, known_key
from loom_ingest.settings import Settings
from loom_ingest.trace import RequestContext
from loom_ingest.validation import field_rejection, validated

M = TypeVar("M", bound=Message)

CONTEXT: Final = "loom.context"
"""Key of the RequestContext in an ASGI scope."""


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with; one per app, at `app.services`."""

    settings: Settings
    producer: Producer
    metrics: Metrics
    devices: Devices
    limits: RateLimits | None
    retries: Retries
    identities: Identities
    gate: Gate

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

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 201, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def services_of(request: Request) -> Services:
    """The services of the app that answers `request`."""
    services: Services = request.scope["app"].services
    return services


def context_of(request: Request) -> RequestContext:
    """Request id and trace of `request`."""
    context: RequestContext = request.scope[CONTEXT]
    return context


async def accept(request: Request, topic: Topic) -> Response:
    """Take one message of `topic` from the body; answers 201 when the broker has it."""
    services = services_of(request)
    body = await read_json(request, services.settings.max_body_bytes)
    return await take(request, topic, parse(topic.payload, body))


async def take(request: Request, topic: Topic, message: Message, *, timed: bool = False, **extra: Any) -> Response:
    """Take `message`; answers 201, with `extra` members and its time when it is `timed`, when the broker has it."""
    services, context = services_of(request), context_of(request)
    message = identified(services, topic, check(message, topic, services.settings), context)
    await admit(services, context, message.device_id)
    await send(services, topic, message, context)
    if timed:
        extra["timestamp"] = timestamp_text(message.timestamp)
    return accepted(topic, message, **extra)


async def admit(services: Services, context: RequestContext, *device_ids: str) -> None:
    """Return when the bearer may send for these devices now; raises the 429 or 403."""
    context.principal.require_devices(device_ids)
    if services.limits is not None:
        services.limits.admit(context, device_ids)
    if services.settings.require_registered_devices:
        await services.devices.check_registered(device_ids)


def identified(services: Services, topic: Topic, message: M, context: RequestContext, index: int | None = None) -> M:
    """`message` with the identity and time that a retry of it would have; raises the 400 of a bad Idempotency-Key."""
    given = message.model_fields_set
    key = None if context.idempotency_key is None else known_key(context.idempotency_key)
    if key is None and ("timestamp" in given or "message_id" not in given):
        return message
    message_id = message.message_id
    if key is not None and "message_id" not in given:
        message_id = identity(topic, message.device_id, key, index)
    timestamp = message.timestamp
    if "timestamp" not in given:
        timestamp = services.retries.time_of(message_id, timestamp)
    return message.model_copy(update={"message_id": message_id, "timestamp": timestamp})


def parse(model: type[M], body: bytes) -> M:
    """The message in `body`, as JSON Schema would have it (no text for numbers); raises the 400 or 422."""
    return validated(model, body)


def check(message: M, topic: Topic, settings: Settings, now: datetime | None = None, *, past: bool = False) -> M:
    """`message`, when its version is known and its time plausible; its time in UTC. Raises the 422.

    With `past` any time before now is plausible: the client keeps, while it is offline, what it will send.
    """
    version = message.schema_version
    if version != "1.0" and version.partition(".")[0] != str(topic.major_version):
        raise field_rejection(
            "schema_version",
            version,
            Code.UNKNOWN_SCHEMA_VERSION,
            f"Field 'schema_version' is {version[:32]!r}: {topic.name} knows {topic.major_version}.x; "
            "send that, or update the service",
        )
    if "timestamp" not in message.model_fields_set:
        # It is the present.
        return message
    timestamp = message.timestamp
    if settings.timestamp_tolerance_hours:
        tolerance = timedelta(hours=settings.timestamp_tolerance_hours)
        now = now or datetime.now(UTC)
        if timestamp - now > tolerance or (now - timestamp > tolerance and not past):
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
    # The message is this request's alone; a copy costs twice what serialising does.
    message.__dict__["trace_id"], message.__dict__["span_id"] = trace_id, context.span_id
    headers = [("traceparent", f"00-{trace_id}-{context.span_id}-{context.flags}".encode())]
    if context.tracestate:
        headers.append(("tracestate", context.tracestate))
    return Record(
        services.topic_name(topic),
        message.device_id.encode(),
        message.__pydantic_serializer__.to_json(message),
        headers,
    )


async def send(services: Services, topic: Topic, message: Message, context: RequestContext) -> None:
    """Return when the broker has `message`; raises the 503 or 413 when it does not."""
    if message.trace_id is not None and not context.inherited:
        context.trace_id = message.trace_id
    await services.producer.send(record_of(services, topic, message, context))
    services.devices.seen(message.device_id, topic.name)


def accepted(topic: Topic, message: Message, **extra: Any) -> Response:
    """The guide's answer to an accepted message."""
    tail = "".join(f',"{name}":{to_json(value).decode()}' for name, value in extra.items())
    content = f'{{"status":"success","message_id":"{message.message_id}","topic":"{topic.name}"{tail}}}'
    return JsonAnswer(content.encode())
