"""Where each stage goes on after a restore, on a broker whose topics may be the old ones, new ones or others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import psycopg

from loom_platform.backup.manifest import TopicEntry
from loom_platform.backup.records import Kept
from loom_platform.backup.snapshot import Stored
from loom_platform.stream.topics import TopicState

_MOVE: Final = """
UPDATE stream_offsets SET topic_id = %s, next_offset = %s, updated_at = now()
WHERE stage = %s AND topic = %s AND partition = %s
"""
# A letter's place is its key. Where offsets begin anew, the letters of before make room for those to come.
_ERA: Final = 10**15
_ERAS: Final = 'SELECT coalesce(max(ceil(-"offset" / %s::numeric)), 0) FROM processing_errors WHERE "offset" < 0'
_MAKE_ROOM: Final = 'UPDATE processing_errors SET "offset" = "offset" - %s WHERE "offset" >= 0 AND topic = ANY(%s)'


class Fate(StrEnum):
    """What became of a topic since the backup."""

    SAME = "same"
    """It is there, with all that the stages have not processed: nothing is to be done."""
    FRESH = "fresh"
    """It has no record."""
    OTHER = "other"
    """It has records, and is not what the offsets are of: all of them are read."""


def fate(entry: TopicEntry, state: TopicState, offsets: Sequence[Stored]) -> Fate:
    """What became of the topic of `entry`; `offsets` are the backup's."""
    own = [o for o in offsets if o.topic == entry.name and o.topic_id == entry.topic_id]
    if entry.topic_id == state.topic_id and all(_within(state, o) for o in own):
        return Fate.SAME
    return Fate.FRESH if all(low == high for low, high in state.ranges.values()) else Fate.OTHER


def _within(state: TopicState, stored: Stored) -> bool:
    low, high = state.ranges.get(stored.partition, (0, -1))
    return low <= stored.next_offset <= high


@dataclass(slots=True)
class Places:
    """Counts, as a topic's kept records are sent, how many lie before each stage's stored offset."""

    entry: TopicEntry
    offsets: Sequence[Stored]
    before: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, record: Kept) -> None:
        """A kept record is sent."""
        for stored in self.own():
            if record.partition == stored.partition and (record.offset or 0) < stored.next_offset:
                place = stored.stage, stored.partition
                self.before[place] = self.before.get(place, 0) + 1

    def own(self) -> list[Stored]:
        """The stored offsets that were of this very topic; others belong to a stage that is halted, and stays so."""
        return [o for o in self.offsets if o.topic == self.entry.name and o.topic_id == self.entry.topic_id]

    def moved(self, what: Fate, state: TopicState, first: Mapping[tuple[str, int], int]) -> list[Stored]:
        """The offsets to go on from. `state` is before the records were sent; `first` is where they went."""
        moved = []
        for stored in self.own():
            low, high = state.ranges.get(stored.partition, (0, 0))
            start = low
            if what is Fate.FRESH:
                start = first.get((stored.topic, stored.partition), high)
                start += self.before.get((stored.stage, stored.partition), 0)
            moved.append(stored._replace(topic_id=state.topic_id, next_offset=start))
        return moved


def apply(connection: psycopg.Connection[Any], moved: Sequence[Stored]) -> None:
    """Write the offsets."""
    for stored in moved:
        place = (stored.stage, stored.topic, stored.partition)
        connection.execute(_MOVE, (stored.topic_id, stored.next_offset, *place))


def make_room(connection: psycopg.Connection[Any], topics: Sequence[str]) -> int:
    """Move the dead letters of `topics`, whose offsets begin anew, out of the way of new ones; how many there were."""
    row = connection.execute(_ERAS, (_ERA,)).fetchone()
    eras = int(row[0]) if row else 0
    return connection.execute(_MAKE_ROOM, ((eras + 1) * _ERA, list(topics))).rowcount
