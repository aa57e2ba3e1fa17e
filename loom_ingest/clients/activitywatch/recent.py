"""What this process took of late and the tables may not have yet, so that a client reads at once what it wrote."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from loom_ingest.clients.activitywatch.events import State

MOST_STATES: Final = 10_000
MOST_BYTES: Final = 16 * 1024 * 1024

Key = tuple[str, str]


class Recent:
    """The newest states, of 10,000 events and about 16 MiB at most; of each event the one of the highest rank."""

    def __init__(self, most_states: int = MOST_STATES, most_bytes: int = MOST_BYTES) -> None:
        self._most_states = most_states
        self._most_bytes = most_bytes
        self._states: OrderedDict[tuple[Key, UUID], tuple[State, int]] = OrderedDict()
        self._buckets: dict[Key, set[UUID]] = {}
        self._bytes = 0

    def add(self, bucket: Key, state: State) -> None:
        """Remember `state`, unless a state of a higher rank is known."""
        known = self._states.get((bucket, state.event_id))
        if known is not None and known[0].rank > state.rank:
            return
        self._forget(bucket, state.event_id)
        size = 1_000 + 2 * len(str(state.event.data))
        self._states[bucket, state.event_id] = state, size
        self._buckets.setdefault(bucket, set()).add(state.event_id)
        self._bytes += size
        while len(self._states) > self._most_states or self._bytes > self._most_bytes:
            self._forget(*next(iter(self._states)))

    def of(self, bucket: Key) -> list[State]:
        """What is remembered of `bucket`, the newest event first, deleted ones too."""
        states = [self._states[bucket, event_id][0] for event_id in self._buckets.get(bucket, ())]
        return sorted(states, key=lambda s: (s.event.timestamp, s.event_id), reverse=True)

    def find(self, bucket: Key, number: int) -> State | None:
        """The event that clients know as `number`, deleted or not."""
        return next((s for s in self.of(bucket) if s.number == number), None)

    def clear(self, bucket: Key) -> None:
        """Forget what is remembered of `bucket`."""
        for event_id in list(self._buckets.get(bucket, ())):
            self._forget(bucket, event_id)

    def forget(self, bucket: Key, event_ids: Iterable[UUID]) -> None:
        """Forget these events of `bucket`."""
        for event_id in event_ids:
            self._forget(bucket, event_id)

    def _forget(self, bucket: Key, event_id: UUID) -> None:
        found = self._states.pop((bucket, event_id), None)
        if found is not None:
            self._bytes -= found[1]
            of_bucket = self._buckets[bucket]
            of_bucket.discard(event_id)
            if not of_bucket:
                del self._buckets[bucket]
