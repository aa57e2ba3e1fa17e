"""Events as a client reads them: those in the tables, and those this process took that may not be there yet."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json

from loom_ingest.clients.activitywatch.buckets import Bucket
from loom_ingest.clients.activitywatch.events import Event, State
from loom_ingest.clients.activitywatch.watch import ActivityWatch
from loom_ingest.errors import DatabaseUnavailableError

LONGEST_EVENT: Final = timedelta(days=31)
"""An event that began this long before the start of a range is not looked for in it."""
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Range:
    """Events that end at `start` or later and begin at `end` or earlier."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def begin(self) -> datetime | None:
        """When such an event begins at the earliest."""
        try:
            return None if self.start is None else self.start - LONGEST_EVENT
        except OverflowError:
            return None

    def widened(self) -> "Range":
        """The range in whole milliseconds, outwards."""
        start, end = self.start, self.end
        if start is not None:
            start = start.replace(microsecond=start.microsecond // 1000 * 1000)
        if end is not None:
            try:
                end = end.replace(microsecond=end.microsecond // 1000 * 1000) + _MILLISECOND
            except OverflowError:
                end = None
        return Range(start, end)

    def holds(self, event: Event) -> bool:
        """Whether `event` is in it."""
        begin = self.begin
        return (
            (self.start is None or self.start <= event.end)
            and (begin is None or begin <= event.timestamp)
            and (self.end is None or event.timestamp <= self.end)
        )

    def trimmed(self, state: State) -> State:
        """`state` without what lies outside, as aw-server cuts it."""
        begin, finish = state.event.timestamp, state.event.end
        if self.start is not None and begin < self.start:
            begin = self.start
        if self.end is not None and finish > self.end:
            finish = self.end
        return state.grown(replace(state.event, timestamp=begin, duration=finish - begin))


async def events(
    watch: ActivityWatch, bucket: Bucket, within: Range, limit: int | None = None
) -> AsyncGenerator[State, None]:
    """Events of `bucket`, the newest first; `limit` None is all of them. Raises DatabaseUnavailableError."""
    if limit == 0:
        return
    if watch.away:
        raise DatabaseUnavailableError("it did not answer a moment ago")
    recent = watch.recent.of(bucket.key)
    mine = {state.event_id: state for state in recent}
    waiting = [s for s in reversed(recent) if not s.deleted and within.holds(s.event)]
    at_most = None if limit is None else limit + len(mine)
    count = 0
    rows = watch.store.events(bucket, begin=within.begin, start=within.start, end=within.end, limit=at_most)
    async with watch.readers, aclosing(_merged(rows, waiting, mine)) as states:
        async for state in states:
            yield within.trimmed(state)
            count += 1
            if count == limit:
                return


async def _merged(
    rows: AsyncGenerator[State, None], waiting: list[State], mine: dict[Any, State]
) -> AsyncGenerator[State, None]:
    """`rows` and `waiting`, whose last is the newest, in one order; of two states of an event that of higher rank."""
    async with aclosing(rows):
        async for row in rows:
            known = mine.get(row.event_id)
            if known is not None and known.rank >= row.rank:
                continue
            if known is not None:
                # Another process knows better.
                waiting[:] = [s for s in waiting if s.event_id != row.event_id]
            while waiting and _order(waiting[-1]) > _order(row):
                yield waiting.pop()
            yield row
    while waiting:
        yield waiting.pop()


def _order(state: State) -> Any:
    return state.event.timestamp, state.event_id


async def count(watch: ActivityWatch, bucket: Bucket, within: Range) -> int:
    """How many events of `bucket` there are; raises DatabaseUnavailableError."""
    recent = watch.recent.of(bucket.key)
    here = sum(not s.deleted and within.holds(s.event) for s in recent)
    without = [s.event_id for s in recent]
    return here + await watch.store.count(
        bucket, begin=within.begin, start=within.start, end=within.end, without=without
    )


async def last_ends(watch: ActivityWatch, bucket: Bucket) -> State | None:
    """The event of `bucket` that begins last, as far as it can be told without looking at each."""
    states = [s for s in watch.recent.of(bucket.key)[:1] if not s.deleted]
    if bucket.last is not None:
        states.append(bucket.last)
    elif not bucket.last_known:
        found = await watch.last_of(bucket)
        states += [found] if found is not None else []
    return max(states, key=lambda s: s.event.timestamp, default=None)


async def listed(states: AsyncGenerator[State, None]) -> AsyncGenerator[bytes, None]:
    """A JSON array of events, piece by piece."""
    async with aclosing(states):
        yield b"["
        first = True
        async for piece in _pieces(states, numbered=True):
            yield piece if first else b"," + piece
            first = False
        yield b"]"


async def exported(watch: ActivityWatch, buckets: Sequence[Bucket]) -> AsyncGenerator[bytes, None]:
    """An export of `buckets` in the format that every ActivityWatch imports, piece by piece."""
    yield b'{"buckets":{'
    for place, bucket in enumerate(buckets):
        head = to_json(bucket.json(await last_ends(watch, bucket)))[:-1]
        yield (b"," if place else b"") + to_json(bucket.bucket_id) + b":" + head + b',"events":['
        first = True
        async with aclosing(events(watch, bucket, Range())) as states:
            async for piece in _pieces(states, numbered=False):
                yield piece if first else b"," + piece
                first = False
        yield b"]}"
    yield b"}}"


async def _pieces(states: AsyncIterator[State], *, numbered: bool) -> AsyncIterator[bytes]:
    """Events with commas between them, some kilobytes at a time."""
    parts: list[bytes] = []
    size = 0
    async for state in states:
        item = state.json()
        if not numbered:
            # Ids mean nothing to another server.
            del item["id"]
        parts.append(to_json(item, inf_nan_mode="null"))
        size += len(parts[-1])
        if size > 64 * 1024:
            yield b",".join(parts)
            parts, size = [], 0
    if parts:
        yield b",".join(parts)
