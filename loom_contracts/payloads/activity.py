"""What ActivityWatch's watchers see of a computer: https://docs.activitywatch.net/en/latest/buckets-and-events.html."""

from uuid import UUID

from pydantic import Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Text


class WatcherEvent(Message):
    """One state of an event in a watcher's bucket; `timestamp` is when the event begins.

    An event that grows with each heartbeat has a record for each length it had, all with the same `event_id`. Of the
    records with the highest `revision` the longest is the event.
    """

    bucket_id: Label = Field(description="The bucket it is in, such as aw-watcher-window_laptop.")
    bucket_type: Label = Field(
        description="Type of the bucket's events: currentwindow, afkstatus, web.tab.current, ..."
    )
    client: Label = Field(description="The watcher that sent it.")
    hostname: Text = Field(description="The computer, as the watcher calls it.")
    generation: Count | None = Field(
        None, description="How often the bucket had been deleted before; null when that was not known."
    )
    event_id: UUID = Field(description="Identity of the event; the same for all its states.")
    revision: Count = Field(0, description="0 as it grew by itself; when a client changed it: then, Unix ms.")
    deleted: bool = Field(False, description="Whether a client deleted the event; nothing is erased.")
    duration_seconds: float = Field(ge=-1e11, le=1e11, description="How long the event has lasted, seconds.")
    pulsetime_seconds: float | None = Field(
        None, description="Heartbeats further apart than this are separate events, seconds; null for whole events."
    )
    data: JsonObject = Field(description="What the watcher saw; shaped by the bucket's type.")
