"""Buckets made, events inserted, extended, replaced and deleted: each change is a record more, and nothing is lost."""

import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request

from loom_contracts.payloads.activity import WatcherEvent
from loom_contracts.topics.activity import ACTIVITYWATCH_RAW
from loom_ingest.accept import admit, context_of, services_of
from loom_ingest.clients.activitywatch.buckets import Bucket, inferred_bucket, label, parts_of, state_of_message
from loom_ingest.clients.activitywatch.events import Event, EventError, State, event_of, merged
from loom_ingest.clients.activitywatch.watch import ActivityWatch, revision_now
from loom_ingest.clients.taking import Draft, take_drafts, unrecognized

CLIENT: Final = "activitywatch"
LOCAL: Final = "!local"
"""What a client says that does not know its computer's name: it is the server's."""
AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Description:
    """What a client says of a bucket."""

    bucket_type: str
    client: str
    hostname: str
    data: dict[str, Any]
    created_at: datetime | None = None


def watch_of(request: Request) -> ActivityWatch:
    """The buckets of the app that answers `request`."""
    watch: ActivityWatch = request.scope["app"].state.activitywatch
    return watch


async def make_bucket(request: Request, bucket_id: str, said: Description) -> tuple[Bucket, bool]:
    """The bucket, and whether it was not there before; raises the 403 or 429."""
    services, context, watch = services_of(request), context_of(request), watch_of(request)
    hostname = socket.gethostname() if said.hostname == LOCAL else said.hostname
    device_id = services.identities.device_of(CLIENT, hostname, context.principal)
    bucket = await watch.find(bucket_id, context.principal.devices)
    if bucket is not None and not bucket.deleted and not bucket.inferred:
        await admit(services, context, bucket.device_id)
        return bucket, False
    await admit(services, context, device_id)
    if bucket is not None and bucket.device_id != device_id:
        bucket = await watch.find(bucket_id, frozenset({device_id}))
    now = datetime.now(UTC)
    if bucket is None:
        bucket = Bucket(device_id, bucket_id, "", "", "", now, last_known=not watch.away)
        bucket.generation = None if watch.away else 0
        watch.add(bucket)
    async with bucket.lock:
        if bucket.deleted:
            watch.revive(bucket, now)
        bucket.bucket_type, bucket.client, bucket.hostname = (
            label(said.bucket_type),
            label(said.client),
            label(hostname),
        )
        bucket.data, bucket.inferred = said.data, False
        bucket.created_at = said.created_at or bucket.created_at
        await watch.save(bucket)
    return bucket, True


async def bucket_for(request: Request, bucket_id: str) -> Bucket:
    """The bucket for a heartbeat: one that nobody made, or that was deleted, is made, for a watcher that is told that
    its bucket is not there throws its heartbeats away.
    """
    services, context, watch = services_of(request), context_of(request), watch_of(request)
    bucket = await watch.find(bucket_id, context.principal.devices)
    if bucket is not None:
        return await _linked(request, bucket)
    device_id = services.identities.device_of(CLIENT, parts_of(bucket_id)[1], context.principal)
    context.principal.require_devices((device_id,))
    bucket = inferred_bucket(bucket_id, device_id, datetime.now(UTC))
    if not watch.away:
        bucket.generation, bucket.last_known = 0, True
    watch.add(bucket)
    return bucket


async def _linked(request: Request, bucket: Bucket) -> Bucket:
    """`bucket`, or that of the device which a person linked to its computer since it was made."""
    services, context, watch = services_of(request), context_of(request), watch_of(request)
    device_id = services.identities.linked(CLIENT, bucket.hostname)
    devices = context.principal.devices
    if device_id is None or device_id == bucket.device_id or (devices is not None and device_id not in devices):
        return bucket
    found = await watch.find(bucket.bucket_id, frozenset({device_id}))
    if found is None:
        found = Bucket(
            device_id, bucket.bucket_id, bucket.bucket_type, bucket.client, bucket.hostname, datetime.now(UTC)
        )
        found.data, found.generation = bucket.data, None if watch.away else 0
        watch.add(found)
    return found


async def beat(request: Request, bucket_id: str, item: Any, pulsetime: float) -> dict[str, Any]:
    """The event that this heartbeat extended or began, as ActivityWatch writes it, when it is stored."""
    watch, now = watch_of(request), datetime.now(UTC)
    bucket = await bucket_for(request, bucket_id)
    await admit(services_of(request), context_of(request), bucket.device_id)
    try:
        heartbeat = event_of(item, now)
    except EventError as error:
        await _keep_unrecognized(request, bucket, error, item)
        return {"id": None, "timestamp": now.isoformat(), "duration": 0.0, "data": {}}
    async with bucket.lock:
        if bucket.deleted:
            watch.revive(bucket, now)
        last = await watch.last_of(bucket)
        grown = None if last is None else merged(last.event, heartbeat, pulsetime)
        if last is not None and grown is not None:
            state = last.grown(grown)
            if state == last:
                return state.json()
        else:
            state = await watch.begun(bucket, heartbeat)
        if await _store(request, bucket, [state], pulsetime, [item]):
            bucket.last, bucket.last_known = state, True
            await watch.changed(bucket)
    return state.json()


