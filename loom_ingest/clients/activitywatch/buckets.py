"""A watcher's bucket: what it is, whose it is, and the event that the next heartbeat may extend."""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

from loom_contracts.payloads.activity import WatcherEvent
from loom_ingest.clients.activitywatch.events import Event, Place, State

LONGEST_LABEL: Final = 256
UNKNOWN: Final = "unknown"
_TYPES: Final = (
    ("aw-watcher-afk", "afkstatus"),
    ("aw-watcher-window", "currentwindow"),
    ("aw-watcher-web", "web.tab.current"),
)
"""Types of the buckets of ActivityWatch's own watchers, by the beginning of their names."""


@dataclass(slots=True)
class Bucket:
    """One bucket of a device.

    `generation` counts its deletions, None when the database has not said; `inferred` says that no client told what it
    is. `last` is the event that a heartbeat may extend, once `last_known`; `tombstones` are the events that a client
    deleted, None when the database has not said. `dirty` means that the database does not have it as it is here.
    """

    device_id: str
    bucket_id: str
    bucket_type: str
    client: str
    hostname: str
    created_at: datetime
    data: dict[str, Any] = field(default_factory=dict)
    generation: int | None = None
    deleted: bool = False
    inferred: bool = False
    last: State | None = None
    last_known: bool = False
    dirty: bool = False
    tombstones: set[UUID] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def key(self) -> tuple[str, str]:
        """Device and name; one name may be used on several devices."""
        return self.device_id, self.bucket_id

    @property
    def place(self) -> Place:
        """Where its events belong."""
        return Place(self.device_id, self.bucket_id, self.generation or 0)

    def json(self, last: State | None = None) -> dict[str, Any]:
        """The bucket as ActivityWatch writes it; with the end of its last event, where it is told."""
        found: dict[str, Any] = {
            "id": self.bucket_id,
            "created": self.created_at.isoformat(),
            "name": None,
            "type": self.bucket_type,
            "client": self.client,
            "hostname": self.hostname,
            "data": self.data,
        }
        if last is not None:
            found["last_updated"] = last.event.end.isoformat()
        return found

    def fields(self, state: State, pulsetime: float | None = None) -> dict[str, Any]:
        """The payload of the record that keeps `state`."""
        return {
            "timestamp": state.event.timestamp,
            "bucket_id": self.bucket_id,
            "bucket_type": self.bucket_type,
            "client": self.client,
            "hostname": self.hostname,
            "generation": self.generation,
            "event_id": str(state.event_id),
            "revision": state.revision,
            "deleted": state.deleted,
            "duration_seconds": state.event.seconds,
            "pulsetime_seconds": pulsetime,
            "data": state.event.data,
        }

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        """The bucket in a row of `activitywatch_buckets`."""
        last = row["last_event"]
        names = ("device_id", "bucket_id", "bucket_type", "client", "hostname", "created_at", "data", "generation")
        return cls(
            **{name: row[name] for name in names},
            deleted=row["deleted_at"] is not None,
            last=None if last is None else _state_of(last),
            # Without one there may be events that were inserted: the newest of them is looked for then.
            last_known=last is not None,
        )

    def row(self) -> dict[str, Any]:
        """What the database keeps of it."""
        last = self.last
        kept = None
        if last is not None:
            kept = last.json() | {"event_id": str(last.event_id), "revision": last.revision}
        names = ("device_id", "bucket_id", "bucket_type", "client", "hostname", "created_at", "data")
        flags = ("inferred", "last_known")
        return {name: getattr(self, name) for name in (*names, *flags)} | {"last_event": kept}


def inferred_bucket(bucket_id: str, device_id: str, now: datetime) -> Bucket:
    """The bucket that an event names and nobody has described, as far as its name tells."""
    client, hostname = parts_of(bucket_id)
    bucket_type = next((kind for name, kind in _TYPES if client.startswith(name)), UNKNOWN)
    return Bucket(device_id, bucket_id, bucket_type, label(client), hostname, now, inferred=True)


def parts_of(bucket_id: str) -> tuple[str, str]:
    """Client and computer in a name such as `aw-watcher-window_laptop`."""
    client, _, hostname = bucket_id.partition("_")
    return client or UNKNOWN, hostname or UNKNOWN


def valid_name(bucket_id: str) -> bool:
    """Whether a bucket may be called so."""
    return 0 < len(bucket_id) <= LONGEST_LABEL and "\x00" not in bucket_id


def label(text: str) -> str:
    """`text` as a label of the contract."""
    return re.sub("\x00", "", text)[:LONGEST_LABEL] or UNKNOWN


def state_of_row(row: dict[str, Any]) -> State:
    """The state in a row of `digital_activitywatch_events`."""
    duration = timedelta(seconds=row["duration_seconds"])
    return State(row["event_id"], Event(row["timestamp"].astimezone(UTC), duration, row["data"]), row["revision"])


def state_of_message(message: WatcherEvent) -> State:
    """The state that a record keeps."""
    event = Event(message.timestamp.astimezone(UTC), timedelta(seconds=message.duration_seconds), dict(message.data))
    return State(message.event_id, event, message.revision, message.deleted)


def _state_of(kept: dict[str, Any]) -> State:
    moment = datetime.fromisoformat(kept["timestamp"])
    event = Event(moment, timedelta(seconds=kept["duration"]), kept["data"])
    return State(UUID(kept["event_id"]), event, kept["revision"])
