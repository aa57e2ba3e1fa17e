"""Events of a device's operating system."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import JsonObject, Label, Text

AppEvent = Literal["launch", "foreground", "background", "terminate", "crash"]
SystemEventType = Literal[
    "screen_on", "screen_off", "device_lock", "device_unlock", "power_connected", "power_disconnected"
]


class AppLifecycleEvent(Message):
    """An application came, went, or changed its place."""

    app_identifier: Label = Field(description="Package or bundle identifier.")
    app_name: Text | None = Field(None, description="Name that the person sees.")
    event_type: AppEvent = Field(description="What happened.")
    duration_seconds: float | None = Field(None, ge=0.0, description="How long the state that ended lasted, seconds.")
    metadata: JsonObject | None = Field(None, description="Anything else that the device says.")


class SystemEvent(Message):
    """The screen, the lock or the charger changed."""

    event_type: SystemEventType = Field(description="What happened.")
    event_category: Literal["screen", "lock", "power", "system"] = Field(description="What kind of thing it was.")
    severity: Literal["info", "warning", "error"] = Field("info", description="How grave it is.")
    description: Text | None = Field(None, description="In the device's words.")
    metadata: JsonObject | None = Field(None, description="State of the device at that moment.")


class NotificationEvent(Message):
    """A notification was shown or answered."""

    notification_id: Label = Field(description="The system's identifier of it.")
    app_identifier: Label = Field(description="Who showed it.")
    app_name: Text | None = Field(None, description="Name that the person sees.")
    title: Text | None = Field(None, description="Its title.")
    body: Text | None = Field(None, description="Its text.")
    action: Literal["posted", "removed", "clicked", "dismissed", "updated"] = Field(
        "posted", description="What happened to it."
    )
    priority: Label | None = Field(None, description="The system's priority of it.")
    category: Label | None = Field(None, description="The system's category of it, such as message or alarm.")
    metadata: JsonObject | None = Field(None, description="Anything else that the device says.")


class EnrichedAppEvent(DerivedMessage):
    """An application's event with its category and the session that it belongs to. Every event has one row."""

    app_identifier: Label = Field(description="Package or bundle identifier.")
    app_name: Text | None = Field(None, description="Name that the person sees.")
    event_type: AppEvent = Field(description="What happened.")
    app_category: Label = Field(description="Such as communication, browser, game; unknown where none is known.")
    session_id: UUID | None = Field(None, description="The session in front that it begins, goes on in, or ends.")
    session_started_at: AwareDatetime | None = Field(None, description="When that session began, UTC.")
    session_duration_seconds: float | None = Field(None, ge=0.0, description="From then to this event, seconds.")
    previous_app_identifier: Label | None = Field(
        None, description="In front before that session, with the screen on since then; null when none was."
    )


class AppSession(DerivedMessage):
    """A stretch of time with one application in front; `timestamp` is when it begins.

    It lasts until the application's own `background`, `terminate` or `crash`, until another one comes to the front
    (`other_app`), or until the screen goes off or is locked. Where nobody saw an end (`timeout`), it ends with the last
    sign of it, so its duration is the least that it can have been.
    """

    session_id: UUID = Field(description="Stays the same when the session is amended.")
    app_identifier: Label = Field(description="Package or bundle identifier.")
    app_name: Text | None = Field(None, description="Name that the person sees.")
    app_category: Label = Field(description="Such as communication, browser, game; unknown where none is known.")
    is_open: bool = Field(description="Whether it goes on.")
    started_by: Literal["launch", "foreground", "duration"] = Field(
        description="What says that it began; duration: only its end was seen, which says how long it had lasted."
    )
    ended_at: AwareDatetime | None = Field(None, description="When it ended, UTC; null while it goes on.")
    ended_by: (
        Literal["background", "terminate", "crash", "other_app", "screen_off", "device_lock", "timeout"] | None
    ) = Field(None, description="What ended it; null while it goes on.")
    duration_seconds: float | None = Field(None, ge=0.0, description="How long it was in front, seconds.")