async def insert(request: Request, bucket: Bucket, items: Sequence[Any]) -> list[State]:
    """The events in `items`, when they are stored; one with the `id` of an event that is there replaces it.

    What is no event is kept as it came, and left out of the answer.
    """
    now = datetime.now(UTC)
    await admit(services_of(request), context_of(request), bucket.device_id)
    occurrences = Occurrences()
    found: list[State] = []
    for begin in range(0, len(items), AT_ONCE):
        found += await _insert_some(request, bucket, items[begin : begin + AT_ONCE], occurrences, now)
    return found


async def insert_stream(request: Request, bucket: Bucket, chunks: AsyncIterator[Sequence[Any]]) -> int:
    """How many events were stored of an import, chunk by chunk; their ids are those of another server."""
    now = datetime.now(UTC)
    occurrences, count = Occurrences(), 0
    async for items in chunks:
        plain = [{k: v for k, v in i.items() if k != "id"} if isinstance(i, dict) else i for i in items]
        count += len(await _insert_some(request, bucket, plain, occurrences, now))
    return count


async def delete_event(request: Request, bucket: Bucket, number: int) -> bool:
    """Whether the event was there; it is hidden now."""
    watch = watch_of(request)
    async with bucket.lock:
        state = await watch.event(bucket, number)
        if state is None:
            return False
        gone = state.changed(max(revision_now(), state.revision + 1))
        if not await _store(request, bucket, [gone], None, [state.json()]):
            return False
        if bucket.tombstones is not None:
            bucket.tombstones.add(state.event_id)
        if bucket.last is not None and bucket.last.event_id == state.event_id:
            bucket.last, bucket.last_known = None, True
            await watch.changed(bucket)
    return True


class Occurrences:
    """Tells equal events of one request apart, those with the same time and data; the last 10,000 are remembered."""

    def __init__(self) -> None:
        self._seen: dict[tuple[datetime, int], int] = {}

    def of(self, event: Event) -> int:
        """How many equal ones came before `event`."""
        if len(self._seen) > 10_000:
            self._seen.clear()
        # Not the data themselves: ten thousand of those may be large.
        key = event.timestamp, hash(repr(event.data))
        count = self._seen.get(key, -1) + 1
        self._seen[key] = count
        return count


async def _insert_some(
    request: Request, bucket: Bucket, items: Sequence[Any], occurrences: Occurrences, now: datetime
) -> list[State]:
    watch = watch_of(request)
    states: list[State] = []
    sources: list[Any] = []
    found: list[State] = []
    for item in items:
        try:
            event = event_of(item, now)
        except EventError as error:
            await _keep_unrecognized(request, bucket, error, item)
            continue
        number = item.get("id")
        known = await watch.event(bucket, number) if isinstance(number, int) and number >= 0 else None
        if known is None:
            state = await watch.begun(bucket, event, occurrences.of(event))
        else:
            revision = max(revision_now(), known.revision + 1)
            if known.event.timestamp != event.timestamp:
                # Its states are told apart by time first: the one at the old time goes.
                states.append(known.changed(revision))
                sources.append(item)
                revision += 1
            state = known.changed(revision, event)
        states.append(state)
        sources.append(item)
        found.append(state)
    stored = await _store(request, bucket, states, None, sources)
    return [state for state in found if state.event_id in stored]


async def _store(
    request: Request, bucket: Bucket, states: Sequence[State], pulsetime: float | None, sources: Sequence[Any]
) -> set[Any]:
    """Identities of those that are stored as what they are; the others are kept as they came. Raises the 503."""
    watch = watch_of(request)
    drafts = [
        Draft(ACTIVITYWATCH_RAW, bucket.fields(state, pulsetime), {"bucket_id": bucket.bucket_id, "event": source})
        for state, source in zip(states, sources, strict=True)
    ]
    stored = set()
    for message in await take_drafts(request, CLIENT, bucket.device_id, drafts, admitted=True):
        if isinstance(message, WatcherEvent):
            stored.add(message.event_id)
            watch.recent.add(bucket.key, state_of_message(message))
    return stored


async def _keep_unrecognized(request: Request, bucket: Bucket, error: EventError, item: Any) -> None:
    draft = unrecognized(CLIENT, str(error), {"bucket_id": bucket.bucket_id, "event": item})
    await take_drafts(request, CLIENT, bucket.device_id, [draft], admitted=True)
