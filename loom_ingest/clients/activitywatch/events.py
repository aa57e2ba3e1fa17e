"""An event of a watcher, and how a heartbeat extends the one before it.

The rules are aw-core's own: `aw_core/models.py` and `aw_transform/heartbeats.py` of
https://github.com/ActivityWatch/aw-core.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self
from uuid import UUID, uuid5

from pydantic_core import to_json

from loom_ingest.errors import IngestError

LONGEST_SECONDS: Final = 1e11
_NAMESPACE: Final = UUID("b0a4a1b2-6d0c-5c5e-8a0e-3f4e0a7d9c61")
_LEAP_SECOND: Final = re.compile(r"(T\d\d:?\d\d:?)60")
_LOST_PLUS: Final = re.compile(r"(T\S+) (\d\d:?\d\d)$")


class EventError(IngestError):
    """What came is no event; the message says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """`timestamp` is in UTC and whole milliseconds, as aw-core keeps it."""

    timestamp: datetime
    duration: timedelta
    data: dict[str, Any]

    @property
    def end(self) -> datetime:
        """When it ends."""
        return self.timestamp + self.duration

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.duration.total_seconds()


@dataclass(frozen=True, slots=True)
class State:
    """One state of an event; `revision` and `deleted` as in the contract's WatcherEvent."""

    event_id: UUID
    event: Event
    revision: int = 0
    deleted: bool = False

    @property
    def number(self) -> int:
        """The id that ActivityWatch's clients know it by: a whole number that JavaScript can hold."""
        return self.event_id.int & 0xFFFF_FFFF_FFFF

    @property
    def rank(self) -> tuple[int, timedelta]:
        """Of an event's states, the one of the highest rank is the event."""
        return self.revision, self.event.duration

    def grown(self, event: Event) -> Self:
        """The same event, now as `event`."""
        return replace(self, event=event)

    def changed(self, revision: int, event: Event | None = None) -> Self:
        """The event after a client changed it, or deleted it when there is no `event`."""
        return replace(self, event=event or self.event, revision=revision, deleted=event is None)

    def json(self) -> dict[str, Any]:
        """The event as ActivityWatch writes it."""
        event = self.event
        return {
            "id": self.number,
            "timestamp": event.timestamp.isoformat(),
            "duration": event.seconds,
            "data": event.data,
        }


class Place(NamedTuple):
    """Where an event belongs: its bucket, and which of the buckets that had this name."""

    device_id: str
    bucket_id: str
    generation: int


def identity(place: Place, event: Event, occurrence: int = 0) -> UUID:
    """The identity of the event that begins as `event` in a bucket; `occurrence` tells equal ones of a request apart.

    It does not depend on the duration, so that a retry, or the import of an export, is the event that is there.
    """
    content = to_json([*place, event.timestamp, event.data, occurrence], inf_nan_mode="strings")
    return uuid5(_NAMESPACE, content.hex())


def event_of(item: Any, now: datetime) -> Event:
    """The event that `item`, a JSON value, stands for; one without a `timestamp` begins now. Raises EventError."""
    if not isinstance(item, dict):
        raise EventError(f"an event is an object, and this is {type(item).__name__}")
    timestamp = item.get("timestamp")
    moment = now if timestamp is None else moment_of(timestamp)
    seconds = item.get("duration")
    seconds = 0 if seconds is None else seconds
    if not isinstance(seconds, int | float) or not -LONGEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise EventError(f"duration is {str(seconds)[:32]!r}: it must be a number of seconds")
    data = item.get("data")
    if not isinstance(data, dict | None):
        raise EventError("data must be an object")
    try:
        event = Event(_milliseconds(moment), timedelta(seconds=seconds), data or {})
        event.end  # noqa: B018
    except OverflowError:
        raise EventError("it begins or ends at a time that does not exist") from None
    return event


def moment_of(text: Any) -> datetime:
    """The time in ISO 8601; without a zone it is UTC. Raises EventError."""
    if not isinstance(text, str):
        raise EventError("timestamp must be text, ISO 8601")
    # A plus sign that was not escaped in a query is a space.
    text = _LEAP_SECOND.sub(r"\g<1>59", _LOST_PLUS.sub(r"\1+\2", text.strip()))
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise EventError(f"timestamp is {text[:64]!r}: it must be ISO 8601, as 2026-01-31T08:30:00+00:00") from None


def merged(last: Event, heartbeat: Event, pulsetime: float) -> Event | None:
    """`last` extended by `heartbeat`, when it says the same and begins within `pulsetime` seconds of its end."""
    if last.data != heartbeat.data or heartbeat.timestamp < last.timestamp or last.duration < timedelta(0):
        return None
    pulsetime = min(max(pulsetime, -LONGEST_SECONDS), LONGEST_SECONDS)
    if heartbeat.timestamp - last.end > timedelta(seconds=pulsetime):
        return None
    # One that ends before the last event does not shorten it.
    return replace(last, duration=max(last.duration, heartbeat.end - last.timestamp))


def _milliseconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
