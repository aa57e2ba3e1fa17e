"""What the flows found in simulated days, held against what is true of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import topic_named
from loom_platform.demo.events import Truth
from loom_platform.demo.tracks import Point, distance_m
from tests.demo.playing import found, true_app_sessions, true_charging, true_trips, true_visits
from tests.demo.score import Score, Stretch, score

NEAR_M: Final = 100.0
"""A visit was where it should be."""
LENGTH: Final = 0.25
"""A trip may be longer or shorter by this share, and by `NEAR_M`: fixes of a phone stray, and are ten seconds apart."""


def _near(a: Any, b: Any) -> bool:
    return distance_m(Point(0.0, *a), Point(0.0, *b)) <= NEAR_M


def _as_long(true: Any, found_: Any) -> bool:
    return bool(abs(true - found_) <= LENGTH * true + NEAR_M)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is looked for: its topic, the columns that are compared, and the truth."""

    topic: str
    what: str
    true: Callable[[Truth], list[Stretch]]
    same: Callable[[Any, Any], bool]

    def rows(self, connection: psycopg.Connection[Any], device: str, until: datetime) -> list[tuple[Any, ...]]:
        """Start, end and `what` of the answers that stand; what goes on ends with the day."""
        query = (
            f"SELECT timestamp, coalesce(ended_at, %s), {self.what} FROM {self._table.table.name}_current "
            "WHERE device_id = %s ORDER BY 1"
        )
        return connection.execute(query.encode(), (until, device)).fetchall()

    @property
    def _table(self) -> Topic:
        return topic_named(self.topic)


KINDS: Final[Mapping[str, Kind]] = {
    "visits": Kind("location.visit.detected", "ARRAY[latitude, longitude]", true_visits, _near),
    "trips": Kind("location.trip.detected", "distance_m", true_trips, _as_long),
    "charging sessions": Kind("device.state.charging.detected", "NULL", true_charging, _equal),
    "app sessions": Kind("os.events.app_session.detected", "app_identifier", true_app_sessions, _equal),
}


def scores(
    connection: psycopg.Connection[Any], days: Sequence[tuple[str, Truth]], began: datetime
) -> Mapping[str, Score]:
    """The scores by kind, of the `days` (device, truth) that began then together."""
    told = {kind: Score(0, 0, 0) for kind in KINDS}
    for device, truth in days:
        until = began + timedelta(seconds=truth.day.seconds)
        for name, kind in KINDS.items():
            told[name] += score(kind.true(truth), found(kind.rows(connection, device, until), began), kind.same)
    return told
