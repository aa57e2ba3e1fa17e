"""How far a raw topic is landed. A derived stage reads landed rows as its context, so it never runs ahead of them."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg

from loom_platform.stream import offsets

POLL_SECONDS = 0.05


class Landed:
    """What this process has landed, by (topic on the broker, partition), with a bell for those who wait."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], int] = {}
        self._woken: set[str] = set()
        self._bell = threading.Condition()

    def advance(self, topic: str, ends: Mapping[int, int]) -> None:
        """These offsets of `topic` are committed by the landing stage of this process."""
        with self._bell:
            for partition, offset in ends.items():
                self._offsets[topic, partition] = offset
            self._bell.notify_all()

    def wake(self, stages: Iterable[str]) -> None:
        """A batch has been landed that these stages are to be woken for."""
        with self._bell:
            self._woken.update(stages)

    def is_woken(self, stage: str) -> bool:
        """Whether `stage` has been woken since it last asked."""
        with self._bell:
            woken = stage in self._woken
            self._woken.discard(stage)
            return woken

    def forget(self, topic: str) -> None:
        """What was known of `topic` may not have outlived a crash of the database: ask it again."""
        with self._bell:
            for known in [k for k in self._offsets if k[0] == topic]:
                del self._offsets[known]

    def reached(
        self, connection: psycopg.Connection[Any], landing_stage: str, topic: str, ends: Mapping[int, int]
    ) -> bool:
        """Whether `topic` is landed up to `ends`, waiting a little for this process's own landing if it is not.

        Landing may also run in another process, so the stored offsets decide where this one's do not.
        """
        with self._bell:
            if self._bell.wait_for(lambda: self._has(topic, ends), POLL_SECONDS):
                return True
        stored = offsets.stored(connection, landing_stage, topic)
        return all(stored.get(partition, 0) >= end for partition, end in ends.items())

    def _has(self, topic: str, ends: Mapping[int, int]) -> bool:
        return all(self._offsets.get((topic, partition), -1) >= end for partition, end in ends.items())
