"""The buckets that this process works with: found in memory or the database, written down behind what is taken."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

import psycopg

from loom_ingest.access.principal import Principal
from loom_ingest.clients.activitywatch.buckets import Bucket
from loom_ingest.clients.activitywatch.events import Event, State, identity
from loom_ingest.clients.activitywatch.recent import Recent
from loom_ingest.clients.activitywatch.store import WatcherStore
from loom_ingest.database import Database
from loom_ingest.errors import ApiError, Code, DatabaseUnavailableError
from loom_ingest.logging import log

T = TypeVar("T")

FLUSH_SECONDS: Final = 2.0
STOP_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 10.0
"""How long a database that did not answer is not asked again by who can do without it."""
MOST_BUCKETS: Final = 5_000
MOST_READERS: Final = 2
"""Exports and lists at once; each holds a connection for as long as its client reads."""

Devices = frozenset[str] | None

_ANSWERS: Final = (psycopg.DataError, psycopg.errors.QueryCanceled)
"""Errors of a database that is there."""


class ActivityWatch:
    """Buckets, and what was taken for them of late.

    With `shared`, other processes serve the same buckets: each is read anew before, and written after, every change.
    """

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        self.store = WatcherStore(database)
        self.recent = Recent()
        self.readers = asyncio.Semaphore(MOST_READERS)
        self._database = database
        self._shared = shared
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self._away_until = 0.0
        self._told = False
        self._writer: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Open the database and begin to write."""
        await self._database.open()
        self._writer = asyncio.create_task(self._write_on(), name="activitywatch-buckets")

    async def stop(self) -> None:
        """Write what is left, where the database is there, and let go of it."""
        self._stopping.set()
        if self._writer is not None:
            await self._writer
        if not self.away:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._flush()
        await self._database.close()

    async def find(self, bucket_id: str, devices: Devices) -> Bucket | None:
        """The bucket of one of `devices` (None: of any), also a deleted one; None when there is none, as far as is
        known with the database away. Of several with this name it is the one that was used last.
        """
        known = self._known(bucket_id, devices)
        if not known or self._shared:
            with contextlib.suppress(DatabaseUnavailableError):
                for bucket in await self.trying(lambda: self.store.buckets(bucket_id, devices)):
                    self._learn(bucket)
            known = self._known(bucket_id, devices)
        if not known:
            return None
        bucket = next((b for b in reversed(known) if not b.deleted), known[-1])
        self._buckets.move_to_end(bucket.key)
        return bucket

    async def existing(self, bucket_id: str, principal: Principal) -> Bucket:
        """The bucket that this bearer may see; raises the 404."""
        bucket = await self.find(bucket_id, principal.devices)
        if bucket is None or bucket.deleted:
            if bucket is None and self.away:
                raise DatabaseUnavailableError("so this bucket cannot be looked for")
            raise ApiError(
                404,
                Code.BUCKET_NOT_FOUND,
                f"There's no bucket named {bucket_id[:100]!r}; GET /api/0/buckets/ lists them",
                details={"bucket_id": bucket_id[:100]},
            )
        return bucket

    async def all(self, principal: Principal) -> list[Bucket]:
        """Every bucket that this bearer may see; raises DatabaseUnavailableError."""
        for bucket in await self.trying(lambda: self.store.buckets(None, principal.devices)):
            self._learn(bucket)
        return [b for b in self._known(None, principal.devices) if not b.deleted]

    def add(self, bucket: Bucket) -> None:
        """Know of a bucket that the database does not have yet."""
        self._buckets[bucket.key] = bucket
        bucket.dirty = True
        if len(self._buckets) > MOST_BUCKETS:
            first = next((b for b in self._buckets.values() if not b.dirty), bucket)
            self._buckets.pop(first.key if first is not bucket else next(iter(self._buckets)))

    def revive(self, bucket: Bucket, now: datetime) -> None:
        """Take up a deleted bucket again; what it held before stays hidden."""
        bucket.deleted, bucket.created_at, bucket.data = False, now, {}
        bucket.last, bucket.last_known = None, True

    async def delete(self, bucket: Bucket) -> None:
        """Hide `bucket` and what it holds; raises DatabaseUnavailableError."""
        async with bucket.lock:
            await self.store.save(bucket)
            await self.store.delete(bucket)
            bucket.deleted, bucket.dirty = True, False
            bucket.last, bucket.last_known, bucket.tombstones = None, True, set()
            self.recent.clear(bucket.key)

    async def save(self, bucket: Bucket) -> None:
        """Write `bucket` down now, or when the database is back."""
        bucket.dirty = True
        with contextlib.suppress(DatabaseUnavailableError):
            await self.trying(lambda: self.store.save(bucket))
            bucket.dirty = False

    async def changed(self, bucket: Bucket) -> None:
        """Write `bucket` down before the next request for it: at once when others serve it too, else soon."""
        bucket.dirty = True
        if self._shared:
            await self.save(bucket)

    async def last_of(self, bucket: Bucket) -> State | None:
        """The event that a heartbeat may extend: of the last heartbeat, or the newest; None with the database away."""
        if not bucket.last_known:
            states = [s for s in self.recent.of(bucket.key) if not s.deleted][:1]
            with contextlib.suppress(DatabaseUnavailableError):
                found = await self.trying(lambda: self.store.newest(bucket))
                states += [found] if found is not None else []
                bucket.last_known = True
            bucket.last = max(states, key=lambda s: s.event.timestamp, default=None)
        return bucket.last

    async def begun(self, bucket: Bucket, event: Event, occurrence: int = 0) -> State:
        """The first state of `event` in `bucket`; of one that was deleted, the state that brings it back."""
        if bucket.tombstones is None:
            with contextlib.suppress(DatabaseUnavailableError):
                bucket.tombstones = await self.trying(lambda: self.store.tombstones(bucket))
        event_id = identity(bucket.place, event, occurrence)
        if bucket.tombstones and event_id in bucket.tombstones:
            return State(event_id, event, revision_now())
        return State(event_id, event)

    async def event(self, bucket: Bucket, number: int) -> State | None:
        """The event that clients know as `number`, unless it is deleted; raises DatabaseUnavailableError."""
        state = self.recent.find(bucket.key, number)
        if state is None:
            state = await self.trying(lambda: self.store.find(bucket, number))
        return None if state is None or state.deleted else state

    @property
    def away(self) -> bool:
        """Whether the database did not answer lately."""
        return time.monotonic() < self._away_until

    async def trying(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the database says; raises DatabaseUnavailableError at once when it was away lately."""
        if self.away:
            raise DatabaseUnavailableError("it did not answer a moment ago")
        try:
            return await call()
        except DatabaseUnavailableError as error:
            self._lost(error)
            raise

    def _known(self, bucket_id: str | None, devices: Devices) -> list[Bucket]:
        return [
            bucket
            for bucket in self._buckets.values()
            if (bucket_id is None or bucket.bucket_id == bucket_id) and (devices is None or bucket.device_id in devices)
        ]

    def _learn(self, found: Bucket) -> None:
        known = self._buckets.get(found.key)
        if known is None:
            self.add(found)
            found.dirty = False
        elif self._shared and not known.dirty and not known.lock.locked():
            for name in ("bucket_type", "client", "hostname", "created_at", "data", "deleted", "last", "last_known"):
                setattr(known, name, getattr(found, name))
            if known.generation != found.generation:
                known.generation, known.tombstones = found.generation, None
                self.recent.clear(known.key)

    async def _write_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._stopping.wait()
                    return
            await self._flush()

    async def _flush(self) -> None:
        try:
            for bucket in [b for b in self._buckets.values() if b.dirty]:
                async with bucket.lock:
                    if bucket.dirty:
                        bucket.dirty = False
                        await self._write(bucket)
                self._away_until = 0.0
                self._told = False
        except DatabaseUnavailableError as error:
            self._lost(error)

    async def _write(self, bucket: Bucket) -> None:
        try:
            await self.store.save(bucket)
        except DatabaseUnavailableError as error:
            if isinstance(error.__cause__, psycopg.DataError):
                # It would be refused again, and hold up the others.
                log.error("activitywatch_bucket_refused", reason=error.message)
            else:
                bucket.dirty = True
                raise

    def _lost(self, error: DatabaseUnavailableError) -> None:
        if isinstance(error.__cause__, _ANSWERS):
            return
        self._away_until = time.monotonic() + AWAY_SECONDS
        if not self._told:
            log.warning("activitywatch_unsaved", reason=error.message, remedy="start PostgreSQL; ingest goes on")
        self._told = True


def revision_now() -> int:
    """The revision of a change that a client makes now."""
    return int(datetime.now(UTC).timestamp() * 1000)
