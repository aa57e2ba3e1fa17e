"""Where a stage has got to: fenced offsets, kept in the same transaction as the rows they stand for."""

from collections.abc import Mapping
from typing import Any

import psycopg

from loom_platform.stream.errors import FencedError, OffsetOutOfRangeError, TopicRecreatedError
from loom_platform.stream.topics import TopicState

Connection = psycopg.Connection[Any]

_ENSURE = """
INSERT INTO stream_offsets (stage, topic, partition, topic_id, next_offset)
VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_LOAD = "SELECT partition, topic_id, next_offset FROM stream_offsets WHERE stage = %s AND topic = %s"
# The WHERE is the fence: a run that was overtaken matches no row, and so can't commit.
_ADVANCE = """
UPDATE stream_offsets SET next_offset = %s, updated_at = now()
WHERE stage = %s AND topic = %s AND partition = %s AND next_offset = %s AND topic_id = %s
"""
_RESET = """
INSERT INTO stream_offsets (stage, topic, partition, topic_id, next_offset) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (stage, topic, partition) DO UPDATE
SET topic_id = EXCLUDED.topic_id, next_offset = EXCLUDED.next_offset, updated_at = now()
"""


_REWIND = """
UPDATE stream_offsets SET next_offset = %s, updated_at = now()
WHERE stage = %s AND topic = %s AND partition = %s AND topic_id = %s AND next_offset > %s
"""


def stored(connection: Connection, stage: str, topic: str) -> dict[int, int]:
    """The stored next offset of each partition, without any check."""
    rows = connection.execute(_LOAD, (stage, topic)).fetchall()
    return {partition: offset for partition, _, offset in rows}


def open_positions(
    connection: Connection, stage: str, topic: str, state: TopicState, shard: tuple[int, int] = (0, 1)
) -> dict[int, int]:
    """The offsets to read on from, for the partitions of this shard; a new partition starts at its first record.

    Raises TopicRecreatedError and OffsetOutOfRangeError where the stored ones no longer mean what they meant.
    """
    index, count = shard
    known = {p: (i, o) for p, i, o in connection.execute(_LOAD, (stage, topic)).fetchall()}
    positions: dict[int, int] = {}
    for partition, (low, high) in state.ranges.items():
        if partition % count != index:
            continue
        if partition not in known:
            connection.execute(_ENSURE, (stage, topic, partition, state.topic_id, low))
            known.update({p: (i, o) for p, i, o in connection.execute(_LOAD, (stage, topic)).fetchall()})
        topic_id, offset = known[partition]
        if topic_id != state.topic_id:
            raise TopicRecreatedError(stage, topic, topic_id, state.topic_id)
        if not low <= offset <= high:
            raise OffsetOutOfRangeError(stage, topic, partition, offset, low, high)
        positions[partition] = offset
    return positions


def advance(
    connection: Connection, stage: str, topic: str, topic_id: str, spans: Mapping[int, tuple[int, int]]
) -> None:
    """Move each partition from its first to its second offset, or raise FencedError.

    `spans` maps a partition to (the offset this run believes is stored, the one after the batch). The first
    statement of a batch's transaction: it also holds the rows' locks until the commit.
    """
    for partition, (start, end) in sorted(spans.items()):
        done = connection.execute(_ADVANCE, (end, stage, topic, partition, start, topic_id)).rowcount
        if done != 1:
            found = stored(connection, stage, topic).get(partition)
            raise FencedError(stage, topic, partition, start, found)


def rewind(connection: Connection, stage: str, topic: str, topic_id: str, positions: Mapping[int, int]) -> None:
    """Take partitions back to earlier offsets, also beside a live run; never forward."""
    for partition, offset in sorted(positions.items()):
        connection.execute(_REWIND, (offset, stage, topic, partition, topic_id, offset))


def reset(connection: Connection, stage: str, topic: str, state: TopicState, positions: Mapping[int, int]) -> None:
    """Set a stage's offsets by hand, also over a recreated topic."""
    with connection.transaction():
        connection.execute("DELETE FROM stream_offsets WHERE stage = %s AND topic = %s", (stage, topic))
        for partition, offset in positions.items():
            connection.execute(_RESET, (stage, topic, partition, state.topic_id, offset))
