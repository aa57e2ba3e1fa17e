"""From a foreign client's request to acknowledged records: any past time, harmless retries, nothing thrown away.

These clients keep what they could not send and drop, or repeat for ever, what was refused. So what cannot be read is
no error to them: it is kept as it came, on `device.unrecognized.raw`. They get an error when nothing is stored (503),
when they may not send (401, 403, 429) and when the request is none of theirs at all.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from fastapi import Request
from pydantic_core import to_json

from loom_contracts.message import Message, utc_now
from loom_contracts.topic import Topic
from loom_contracts.topics.device_system import UNRECOGNIZED_RAW
from loom_ingest.accept import Services, admit, check, context_of, parse, record_of, services_of
from loom_ingest.errors import ApiError, Code
from loom_ingest.trace import RequestContext

LONGEST_REASON: Final = 500
LONGEST_BODY: Final = 1_048_576
"""Characters of one record of what cannot be read; more goes to several."""
LARGEST_DRAFT: Final = 8 * 1024 * 1024
"""Bytes of one message's JSON, well below what the broker takes; a larger one is kept in pieces."""
AT_ONCE: Final = 250
"""Messages of one request in memory together with their acknowledgements, where it brings many."""
_NAMESPACE: Final = UUID("0f6dfb0c-7d55-5b3e-8a53-9a3c0f1b6d42")


class Draft(NamedTuple):
    """One message to be: its topic, and its payload as JSON would have it, with its own `timestamp` where it has one.

    `source` is the client's own words for it, kept when the message turns out not to be valid.
    """

    topic: Topic
    fields: dict[str, Any]
    source: Any = None


async def take_drafts(
    request: Request, client: str, device_id: str, drafts: Sequence[Draft], *, admitted: bool = False
) -> list[Message]:
    """The messages of `drafts`, in their order, when the broker or the spool has every one of them.

    The same draft of the same device has the same `message_id` each time. Raises the 403 or 429, unless the request
    was `admitted` for this device before, or the 503.
    """
    services, context = services_of(request), context_of(request)
    if not admitted:
        await admit(services, context, device_id)
    prepared = [each for draft in drafts for each in _messages(services, client, device_id, draft)]
    await send_all(services, context, prepared)
    return [message for _, message in prepared]


async def take_many(
    request: Request, client: str, device_ids: Collection[str], drafts: Iterable[tuple[str, Draft]]
) -> int:
    """How many messages the pairs of device and draft made, when the broker or the spool has every one of them.

    `drafts` may be a generator: few of its messages are in memory at a time. `device_ids` are all devices in it.
    Raises as `take_drafts` does, and then some are stored; the whole of it may be sent again.
    """
    services, context = services_of(request), context_of(request)
    await admit(services, context, *device_ids)
    taken = 0
    rest = iter(drafts)
    while some := list(islice(rest, AT_ONCE)):
        prepared = [each for device_id, draft in some for each in _messages(services, client, device_id, draft)]
        await send_all(services, context, prepared)
        taken += len(prepared)
        # A producer that never waits would keep all other requests waiting.
        await asyncio.sleep(0)
    return taken


async def send_all(services: Services, context: RequestContext, prepared: Sequence[tuple[Topic, Message]]) -> None:
    """Return when the broker or the spool has all of `prepared`; raises the first refusal, all others being sent."""
    records = [record_of(services, topic, message, context) for topic, message in prepared]
    outcomes = await services.producer.send_all(records)
    failures: list[BaseException] = []
    for (topic, message), outcome in zip(prepared, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            failures.append(outcome)
        else:
            services.devices.seen(message.device_id, topic.name)
    if failures:
        raise failures[0]


def unrecognized(client: str, reason: str, body: Any) -> Draft:
    """What cannot be read, as it came: `body` is text, or anything that JSON can hold. Cut at LONGEST_BODY."""
    return unrecognized_pieces(client, reason, body)[0]


def unrecognized_pieces(client: str, reason: str, body: Any) -> list[Draft]:
    """The same, in as many drafts as it needs."""
    text = body if isinstance(body, str) else to_json(body, inf_nan_mode="strings").decode()
    text = text.replace("\x00", "\ufffd")
    count = max(1, -(-len(text) // LONGEST_BODY))
    drafts = []
    for index in range(count):
        part = f" (piece {index + 1} of {count})" if count > 1 else ""
        fields = {"client": client, "reason": reason[: LONGEST_REASON - len(part)].replace("\x00", "") + part}
        piece = text[index * LONGEST_BODY : (index + 1) * LONGEST_BODY]
        drafts.append(Draft(UNRECOGNIZED_RAW, fields | {"body": piece}))
    return drafts


def _messages(services: Services, client: str, device_id: str, draft: Draft) -> list[tuple[Topic, Message]]:
    """Topic and message of `draft`; of one that is not valid, the messages that keep it."""
    try:
        return [(draft.topic, _parsed(services, client, device_id, draft))]
    except ApiError as error:
        services.metrics.rejected(error.code)
        source = draft.source if draft.source is not None else draft.fields
        kept = unrecognized_pieces(client, f"{draft.topic.name}: {error.message}", source)
        return [(each.topic, _parsed(services, client, device_id, each)) for each in kept]


def _parsed(services: Services, client: str, device_id: str, draft: Draft) -> Message:
    topic = draft.topic
    content = to_json(draft.fields, inf_nan_mode="null")
    if len(content) > LARGEST_DRAFT:
        raise ApiError(413, Code.PAYLOAD_TOO_LARGE, f"The record would have {len(content)} bytes")
    name = b"\0".join((client.encode(), device_id.encode(), topic.name.encode(), content))
    message_id = _identity(name)
    item = {**draft.fields, "device_id": device_id, "message_id": str(message_id)}
    if topic is UNRECOGNIZED_RAW:
        # Nobody knows its own time; that of the first try makes the next one the same row.
        item["timestamp"] = services.retries.time_of(message_id, utc_now())
    message = parse(topic.payload, to_json(item, inf_nan_mode="null"))
    return check(message, topic, services.settings, past=True)


def _identity(name: bytes) -> UUID:
    return uuid5(_NAMESPACE, name.hex())
